-- What admins do to accounts, and what they have to prove for it.

-- When the password was last given again in this session; what is dangerous asks for it.
alter table sessions add column stepped_up_at timestamptz;

-- An admin wants a new password: until it is set, the old one opens nothing.
alter table accounts add column reset_required_at timestamptz;

-- Auditors and admins are few among many accounts, and so are accounts that are not active.
create index accounts_with_roles on accounts (account_id) where roles <> '{}';
create index accounts_not_active on accounts (account_id) where status <> 'active';

-- Whoever takes an admin away moves this row from the version at which another one was seen: of two admins who do it to each other
-- at once, the second finds it moved and looks again.
create table role_guards (
    role text primary key check (role in ('admin')),
    version bigint not null default 1
);
insert into role_guards (role) values ('admin');

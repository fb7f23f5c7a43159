-- Changing a service key while the service runs: docs/adr/0013.

-- A key on its way in: held by every write, while the active one still decides.
alter table keys.service_keys add column next boolean not null default false;
alter table keys.service_keys add column changed_at timestamptz not null default clock_timestamp();
alter table keys.service_keys add check (not (active and next));
create unique index service_keys_next on keys.service_keys (purpose) where next;

-- A write that depends on which keys are in force locks this row and finds the version it was decided on. `held` exists only
-- so that the right to lock can be granted without the right to change the version.
create table key_guards (
    purpose text primary key check (purpose in ('email_lookup')),
    version bigint not null default 1,
    held boolean
);
insert into key_guards (purpose) values ('email_lookup');

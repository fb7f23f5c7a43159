-- Which account of another service became which account here: an import that is run again skips what stands here, also when the
-- owner has changed the address since, and other tables of that service find their owners by it.
create table imported_accounts (
    source text not null check (source ~ '^[a-z0-9_-]{1,32}$'),
    source_id text not null check (source_id ~ '^[A-Za-z0-9_-]{1,64}$'),
    account_id uuid not null unique,
    primary key (source, source_id)
);

-- Which account of another service became which account here: an import that is run again skips what stands here, also when the
-- owner has changed the address since, and other tables of that service find their owners by it.
create table imported_accounts (
    source text not null check (octet_length(source) between 1 and 32 and source !~ '[^a-z0-9_-]'),
    source_id text not null check (octet_length(source_id) between 1 and 64 and source_id !~ '[^A-Za-z0-9_-]'),
    account_id uuid not null unique,
    primary key (source, source_id)
);

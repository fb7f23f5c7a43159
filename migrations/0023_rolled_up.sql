-- Failed logins at addresses without an account: how many rows of the log a minute may still have, and what is counted instead of
-- written once it has none left (docs/adr/0022).

create table attempt_minutes (
    minute timestamptz primary key,
    recorded integer not null check (recorded >= 0)
);

-- By minute, network and identifier, under keyed hashes: no row that many would queue for, and distinct identifiers can be counted. The
-- network stands beside it, sealed with the key of its day.
create table attempt_tallies (
    minute timestamptz not null,
    network bytea not null check (octet_length(network) = 32),
    member bytea not null check (octet_length(member) = 32),
    attempts bigint not null check (attempts >= 1),
    blocks bigint not null check (blocks >= 0),
    origin bytea not null,
    pii_key_id uuid not null,
    primary key (minute, network, member)
);

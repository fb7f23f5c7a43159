-- Views that follow the log: how far each has come, what admins search by, and how much happened when.

-- One row a follower; its position moves in the transaction of its effect. `fault` says why it stands still.
create table followers (
    follower text primary key check (octet_length(follower) between 1 and 64),
    position bigint not null default 0 check (position >= 0),
    fault text check (octet_length(fault) <= 1024),
    moved_at timestamptz not null default clock_timestamp()
);

-- Keyed hashes of what an event can be found by. The table tells nobody without the key what an address or a name was.
-- `field` is the number of a field in core/src/terms.rs.
create table event_search (
    field smallint not null,
    term bigint not null,
    position bigint not null,
    primary key (field, term, position)
);
-- Erasure finds what belongs to a position.
create index event_search_position on event_search (position);

-- Events of one type in one hour: the bounds of a search by time, and what the overview draws.
create table event_hours (
    hour timestamptz not null,
    type text not null,
    events bigint not null check (events > 0),
    first_position bigint not null,
    last_position bigint not null,
    primary key (hour, type)
);

alter table keys.service_keys drop constraint service_keys_purpose_check;
alter table keys.service_keys add constraint service_keys_purpose_check
    check (purpose in ('email_lookup', 'identifier', 'personal_data', 'checkpoint', 'search'));

-- Pacing of mails (docs/adr/0023).

-- Where mails go: the mail server, and the domain of each recipient that had trouble lately. Keyed hashes: a domain can be a name.
create table mail_destinations (
    destination bytea primary key check (octet_length(destination) = 32),
    -- Trouble since the last mail that got through, weighed.
    weight integer not null,
    -- How often it was closed since then.
    closings integer not null default 0,
    -- A closed one is tried again from then on, by one mail at a time.
    open_at timestamptz not null,
    probe_until timestamptz,
    failed_at timestamptz not null
);
create index mail_destinations_age on mail_destinations (failed_at);

-- Mails that wait until their destination takes mails again.
create table held_mails (
    job_id uuid primary key references jobs on delete cascade,
    destination bytea not null,
    held_at timestamptz not null
);
create index held_mails_destination on held_mails (destination, held_at);

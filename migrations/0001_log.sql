-- The event log: guard rows, events in partitions, seals, epochs. What is dear to change later is decided here.

create schema keys;

-- One row a start of a cluster's life. Transaction ids mean something only inside one epoch: after a dump and restore, or a
-- promotion, they begin anew, and a larger epoch sorts behind all that came before it.
create table epochs (
    epoch integer primary key,
    system_identifier text not null,
    began_at timestamptz not null default clock_timestamp()
);

create function log_epoch() returns integer
    language sql stable parallel safe
    as 'select max(epoch) from public.epochs';

-- Raised by a write whose guards did not hold: the whole statement is undone. 40001 = serialization_failure.
create function write_conflict(step text) returns boolean
    language plpgsql
    as $$ begin raise exception 'write conflict at %', step using errcode = '40001'; end $$;

-- The guard row of a stream: who appends must move its version from the one it has read.
create table streams (
    stream_id uuid primary key,
    kind text not null check (kind in ('account', 'session', 'attempts', 'notification', 'security', 'operator')),
    subject_id uuid,
    version bigint not null check (version >= 1),
    session_epoch bigint not null default 0 check (session_epoch >= 0),
    -- Sessions ever begun: two logins of one account that both count its sessions cannot both be right.
    logins bigint not null default 0 check (logins >= 0)
);

create table events (
    event_id uuid not null,
    retention_class text not null check (retention_class in ('keep', 'expire')),
    log_id smallint not null default 1,
    tenant_id uuid not null default '00000000-0000-0000-0000-000000000000',
    stream_id uuid not null,
    version bigint not null check (version >= 1),
    -- The length apart: Postgres takes some 18 µs a row for a bounded repetition, 1 µs for this.
    type text not null check (type ~ '^[A-Z][A-Za-z]+$' and length(type) between 3 and 64),
    schema_version smallint not null default 1 check (schema_version >= 1),
    subject_id uuid,
    payload jsonb not null check (jsonb_typeof(payload) = 'object'),
    pii bytea,
    pii_key_id uuid,
    actor_kind text not null check (actor_kind in ('account', 'stranger', 'operator', 'system')),
    actor_id uuid,
    session_id uuid,
    trace_id uuid,
    correlation_id uuid,
    causation_id uuid,
    recorded_at timestamptz not null default clock_timestamp(),
    seq bigint generated always as identity,
    xid xid8 not null default pg_current_xact_id(),
    epoch integer not null default log_epoch(),
    check ((pii is null) = (pii_key_id is null)),
    primary key (retention_class, event_id)
) partition by list (retention_class);

create table events_keep partition of events for values in ('keep') partition by range (event_id);
create table events_expire partition of events for values in ('expire') partition by range (event_id);

create index events_subject on events (subject_id, event_id) where subject_id is not null;
create index events_stream on events (stream_id, version);
create index events_order on events (epoch, xid, seq);

create function refuse_change() returns trigger
    language plpgsql
    as $$ begin raise exception '% is insert-only: % refused', tg_table_name, tg_op using errcode = '42501'; end $$;

create trigger events_insert_only before update or delete on events for each row execute function refuse_change();
create trigger events_no_truncate before truncate on events for each statement execute function refuse_change();
create trigger events_keep_no_truncate before truncate on events_keep for each statement execute function refuse_change();
create trigger events_expire_no_truncate before truncate on events_expire for each statement execute function refuse_change();

-- The smallest UUIDv7 of an instant: a month's partition is a range of event ids.
create function uuid7_floor(at timestamptz) returns uuid
    language sql immutable parallel safe
    as $$ select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7000' || '8000000000000000')::uuid $$;

-- Makes the month partitions from this month to `months` ahead, in both classes. The open-ended past partition takes
-- whatever an importer brings with older ids. Statement triggers are not cloned to partitions, so each gets its own.
create function make_event_partitions(months integer) returns integer
    language plpgsql security definer set search_path = public, pg_temp
    as $$
declare
    class text;
    month timestamptz;
    name text;
    made integer := 0;
    origin constant timestamptz := (select date_trunc('month', min(began_at), 'UTC') from epochs);
begin
    if months not between 1 and 120 then
        raise exception 'months must be between 1 and 120';
    end if;
    foreach class in array array['keep', 'expire'] loop
        name := format('events_%s_past', class);
        if to_regclass(name) is null then
            execute format('create table %I partition of events_%s for values from (minvalue) to (%L)', name, class, uuid7_floor(origin));
            execute format('alter table %I add unique (stream_id, version)', name);
            execute format('create trigger no_truncate before truncate on %I for each statement execute function refuse_change()', name);
        end if;
        month := origin;
        while month <= date_trunc('month', now(), 'UTC') + make_interval(months => months) loop
            name := format('events_%s_%s', class, to_char(month at time zone 'UTC', 'YYYYMM'));
            if to_regclass(name) is null then
                execute format('create table %I partition of events_%s for values from (%L) to (%L)', name, class,
                    uuid7_floor(month), uuid7_floor(month + interval '1 month'));
                execute format('alter table %I add unique (stream_id, version)', name);
                execute format('create trigger no_truncate before truncate on %I for each statement execute function refuse_change()', name);
                made := made + 1;
            end if;
            month := month + interval '1 month';
        end loop;
    end loop;
    return made;
end $$;
revoke all on function make_event_partitions(integer) from public;

insert into epochs (epoch, system_identifier) select 1, system_identifier::text from pg_control_system();
select make_event_partitions(24);

-- Dense positions and leaf hashes, stamped after commit. Everyone who follows the log reads by position.
create table event_seals (
    log_id smallint not null default 1,
    position bigint not null check (position >= 1),
    event_id uuid not null unique,
    retention_class text not null,
    epoch integer not null,
    xid xid8 not null,
    seq bigint not null,
    leaf_hash bytea not null check (octet_length(leaf_hash) = 32),
    sealed_at timestamptz not null default clock_timestamp(),
    primary key (log_id, position)
);
create trigger event_seals_insert_only before update or delete on event_seals for each row execute function refuse_change();
create trigger event_seals_no_truncate before truncate on event_seals for each statement execute function refuse_change();

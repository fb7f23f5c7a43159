-- A month that retention has dropped must not come back: partitions are made from the present month on, and in a new log from the
-- month in which it began.
create or replace function make_event_partitions(months integer) returns integer
    language plpgsql security definer set search_path = public, pg_temp
    as $$
declare
    class text;
    month timestamptz;
    name text;
    made integer := 0;
    origin constant timestamptz := (select date_trunc('month', min(began_at), 'UTC') from epochs);
    present constant timestamptz := date_trunc('month', now(), 'UTC');
begin
    if months not between 1 and 120 then
        raise exception 'months must be between 1 and 120';
    end if;
    foreach class in array array['keep', 'expire'] loop
        month := origin;
        name := format('events_%s_past', class);
        if to_regclass(name) is null then
            execute format('create table %I partition of events_%s for values from (minvalue) to (%L)', name, class, uuid7_floor(origin));
            execute format('alter table %I add unique (stream_id, version)', name);
            execute format('create trigger no_truncate before truncate on %I for each statement execute function refuse_change()', name);
        elsif class = 'expire' then
            month := greatest(origin, present);
        end if;
        while month <= present + make_interval(months => months) loop
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

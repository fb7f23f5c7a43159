-- Erasure (docs/adr/0016). Who appends `AccountErased` deletes the account's key and whatever rows are about its person, in the same
-- transaction: there is neither without the other, and no role needs the right to delete any of it. Each statement sees
-- what was committed by then, also by those whom the append has waited for.
--
-- `imported_accounts` stays: it keeps another run of an import from bringing the account back.
create function erase_account() returns trigger
    language plpgsql security definer set search_path = public, pg_temp
    as $$
declare
    mail record;
begin
    delete from keys.data_keys where account_id = new.subject_id;
    delete from account_emails where account_id = new.subject_id;
    delete from credentials where account_id = new.subject_id;
    delete from devices where account_id = new.subject_id;
    -- Ended sessions have no index by account; the log names them all.
    delete from sessions where session_id in (
        select stream_id from events where retention_class = 'keep' and subject_id = new.subject_id and type = 'LoggedIn');
    -- Nor have closed tokens: each was mailed.
    delete from tokens where token_id in (select token_id from deliveries where account_id = new.subject_id);
    delete from tokens where account_id = new.subject_id and state = 'open';
    -- A mail's job was made in the millisecond of its delivery. One by one: a join would read all jobs.
    for mail in select delivery_id, created_at from deliveries where account_id = new.subject_id loop
        delete from jobs where ref = mail.delivery_id
            and job_id >= uuid7_floor(mail.created_at) and job_id < uuid7_floor(mail.created_at + interval '1 millisecond');
    end loop;
    delete from deliveries where account_id = new.subject_id;
    return null;
end $$;

create trigger events_erasure after insert on events for each row
    when (new.type = 'AccountErased' and new.stream_id = new.subject_id) execute function erase_account();

-- Deletes the keys of strangers' days that are over for more than so many days; how many.
create function shred_stranger_keys(days integer) returns integer
    language plpgsql security definer set search_path = public, pg_temp
    as $$
declare
    shredded integer;
begin
    if days not between 1 and 3650 then
        raise exception 'days must be between 1 and 3650';
    end if;
    delete from keys.data_keys where stranger_day < (clock_timestamp() at time zone 'UTC')::date - days;
    get diagnostics shredded = row_count;
    return shredded;
end $$;
revoke all on function erase_account(), shred_stranger_keys(integer) from public;

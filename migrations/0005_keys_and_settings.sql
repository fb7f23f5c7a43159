-- Changing the keys that buckets of limits are named by and that data keys are wrapped by (docs/adr/0013); and which settings are
-- in force.

-- Which key names the bucket, and which one the targets in its state. Null in rows from before this migration: the first key of
-- this installation.
alter table counters add column key_id text;
alter table counters add column target_key_id text;

-- Writers of counters find the version of the keys that they named their buckets by, or are undone.
alter table key_guards drop constraint key_guards_purpose_check;
alter table key_guards add check (purpose in ('email_lookup', 'identifier'));
insert into key_guards (purpose) values ('identifier');

-- What the last process of each kind has started with: the log is told when that changes, not at each start.
create table loaded_settings (
    process text primary key,
    hash text not null
);

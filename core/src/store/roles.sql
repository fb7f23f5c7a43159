-- Rights of the four processes. Run by `doorbook migrate` after the migrations and printed by `doorbook roles --sql`.
-- INSERT is granted by column: nobody but the server writes seq, xid, epoch and recorded_at. Partitions get no rights at all.
do $$
declare
    name text;
begin
    foreach name in array array['doorbook_api', 'doorbook_worker', 'doorbook_auditor', 'doorbook_shredder'] loop
        if not exists (select 1 from pg_roles where rolname = name) then
            execute format('create role %I nologin', name);
        end if;
    end loop;
end $$;

revoke all on schema public from public;
revoke all on all functions in schema public from public;
grant usage on schema public to doorbook_api, doorbook_worker, doorbook_auditor, doorbook_shredder;
grant usage on schema keys to doorbook_api, doorbook_worker, doorbook_shredder;
grant execute on function log_epoch(), write_conflict(text) to doorbook_api, doorbook_worker, doorbook_shredder;
grant execute on function uuid7_floor(timestamptz) to doorbook_api, doorbook_worker, doorbook_auditor;
grant execute on function make_event_partitions(integer), shred_stranger_keys(integer) to doorbook_worker;

grant select on events, event_seals, epochs, streams to doorbook_api, doorbook_worker, doorbook_auditor, doorbook_shredder;
grant insert (event_id, retention_class, log_id, tenant_id, stream_id, version, type, schema_version, subject_id, payload, pii, pii_key_id,
    actor_kind, actor_id, session_id, trace_id, correlation_id, causation_id) on events to doorbook_api, doorbook_worker, doorbook_shredder;
-- What stream an event is read in, and as what, changes for nobody.
grant insert on streams to doorbook_api, doorbook_worker, doorbook_shredder;
revoke update on streams from doorbook_api, doorbook_worker, doorbook_shredder;
grant update (version, session_epoch, logins) on streams to doorbook_api, doorbook_worker, doorbook_shredder;
grant insert on epochs to doorbook_worker, doorbook_api;
grant insert (log_id, position, event_id, retention_class, epoch, xid, seq, leaf_hash) on event_seals to doorbook_worker;
grant select on logs, log_nodes, checkpoints, checkpoint_keys to doorbook_api, doorbook_worker, doorbook_auditor;
grant insert (log_id, height, node_index, hash) on log_nodes to doorbook_worker;
grant insert (log_id, size, root, note, key_id, leaf_hashes) on checkpoints to doorbook_worker;
grant insert (log_id, key_id, verifier) on checkpoint_keys to doorbook_worker;
grant select on checkpoint_sink to doorbook_api, doorbook_auditor;
grant select, update on checkpoint_sink to doorbook_worker;

grant select, insert, update on accounts, account_emails, credentials, sessions, devices, tokens, jobs, deliveries to doorbook_api, doorbook_worker;
grant select, insert on imported_accounts to doorbook_api;
grant select on imported_accounts to doorbook_worker;
grant delete on account_emails, devices to doorbook_api, doorbook_worker;
grant select, insert, update, delete on counters, counter_members, idempotency to doorbook_api, doorbook_worker;
grant select, insert, update on attempt_minutes, attempt_tallies to doorbook_api;
grant select, delete on attempt_minutes, attempt_tallies to doorbook_worker;
grant delete on jobs to doorbook_worker;
grant select, insert, update, delete on heartbeats, mail_destinations, held_mails to doorbook_worker;
grant select on heartbeats to doorbook_api, doorbook_auditor;
grant select on deliveries, jobs to doorbook_auditor;
grant select (account_id, tenant_id, locale, status, roles, email_verified_at, locked_at, created_at, password_changed_at, last_login_at,
    reset_required_at, erase_at) on accounts to doorbook_auditor;

grant select, insert, update on followers, event_hours to doorbook_worker;
grant select, insert, delete on event_search to doorbook_worker;
grant select on followers, event_hours, event_search to doorbook_api, doorbook_auditor;
grant select, insert, update, delete on alert_states to doorbook_worker;
grant select, insert on alerts to doorbook_worker;
grant select, update (acknowledged_at) on alerts to doorbook_api;
grant select on alerts to doorbook_auditor;
grant select, update (held) on key_guards to doorbook_api, doorbook_worker;
grant select, insert, update on loaded_settings to doorbook_api, doorbook_worker;
grant select, update (version) on role_guards to doorbook_api, doorbook_worker;
grant select, insert on keys.service_keys, keys.data_keys to doorbook_api;
grant select, insert on keys.service_keys to doorbook_worker;
grant select on keys.data_keys to doorbook_worker;
grant select, delete on keys.data_keys to doorbook_shredder;
grant select on _sqlx_migrations, schema_floor to doorbook_api, doorbook_worker, doorbook_auditor, doorbook_shredder;

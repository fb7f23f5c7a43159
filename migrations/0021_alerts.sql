-- Alerts (docs/MONITORING.md).

-- What one rule remembers of one subject. The subject is a keyed hash: a network is personal data. Moves in the transaction of the
-- follower `alerts`.
create table alert_states (
    rule text not null check (length(rule) between 3 and 64),
    subject bytea not null check (octet_length(subject) = 32),
    state jsonb not null check (jsonb_typeof(state) = 'object'),
    expires_at timestamptz not null,
    primary key (rule, subject)
);
create index alert_states_expiry on alert_states (expires_at);

-- Every alert, named like its stream and the event that began it.
create table alerts (
    alert_id uuid primary key,
    rule text not null check (length(rule) between 3 and 64),
    severity text not null check (severity in ('info', 'notice', 'warning', 'critical')),
    acknowledged_at timestamptz
);
create index alerts_open on alerts (alert_id) where acknowledged_at is null;

-- What has happened before is no news.
insert into followers (follower, position) select 'alerts', coalesce(max(position), 0) from event_seals where log_id = 1;

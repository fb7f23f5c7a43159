-- State that decides: written in the same statement as the event. Each column is declared derived or kept in
-- core/src/store/columns.rs; a test fails on one that is not.

create table accounts (
    account_id uuid primary key,
    tenant_id uuid not null default '00000000-0000-0000-0000-000000000000',
    profile bytea,
    locale text not null,
    status text not null check (status in ('active', 'disabled', 'frozen', 'erased')),
    roles text[] not null default '{}',
    email_verified_at timestamptz,
    locked_at timestamptz,
    created_at timestamptz not null,
    password_changed_at timestamptz,
    last_login_at timestamptz
);
create index accounts_created on accounts (created_at, account_id);

-- Who may use an address: its account, or nobody while an undone change may still give it back.
create table account_emails (
    email_key bytea primary key check (octet_length(email_key) = 32),
    key_id text not null,
    account_id uuid not null,
    state text not null check (state in ('current', 'reserved')),
    reserved_until timestamptz,
    check ((state = 'reserved') = (reserved_until is not null))
);
create index account_emails_account on account_emails (account_id);

create table credentials (
    account_id uuid not null,
    kind text not null check (kind in ('password')),
    credential_id uuid not null,
    version integer not null check (version >= 1),
    secret text not null check (octet_length(secret) <= 1024),
    updated_at timestamptz not null,
    primary key (account_id, kind)
);

create table sessions (
    session_id uuid primary key,
    account_id uuid not null,
    session_epoch bigint not null,
    generation bigint not null check (generation >= 1),
    key_id text not null,
    previous_key_id text,
    salt bytea not null check (octet_length(salt) = 16),
    device_id uuid,
    origin bytea,
    created_at timestamptz not null,
    rotated_at timestamptz not null,
    last_used_at timestamptz not null,
    absolute_end timestamptz not null,
    idle_end timestamptz,
    revoked_at timestamptz,
    revoked_reason text,
    check ((revoked_at is null) = (revoked_reason is null))
);
create index sessions_live on sessions (account_id, created_at) where revoked_at is null;
create index sessions_end on sessions (absolute_end) where revoked_at is null;

create table devices (
    device_id uuid primary key,
    account_id uuid not null,
    key_id text not null,
    salt bytea not null check (octet_length(salt) = 16),
    created_at timestamptz not null,
    last_used_at timestamptz not null
);
create index devices_account on devices (account_id);

-- Mailed tokens. The value is derived from a key, this row's id and salt; it stands nowhere.
create table tokens (
    token_id uuid primary key,
    account_id uuid not null,
    kind text not null check (kind in ('reset', 'verify', 'change', 'undo')),
    key_id text not null,
    salt bytea not null check (octet_length(salt) = 16),
    detail bytea,
    state text not null check (state in ('open', 'used', 'expired', 'void')),
    created_at timestamptz not null,
    expires_at timestamptz not null,
    closed_at timestamptz,
    check ((state = 'open') = (closed_at is null))
);
create index tokens_account_open on tokens (account_id, kind) where state = 'open';
create index tokens_expiry on tokens (expires_at) where state = 'open';

-- Sliding windows and reservations of what is limited; the bucket is an HMAC, never an address or a name.
create table counters (
    bucket bytea primary key check (octet_length(bucket) = 32),
    kind text not null,
    version bigint not null default 1,
    state jsonb not null,
    expires_at timestamptz not null
);
create index counters_expiry on counters (expires_at);

-- Distinct members seen in a window: which identifiers failed from one network. No row that all of them would queue for.
create table counter_members (
    bucket bytea not null check (octet_length(bucket) = 32),
    member bytea not null check (octet_length(member) = 32),
    at timestamptz not null,
    primary key (bucket, member)
);
create index counter_members_age on counter_members (at);

-- The only outbox. Redis is told the ids; what is due, running, dead or done is decided here.
create table jobs (
    job_id uuid primary key,
    kind text not null,
    ref uuid not null,
    priority smallint not null default 1 check (priority between 0 and 2),
    state text not null default 'due' check (state in ('due', 'dispatched', 'running', 'done', 'dead')),
    run_at timestamptz not null,
    dispatch_no integer not null default 0,
    dispatched_at timestamptz,
    starts integer not null default 0,
    attempt integer not null default 0,
    lease_until timestamptz,
    fence bigint not null default 0,
    trace_id uuid,
    last_error text check (octet_length(last_error) <= 2048),
    created_at timestamptz not null default clock_timestamp(),
    settled_at timestamptz
);
create index jobs_due on jobs (priority, run_at) where state = 'due';
create index jobs_out on jobs (dispatched_at) where state in ('dispatched', 'running');
create index jobs_settled on jobs (settled_at) where state = 'done';
create index jobs_dead on jobs (settled_at) where state = 'dead';

-- The admin's record of a mail, from its event to its outcome.
create table deliveries (
    delivery_id uuid primary key,
    event_id uuid not null,
    template text not null,
    account_id uuid not null,
    token_id uuid,
    recipient text not null check (recipient in ('account', 'token')),
    context bytea,
    state text not null check (state in ('queued', 'deferred', 'sent', 'failed', 'suppressed')),
    attempts integer not null default 0,
    server_answer text check (octet_length(server_answer) <= 2048),
    created_at timestamptz not null,
    settled_at timestamptz
);
create index deliveries_account on deliveries (account_id, created_at);
create index deliveries_event on deliveries (event_id);

create table idempotency (
    scope bytea not null,
    key_hash bytea not null,
    request_mac bytea not null,
    status smallint not null,
    answer jsonb,
    session_id uuid,
    created_at timestamptz not null default clock_timestamp(),
    primary key (scope, key_hash)
);
create index idempotency_age on idempotency (created_at);

create table heartbeats (
    process text primary key,
    kind text not null check (kind in ('api', 'worker')),
    redis text not null,
    mail text not null,
    at timestamptz not null
);

-- Random keys that outlive SECRET_KEY, wrapped by it or by PII_KEYRING.
create table keys.service_keys (
    purpose text not null check (purpose in ('email_lookup', 'identifier', 'personal_data', 'checkpoint')),
    key_id text not null,
    wrapped bytea not null,
    wrapped_by text not null,
    active boolean not null,
    created_at timestamptz not null default clock_timestamp(),
    primary key (purpose, key_id)
);
create unique index service_keys_active on keys.service_keys (purpose) where active;

-- One key an account, and one a UTC day for strangers. Deleting a row erases the personal data it sealed.
create table keys.data_keys (
    key_id uuid primary key,
    account_id uuid unique,
    stranger_day date unique,
    wrapped bytea not null,
    wrapped_by text not null,
    created_at timestamptz not null default clock_timestamp(),
    check ((account_id is null) <> (stranger_day is null))
);

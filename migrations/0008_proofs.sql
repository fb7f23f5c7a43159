-- What proves the log: checkpoints, and the inner nodes of the tree that they are the roots of. docs/AUDIT-FORMAT.md.

-- The name of the log, which stands in every checkpoint. Made once: a restored log is the same log.
create table logs (
    log_id smallint primary key,
    origin text not null unique,
    begun_at timestamptz not null default clock_timestamp()
);
insert into logs (log_id, origin) values (1, 'doorbook/' || gen_random_uuid());

-- Roots of the perfect subtrees of 2^8, 2^16, ... leaves. A subtree of any other height is made of at most 128 of the height below.
create table log_nodes (
    log_id smallint not null default 1,
    height smallint not null check (height > 0 and height % 8 = 0),
    node_index bigint not null check (node_index >= 0),
    hash bytea not null check (octet_length(hash) = 32),
    primary key (log_id, height, node_index)
);

-- One row a signed checkpoint. `leaf_hashes` are those of the events since the one before, once more: they lead to the signed
-- root or are worth nothing, and if they do, they say which of these events is not the one that was signed.
create table checkpoints (
    log_id smallint not null default 1,
    size bigint not null check (size >= 1),
    root bytea not null check (octet_length(root) = 32),
    note text not null,
    key_id text not null,
    leaf_hashes bytea not null check (octet_length(leaf_hashes) % 32 = 0),
    signed_at timestamptz not null default clock_timestamp(),
    primary key (log_id, size)
);

-- Public keys that have ever signed, as verifier keys of signed notes.
create table checkpoint_keys (
    log_id smallint not null default 1,
    key_id text not null,
    verifier text not null,
    first_used_at timestamptz not null default clock_timestamp(),
    primary key (log_id, key_id)
);

create trigger logs_insert_only before update or delete on logs for each row execute function refuse_change();
create trigger logs_no_truncate before truncate on logs for each statement execute function refuse_change();
create trigger log_nodes_insert_only before update or delete on log_nodes for each row execute function refuse_change();
create trigger log_nodes_no_truncate before truncate on log_nodes for each statement execute function refuse_change();
create trigger checkpoints_insert_only before update or delete on checkpoints for each row execute function refuse_change();
create trigger checkpoints_no_truncate before truncate on checkpoints for each statement execute function refuse_change();
create trigger checkpoint_keys_insert_only before update or delete on checkpoint_keys for each row execute function refuse_change();
create trigger checkpoint_keys_no_truncate before truncate on checkpoint_keys for each statement execute function refuse_change();

-- How far checkpoints have been written outside the database. One worker writes at a time, for as long as its lease runs.
create table checkpoint_sink (
    log_id smallint primary key,
    written_size bigint not null default 0,
    holder text,
    lease_until timestamptz not null default '-infinity'
);
insert into checkpoint_sink (log_id) values (1);

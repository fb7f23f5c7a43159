//! What every column of the schema is: *derived* columns follow from the events alone, and `rebuild` compares them with a replay;
//! *kept* ones are state of their own that no replay can make again. A test fails on a column that stands in neither list.

/// One table of the schema.
pub struct Table {
    /// With its schema when that is not `public`.
    pub name: &'static str,
    pub derived: &'static [&'static str],
    pub kept: &'static [Kept],
}

/// Columns that a replay cannot make, and why.
pub struct Kept {
    pub columns: &'static [&'static str],
    pub because: &'static str,
}

const LOG: &str = "the log itself: everything else is derived from it";
const TENANT: &str = "one tenant: the column's default";
const KEY: &str = "random: it names or salts a key, and no event holds either";
const POLICY: &str = "follows from the settings in force at that moment, which no event holds";
const USE: &str = "a refresh is no event: it would be most of the log";
const TRANSIENT: &str = "counts or carries for a while, and is purged";
const EXPIRING: &str = "its events expire by the month, so a replay would be incomplete";
const SCHEMA: &str = "about the schema, not about anything in it";
const SIGNED: &str = "what was signed about the log: `audit verify` compares it with the events";
const FOLLOWING: &str = "a view that follows the log by positions, sealed events only: it lags, so no moment compares";
const LISTED: &str = "written with the event that it repeats, for pages; the event itself is what is shown";
const SECRET: &str = "a secret, or wrapped by one: events name its id and version";

const fn kept(columns: &'static [&'static str], because: &'static str) -> Kept {
    Kept { columns, because }
}

/// Every table, in the order of the migrations.
pub const TABLES: &[Table] = &[
    Table { name: "epochs", derived: &[], kept: &[kept(&["epoch", "system_identifier", "began_at"], LOG)] },
    // Compared for accounts and sessions; the versions of other streams count events that expire.
    Table {
        name: "streams",
        derived: &["stream_id", "kind", "subject_id", "version", "session_epoch", "logins"],
        kept: &[],
    },
    Table {
        name: "events",
        derived: &[],
        kept: &[
            kept(&["event_id", "retention_class", "log_id", "tenant_id", "stream_id", "version", "type"], LOG),
            kept(&["schema_version", "subject_id", "payload", "pii", "pii_key_id", "actor_kind", "actor_id"], LOG),
            kept(&["session_id", "trace_id", "correlation_id", "causation_id", "recorded_at", "seq", "xid"], LOG),
            kept(&["epoch"], LOG),
        ],
    },
    Table {
        name: "event_seals",
        derived: &[],
        kept: &[
            kept(&["log_id", "position", "event_id", "retention_class", "epoch", "xid", "seq"], LOG),
            kept(&["leaf_hash", "sealed_at"], LOG),
        ],
    },
    Table {
        name: "accounts",
        derived: &[
            "account_id",
            "profile",
            "locale",
            "status",
            "roles",
            "email_verified_at",
            "locked_at",
            "created_at",
            "password_changed_at",
            "last_login_at",
            "reset_required_at",
            "erase_at",
        ],
        kept: &[kept(&["tenant_id"], TENANT)],
    },
    Table { name: "imported_accounts", derived: &["source", "source_id", "account_id"], kept: &[] },
    // Derived for current addresses. A reserved one may have passed to another account meanwhile.
    Table {
        name: "account_emails",
        derived: &["email_key", "account_id", "state"],
        kept: &[kept(&["key_id"], KEY), kept(&["reserved_until"], POLICY)],
    },
    Table {
        name: "credentials",
        derived: &["account_id", "kind", "credential_id", "version", "updated_at"],
        kept: &[kept(&["secret"], SECRET)],
    },
    Table {
        name: "sessions",
        derived: &[
            "session_id",
            "account_id",
            "session_epoch",
            "device_id",
            "origin",
            "created_at",
            "revoked_at",
            "revoked_reason",
        ],
        kept: &[
            kept(&["generation", "previous_key_id", "rotated_at", "last_used_at"], USE),
            kept(&["key_id", "salt"], KEY),
            kept(&["absolute_end", "idle_end"], POLICY),
            kept(&["stepped_up_at"], "giving the password again is no event"),
        ],
    },
    Table {
        name: "devices",
        derived: &["device_id", "account_id", "created_at"],
        kept: &[kept(&["key_id", "salt"], KEY), kept(&["last_used_at"], USE)],
    },
    // Derived for tokens that an event names. Three kinds of rows have no such event: the link to undo a change of address, the one of a
    // notice that nobody has answered, and the reset link for an unverified account that somebody tried to register again.
    Table {
        name: "tokens",
        derived: &["token_id", "account_id", "kind", "state", "created_at"],
        kept: &[
            kept(&["key_id", "salt"], KEY),
            kept(&["expires_at"], POLICY),
            kept(&["closed_at"], "expiry stamps it with the time of its read, not of its event"),
            kept(
                &["detail"],
                "an address, sealed; that of a link to undo a change, or of a notice, stands in no event of this token",
            ),
        ],
    },
    Table {
        name: "counters",
        derived: &[],
        kept: &[kept(&["bucket", "kind", "version", "state", "expires_at", "key_id", "target_key_id"], TRANSIENT)],
    },
    Table { name: "attempt_minutes", derived: &[], kept: &[kept(&["minute", "recorded"], TRANSIENT)] },
    Table {
        name: "attempt_tallies",
        derived: &[],
        kept: &[kept(&["minute", "network", "member", "attempts", "blocks", "origin", "pii_key_id"], TRANSIENT)],
    },
    Table { name: "counter_members", derived: &[], kept: &[kept(&["bucket", "member", "at"], TRANSIENT)] },
    Table {
        name: "jobs",
        derived: &[],
        kept: &[
            kept(&["job_id", "kind", "ref", "priority", "state", "run_at", "dispatch_no", "dispatched_at"], TRANSIENT),
            kept(&["starts", "attempt", "lease_until", "fence", "trace_id", "last_error", "created_at"], TRANSIENT),
            kept(&["settled_at", "span_id"], TRANSIENT),
        ],
    },
    Table {
        name: "deliveries",
        derived: &[],
        kept: &[
            kept(&["delivery_id", "event_id", "template", "account_id", "token_id", "recipient", "context"], EXPIRING),
            kept(
                &[
                    "state",
                    "attempts",
                    "server_answer",
                    "created_at",
                    "settled_at",
                    "repeats",
                    "repeated_by",
                    "unheard",
                ],
                EXPIRING,
            ),
            kept(&["address_digest"], EXPIRING),
        ],
    },
    Table {
        name: "idempotency",
        derived: &[],
        kept: &[kept(&["scope", "key_hash", "request_mac", "status", "answer", "session_id", "created_at"], TRANSIENT)],
    },
    Table {
        name: "mail_destinations",
        derived: &[],
        kept: &[kept(&["destination", "weight", "closings", "open_at", "probe_until", "failed_at"], TRANSIENT)],
    },
    Table { name: "held_mails", derived: &[], kept: &[kept(&["job_id", "destination", "held_at"], TRANSIENT)] },
    Table { name: "heartbeats", derived: &[], kept: &[kept(&["process", "kind", "redis", "mail", "at"], TRANSIENT)] },
    Table {
        name: "keys.service_keys",
        derived: &[],
        kept: &[kept(
            &["purpose", "key_id", "wrapped", "wrapped_by", "active", "next", "created_at", "changed_at"],
            SECRET,
        )],
    },
    Table {
        name: "keys.data_keys",
        derived: &[],
        kept: &[kept(&["key_id", "account_id", "stranger_day", "wrapped", "wrapped_by", "created_at"], SECRET)],
    },
    Table {
        name: "loaded_settings",
        derived: &[],
        kept: &[kept(&["process", "hash"], "what processes run with now; retention drops the events that told of it")],
    },
    Table {
        name: "followers",
        derived: &[],
        kept: &[kept(&["follower", "position", "counted", "fault", "moved_at"], FOLLOWING)],
    },
    Table { name: "alert_states", derived: &[], kept: &[kept(&["rule", "subject", "state", "expires_at"], TRANSIENT)] },
    Table { name: "alerts", derived: &[], kept: &[kept(&["alert_id", "rule", "severity", "acknowledged_at"], LISTED)] },
    Table { name: "event_search", derived: &[], kept: &[kept(&["field", "term", "position"], FOLLOWING)] },
    Table {
        name: "event_hours",
        derived: &[],
        kept: &[kept(&["hour", "type", "events", "first_position", "last_position", "rolled_up"], FOLLOWING)],
    },
    Table { name: "key_guards", derived: &[], kept: &[kept(&["purpose", "version", "held"], KEY)] },
    Table {
        name: "role_guards",
        derived: &[],
        kept: &[kept(&["role", "version"], "compared within one write, and never told")],
    },
    Table { name: "schema_floor", derived: &[], kept: &[kept(&["version", "is_only"], SCHEMA)] },
    Table { name: "logs", derived: &[], kept: &[kept(&["log_id", "origin", "begun_at"], LOG)] },
    Table { name: "log_nodes", derived: &[], kept: &[kept(&["log_id", "height", "node_index", "hash"], SIGNED)] },
    Table {
        name: "checkpoints",
        derived: &[],
        kept: &[kept(&["log_id", "size", "root", "note", "key_id", "leaf_hashes", "signed_at"], SIGNED)],
    },
    Table {
        name: "checkpoint_keys",
        derived: &[],
        kept: &[kept(&["log_id", "key_id", "verifier", "first_used_at"], SIGNED)],
    },
    Table {
        name: "checkpoint_sink",
        derived: &[],
        kept: &[kept(&["log_id", "written_size", "holder", "lease_until"], TRANSIENT)],
    },
];

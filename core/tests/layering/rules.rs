//! The rules of the layout. Each comes with a line that breaks it and one that does not.

use crate::paths::Names;

pub const PACKAGES: [&str; 8] = ["core", "mail", "api", "worker", "cli", "dev", "bench", "bench/faults"];

pub struct Rule {
    pub about: &'static str,
    /// Where it holds: beginnings of paths, and of those among them the exceptions.
    places: &'static [&'static str],
    except: &'static [&'static str],
    imports: Imports,
    /// A path and its text that break the rule, and ones that do not.
    pub refused: (&'static str, &'static str),
    pub allowed: (&'static str, &'static str),
}

enum Imports {
    /// Beginnings of forbidden paths: `sqlx` is the crate, `sqlx::query*` every name that begins so.
    Without(&'static [&'static str]),
    /// Beginnings of allowed paths; the file's own names, types and primitives are always allowed.
    Only(&'static [&'static str]),
}

/// Folders and files of rules that know no I/O.
const PURE: &[&str] = &[
    "core/src/account/",
    "core/src/session/",
    "core/src/attempt/",
    "core/src/alert/",
    "core/src/limit/",
    "core/src/notification.rs",
    "core/src/operator.rs",
    "core/src/event.rs",
];

const ALLOWED_IN_PURE: &[&str] = &[
    "std::cmp",
    "std::collections",
    "std::fmt",
    "std::iter",
    "std::mem",
    "std::time::Duration",
    "serde",
    "serde_json",
    "thiserror",
    "time",
    "uuid",
    "self",
    "super",
    "crate::account",
    "crate::alert",
    "crate::attempt",
    "crate::clock",
    "crate::event",
    "crate::limit",
    "crate::notification",
    "crate::operator",
    "crate::session",
    "crate::terms",
    "crate::value",
];

const RELEASED: &[&str] = &["core/src/", "mail/src/", "api/src/", "worker/src/", "cli/src/"];

pub const RULES: &[Rule] = &[
    Rule {
        about: "rules are pure: they import std, serde, uuid and time types",
        places: PURE,
        except: &[],
        imports: Imports::Only(ALLOWED_IN_PURE),
        refused: ("core/src/account/decide.rs", "use std::{fs, time::Duration};"),
        allowed: (
            "core/src/account/decide.rs",
            "use std::time::Duration; use super::state; fn f() { state::g(u32::MAX) }",
        ),
    },
    Rule {
        about: "what is proven about the log is proven without I/O",
        places: &["core/src/audit/"],
        except: &[],
        imports: Imports::Without(&[
            "sqlx",
            "tokio",
            "reqwest",
            "std::env",
            "std::fs",
            "std::io",
            "std::net",
            "std::process",
            "crate::config",
            "crate::service",
            "crate::store",
        ]),
        refused: ("core/src/audit/leaf.rs", "use crate::store::log;"),
        allowed: ("core/src/audit/leaf.rs", "use aws_lc_rs::digest;"),
    },
    Rule {
        about: "values, passwords, tokens and settings know nothing that uses them",
        places: &["core/src/value/", "core/src/password/", "core/src/token/", "core/src/config/", "core/src/clock.rs"],
        except: &[],
        imports: Imports::Without(&["crate::account", "crate::service", "crate::session", "crate::store"]),
        refused: ("core/src/token/keys.rs", "use crate::store::keys::Vault;"),
        allowed: ("core/src/token/access.rs", "use crate::value::AccountId;"),
    },
    Rule {
        about: "core/src/store is the only SQL",
        places: RELEASED,
        except: &["core/src/store/"],
        imports: Imports::Without(&[
            "sqlx::query*",
            "sqlx::raw_sql",
            "sqlx::migrate*",
            "sqlx::QueryBuilder",
            "sqlx::Executor",
            "sqlx::Acquire",
        ]),
        refused: ("core/src/service/login.rs", "fn f() { sqlx::query_as!(X, \"select 1\") }"),
        allowed: ("core/src/store/log.rs", "fn f() { sqlx::query!(\"select 1\") }"),
    },
    Rule {
        about: "the store knows neither web nor queue nor those who use it",
        places: &["core/src/store/"],
        except: &[],
        imports: Imports::Without(&[
            "apalis*",
            "hyper",
            "lettre",
            "poem*",
            "redis",
            "reqwest",
            "crate::config",
            "crate::service",
        ]),
        refused: ("core/src/store/jobs.rs", "use crate::service::Doorbook;"),
        allowed: ("core/src/store/jobs.rs", "use crate::job;"),
    },
    Rule {
        about: "core is below every other package and knows no web, queue or mail",
        places: &["core/src/"],
        except: &[],
        imports: Imports::Without(&["apalis*", "doorbook_*", "lettre", "poem*"]),
        refused: ("core/src/lib.rs", "use doorbook_mail::Message;"),
        allowed: ("core/src/lib.rs", "use sqlx::PgPool;"),
    },
    Rule {
        about: "the api knows neither queue nor mail nor SQL",
        places: &["api/src/"],
        except: &[],
        imports: Imports::Without(&["apalis*", "doorbook_mail", "lettre", "redis", "sqlx"]),
        refused: ("api/src/server.rs", "use redis::Client;"),
        allowed: ("api/src/server.rs", "use poem::Request;"),
    },
    Rule {
        about: "mail is transport and wording: it knows no other package",
        places: &["mail/src/"],
        except: &[],
        imports: Imports::Without(&["apalis*", "doorbook_*", "poem*", "redis", "sqlx"]),
        refused: ("mail/src/lib.rs", "use sqlx::PgPool;"),
        allowed: ("mail/src/lib.rs", "use lettre::Message;"),
    },
    Rule {
        about: "apalis stays behind one file",
        places: RELEASED,
        except: &["worker/src/queue.rs", "worker/src/queue/"],
        imports: Imports::Without(&["apalis*"]),
        refused: ("worker/src/main.rs", "use apalis_redis::RedisStorage;"),
        allowed: ("worker/src/queue.rs", "use apalis::prelude::*;"),
    },
    Rule {
        about: "the worker speaks HTTP on its health port only",
        places: &["worker/src/"],
        except: &["worker/src/ops.rs"],
        imports: Imports::Without(&["poem*"]),
        refused: ("worker/src/relay.rs", "use poem::Route;"),
        allowed: ("worker/src/ops.rs", "use poem::Route;"),
    },
    Rule {
        about: "the api imports no other program",
        places: &["api/src/"],
        except: &[],
        imports: Imports::Without(&["doorbook_bench", "doorbook_cli", "doorbook_dev", "doorbook_worker"]),
        refused: ("api/src/main.rs", "use doorbook_worker::relay;"),
        allowed: ("api/src/main.rs", "use doorbook_api::server;"),
    },
    Rule {
        about: "the worker imports no other program",
        places: &["worker/src/"],
        except: &[],
        imports: Imports::Without(&["doorbook_api", "doorbook_bench", "doorbook_cli", "doorbook_dev"]),
        refused: ("worker/src/main.rs", "use doorbook_dev::Cluster;"),
        allowed: ("worker/src/main.rs", "use doorbook_mail::Message;"),
    },
    Rule {
        about: "the command line imports no other program",
        places: &["cli/src/"],
        except: &[],
        imports: Imports::Without(&["doorbook_api", "doorbook_bench", "doorbook_dev", "doorbook_worker"]),
        refused: ("cli/src/main.rs", "use doorbook_api::server;"),
        allowed: ("cli/src/main.rs", "use doorbook_core::store;"),
    },
    Rule {
        about: "the bench measures: nothing is built on it",
        places: &["dev/"],
        except: &[],
        imports: Imports::Without(&["doorbook_bench"]),
        refused: ("dev/src/load.rs", "use doorbook_bench::run;"),
        allowed: ("dev/src/load.rs", "use doorbook_core::store;"),
    },
    Rule {
        // Failpoints are a feature that no release is built with.
        about: "core/src/config alone reads the environment",
        places: RELEASED,
        except: &["core/src/config/", "core/src/failpoint.rs"],
        imports: Imports::Without(&["std::env"]),
        refused: ("api/src/main.rs", "fn f() { std::env::var(\"X\") }"),
        allowed: ("core/src/config/env.rs", "use std::env;"),
    },
];

const PRIMITIVES: [&str; 17] = [
    "bool", "char", "str", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64", "u128",
    "usize",
];

impl Rule {
    /// The paths among these that break the rule in this file.
    pub fn broken_by<'a>(&'a self, file: &str, names: &'a Names) -> impl Iterator<Item = &'a str> {
        let within = |places: &[&str]| places.iter().any(|place| file.starts_with(place));
        let holds = within(self.places) && !within(self.except);
        names.paths.iter().map(String::as_str).filter(move |path| holds && !self.allows(path, names))
    }

    fn allows(&self, path: &str, names: &Names) -> bool {
        match self.imports {
            Imports::Without(forbidden) => !forbidden.iter().any(|beginning| begins(path, beginning)),
            Imports::Only(allowed) => {
                let first = path.split("::").next().unwrap_or_default();
                let own = names.bound.contains(first) || first.starts_with(char::is_uppercase);
                own || PRIMITIVES.contains(&first) || allowed.iter().any(|beginning| begins(path, beginning))
            }
        }
    }
}

/// Whether a path is `beginning` or goes on from it; a `*` at its end stands for the rest of a name.
fn begins(path: &str, beginning: &str) -> bool {
    match beginning.strip_suffix('*') {
        Some(beginning) => path.starts_with(beginning),
        None => path.strip_prefix(beginning).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")),
    }
}

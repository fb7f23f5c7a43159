//! Is the database there, does it keep what it is told, and may each login do its work and no more?

use doorbook_core::config::check::Line;
use doorbook_core::config::{Database, Secret};
use doorbook_core::store::StoreError;
use doorbook_core::store::inspect::{self, Rights, Server};
use doorbook_core::store::migrations::{Lack, Pending, pending_on};

use super::deploy::unseen;
use super::report::{API_RIGHTS, WORKER_RIGHTS};

const API: &str = "database";
const WORKER: &str = "worker database";
const OWNER: &str = "owner database";
const DIRECT: &str = "direct database";
const DURABILITY: &str = "durability";
const ENCRYPTION: &str = "database encryption";
const MIGRATIONS: &str = "migrations";

/// Oldest version that Doorbook runs on, as the server numbers it.
const VERSION_MIN: i32 = 150_000;

const GRANT: &str = "see the SQL of `doorbook roles --sql`";

/// The database as the api has it and as the worker has it.
pub async fn lines(api: Option<&Database>, worker: Option<&Database>) -> Vec<Line> {
    let (Some(api), Some(worker)) = (api, worker) else {
        let all = [API, WORKER, OWNER, DURABILITY, ENCRYPTION, MIGRATIONS, API_RIGHTS, WORKER_RIGHTS];
        return all.into_iter().map(|check| unseen(check, "a setting of the database was refused")).collect();
    };
    let mut lines = of_api(api).await;
    lines.extend(of_worker(api, worker).await);
    lines.extend(of_owner(api).await);
    if let Some(direct) = &api.direct_url {
        lines.push(match inspect::connect(direct.expose()).await {
            Ok(_) => Line::ok(DIRECT, "reachable"),
            Err(error) => unreachable(DIRECT, &error, "DATABASE_DIRECT_URL"),
        });
    }
    lines
}

async fn of_api(api: &Database) -> Vec<Line> {
    let mut connection = match inspect::connect(api.url.expose()).await {
        Ok(connection) => connection,
        Err(error) => {
            let mut lines = vec![unreachable(API, &error, "DATABASE_URL or POSTGRES_*")];
            lines.extend([DURABILITY, ENCRYPTION, API_RIGHTS].map(|check| unseen(check, "no connection")));
            return lines;
        }
    };
    let mut lines = match inspect::server(&mut connection).await {
        Ok(server) => vec![version(&server), durability(&server), encryption(&server)],
        Err(error) => vec![Line::fail(API, error.to_string())],
    };
    lines.push(match inspect::rights(&mut connection).await {
        Ok(rights) => api_rights(&rights),
        Err(error) => Line::fail(API_RIGHTS, format!("{error}: migrate, then grant doorbook_api; {GRANT}")),
    });
    lines
}

async fn of_worker(api: &Database, worker: &Database) -> Vec<Line> {
    if is_same(&api.url, &worker.url) {
        return vec![
            Line::warn(WORKER, "the same login as the api's: set WORKER_DATABASE_URL"),
            unseen(WORKER_RIGHTS, "the worker has no login of its own"),
        ];
    }
    let mut connection = match inspect::connect(worker.url.expose()).await {
        Ok(connection) => connection,
        Err(error) => {
            return vec![unreachable(WORKER, &error, "WORKER_DATABASE_URL"), unseen(WORKER_RIGHTS, "no connection")];
        }
    };
    let rights = match inspect::rights(&mut connection).await {
        Ok(rights) => worker_rights(&rights),
        Err(error) => Line::fail(WORKER_RIGHTS, format!("{error}: migrate, then grant doorbook_worker; {GRANT}")),
    };
    vec![Line::ok(WORKER, "reachable"), rights]
}

/// The owner's login can see every migration, whatever the others may see.
async fn of_owner(api: &Database) -> Vec<Line> {
    let mut connection = match inspect::connect(api.migrate_url.expose()).await {
        Ok(connection) => connection,
        Err(error) => {
            return vec![unreachable(OWNER, &error, "DATABASE_MIGRATE_URL"), unseen(MIGRATIONS, "no connection")];
        }
    };
    let owner = if is_same(&api.url, &api.migrate_url) {
        Line::warn(OWNER, "the same login as the api's: set DATABASE_MIGRATE_URL to the owner's")
    } else {
        Line::ok(OWNER, "reachable")
    };
    let migrations = match pending_on(&mut connection).await {
        Ok(pending) => migrated(&pending),
        Err(error) => Line::fail(MIGRATIONS, error.to_string()),
    };
    vec![owner, migrations]
}

fn is_same(one: &Secret, other: &Secret) -> bool {
    one.expose() == other.expose()
}

fn unreachable(check: &'static str, error: &StoreError, variable: &str) -> Line {
    Line::fail(check, format!("{error}: check {variable} and the server"))
}

fn version(server: &Server) -> Line {
    let Server { version, in_recovery, .. } = server;
    if *version < VERSION_MIN {
        Line::fail(API, format!("Postgres {} is too old: use 15 or newer", version / 10_000))
    } else if *in_recovery {
        Line::fail(API, "a standby, which takes no writes: name the primary")
    } else {
        Line::ok(API, format!("reachable, Postgres {}", version / 10_000))
    }
}

fn durability(server: &Server) -> Line {
    let off = [
        ("fsync", !server.fsync),
        ("full_page_writes", !server.full_page_writes),
        ("synchronous_commit", server.synchronous_commit == "off"),
    ];
    let off: Vec<&str> = off.into_iter().filter(|(_, is_off)| *is_off).map(|(name, _)| name).collect();
    if off.is_empty() {
        Line::ok(DURABILITY, "what is committed survives a crash")
    } else {
        Line::fail(DURABILITY, format!("a crash would lose events: turn on {} in postgresql.conf", off.join(", ")))
    }
}

fn encryption(server: &Server) -> Line {
    if server.is_remote && !server.is_encrypted {
        Line::warn(ENCRYPTION, "clear text over the network: add ?sslmode=verify-full&sslrootcert=… to the URL")
    } else {
        Line::ok(ENCRYPTION, if server.is_encrypted { "TLS" } else { "this machine alone" })
    }
}

fn migrated(pending: &[Pending]) -> Line {
    let wrong: Vec<String> =
        pending.iter().filter(|pending| pending.lack != Lack::Newer).map(Pending::to_string).collect();
    match (wrong.is_empty(), pending.len()) {
        (true, 0) => Line::ok(MIGRATIONS, "all applied"),
        (true, newer) => {
            Line::warn(MIGRATIONS, format!("all applied, and {newer} of a newer release: deploy that release"))
        }
        (false, _) => Line::fail(MIGRATIONS, wrong.join("; ")),
    }
}

fn api_rights(rights: &Rights) -> Line {
    if let Some(line) = too_strong(API_RIGHTS, rights) {
        line
    } else if !rights.appends || !rights.reads_keys {
        Line::fail(API_RIGHTS, format!("{} cannot write: grant it doorbook_api; {GRANT}", rights.login))
    } else if rights.seals {
        Line::fail(API_RIGHTS, format!("{} may seal the log: give api and worker a login each; {GRANT}", rights.login))
    } else {
        Line::ok(API_RIGHTS, "may append, and neither change nor seal")
    }
}

fn worker_rights(rights: &Rights) -> Line {
    if let Some(line) = too_strong(WORKER_RIGHTS, rights) {
        line
    } else if !rights.appends || !rights.seals {
        Line::fail(WORKER_RIGHTS, format!("{} cannot seal: grant it doorbook_worker; {GRANT}", rights.login))
    } else {
        Line::ok(WORKER_RIGHTS, "may append and seal, and not change")
    }
}

/// What no process of the service may do: the log would prove nothing against it.
fn too_strong(check: &'static str, rights: &Rights) -> Option<Line> {
    let login = &rights.login;
    let what = if rights.is_superuser {
        "is a superuser"
    } else if rights.owns_log {
        "owns the log"
    } else if rights.rewrites_log {
        "may change events"
    } else if rights.shreds {
        "may delete keys of personal data"
    } else {
        return None;
    };
    Some(Line::fail(check, format!("{login} {what}: give each process a login of its own role; {GRANT}")))
}

#[cfg(test)]
mod tests {
    use doorbook_core::config::check::Verdict;

    use super::*;

    fn server() -> Server {
        Server {
            version: 150_004,
            fsync: true,
            full_page_writes: true,
            synchronous_commit: "on".to_owned(),
            in_recovery: false,
            is_encrypted: false,
            is_remote: false,
        }
    }

    #[test]
    fn a_server_that_forgets_fails_whatever_makes_it_forget() {
        assert_eq!(durability(&server()).verdict, Verdict::Ok);
        for broken in [
            Server { fsync: false, ..server() },
            Server { full_page_writes: false, ..server() },
            Server { synchronous_commit: "off".to_owned(), ..server() },
        ] {
            assert_eq!(durability(&broken).verdict, Verdict::Fail);
        }
        assert_eq!(durability(&Server { synchronous_commit: "local".to_owned(), ..server() }).verdict, Verdict::Ok);
    }

    #[test]
    fn an_old_server_a_standby_and_clear_text_are_noticed() {
        assert_eq!(version(&Server { version: 140_012, ..server() }).verdict, Verdict::Fail);
        assert_eq!(version(&Server { in_recovery: true, ..server() }).verdict, Verdict::Fail);
        assert_eq!(encryption(&Server { is_remote: true, ..server() }).verdict, Verdict::Warn);
        assert_eq!(encryption(&Server { is_remote: true, is_encrypted: true, ..server() }).verdict, Verdict::Ok);
    }

    #[test]
    fn migrations_must_be_those_of_the_build() {
        let verdict = |lacks: &[Lack]| {
            let pending = lacks.iter().map(|lack| Pending { version: 1, description: "one".into(), lack: *lack });
            migrated(&pending.collect::<Vec<_>>()).verdict
        };
        assert_eq!((verdict(&[]), verdict(&[Lack::Newer])), (Verdict::Ok, Verdict::Warn));
        for lack in [Lack::NotApplied, Lack::Unfinished, Lack::OtherText, Lack::Needed] {
            assert_eq!(verdict(&[Lack::Newer, lack]), Verdict::Fail, "{lack:?}");
        }
    }
}

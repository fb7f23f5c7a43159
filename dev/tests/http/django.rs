//! A real Django from PyPI with users of its own. Where PyPI cannot be reached its tests fail and say so.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use doorbook_dev::Cluster;
use serde::Deserialize;
use tokio::sync::OnceCell;

/// What the environment is made of. A change of it makes a new one.
const PACKAGES: [&str; 4] = ["django>=5,<6", "psycopg[binary]>=3,<4", "argon2-cffi", "bcrypt"];

#[derive(Deserialize, Debug)]
pub struct User {
    pub id: u32,
    pub email: String,
    pub kind: String,
    pub password: String,
    pub active: bool,
    pub staff: bool,
    pub joined: String,
    pub first_name: String,
}

/// A Django service with so many users in a database of its own; its URL, and the users. Beside them there are three that cannot be
/// imported: one without an address, and two whose addresses differ by the case of a letter.
pub async fn service(users: usize) -> (String, Vec<User>) {
    static PYTHON: OnceCell<PathBuf> = OnceCell::const_new();
    let python = PYTHON.get_or_init(|| async { tokio::task::spawn_blocking(environment).await.unwrap() }).await;
    let cluster = Cluster::shared().await.unwrap();
    let name = format!("django_{users}");
    let superuser = sqlx::PgPool::connect(&cluster.superuser_url("postgres")).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create database {name}"))).execute(&superuser).await.unwrap();
    let url = cluster.superuser_url(&name);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/django/users.py");
    let mut command = cluster.run().command(python);
    command.arg(script).arg(users.to_string()).env("DJANGO_DATABASE_URL", &url);
    let output = tokio::task::spawn_blocking(move || done(&mut command, "Django cannot make its users")).await.unwrap();
    let users = String::from_utf8(output.stdout).unwrap();
    (url, users.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// The Python that has Django; installed on first use, below `target`.
fn environment() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("django");
    let (python, stamp) = (folder.join("bin/python"), folder.join("packages"));
    let wanted = PACKAGES.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return python;
    }
    let without = "this test needs python3 with venv";
    done(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder), without);
    let without = "this test needs Django from PyPI, and pip cannot install it";
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    done(Command::new(&python).args(install).args(PACKAGES), without);
    std::fs::write(stamp, wanted).unwrap();
    python
}

fn done(command: &mut Command, otherwise: &str) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{otherwise}: {error}"));
    assert!(output.status.success(), "{otherwise}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

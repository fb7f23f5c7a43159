//! Private servers for development and tests: Postgres, Redis and a mail sink that belong to one run, share nothing
//! with the machine's own services and are gone when the run is, however it ends. Never part of a release image.

pub mod advisories;
pub mod aged;
pub mod auc;
pub mod browser;
pub mod checks;
pub mod ci;
pub mod cluster;
pub mod database;
mod find;
pub mod full;
pub mod guard;
pub mod halves;
mod install;
pub mod load;
mod marked;
pub mod mutants;
mod package;
pub mod pgbouncer;
mod place;
mod postgres;
pub mod prepare;
pub mod process;
pub mod proxy;
pub mod python;
pub mod receiver;
mod redis;
mod run;
pub mod schemathesis;
pub mod search;
mod secret;
mod server;
pub mod sink;
pub mod stand;
mod standby;
mod tour;
pub mod up;

pub use cluster::{Cluster, Options};
pub use database::{Database, Role};
pub use install::{faketime, promtool};
pub use postgres::Postgres;
pub use process::{Launch, Program, ensure_binaries};
pub use run::{Run, free_port};
pub use server::Server;
pub use sink::{Mail, Sink};
pub use stand::{Answer, Client, Stand};

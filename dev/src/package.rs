//! Who packages what this package needs, and under which names.

use crate::find::POSTGRES_OLDEST;

/// A kind of server that this package starts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Postgres,
    Redis,
    Nginx,
    Haproxy,
    PgBouncer,
    /// For `promtool`, which comes with it.
    Prometheus,
    Chromium,
    /// A library, and no server at all.
    Faketime,
    /// Brings Node.js along.
    Npm,
}

/// Who packages servers, each under names of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum System {
    Debian,
    Fedora,
    Arch,
    Alpine,
    Homebrew,
    Other,
}

impl Server {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Postgres => format!("Postgres {POSTGRES_OLDEST} or newer"),
            Self::Redis => "Redis or Valkey".to_owned(),
            Self::Nginx => "nginx".to_owned(),
            Self::Haproxy => "HAProxy".to_owned(),
            Self::PgBouncer => "PgBouncer".to_owned(),
            Self::Prometheus => "Prometheus' promtool".to_owned(),
            Self::Chromium => "Chromium".to_owned(),
            Self::Faketime => "libfaketime".to_owned(),
            Self::Npm => "Node.js with npm".to_owned(),
        }
    }

    pub(crate) const fn package(self, system: System) -> &'static str {
        match (self, system) {
            (Self::Postgres, System::Fedora) => "postgresql-server",
            (Self::Postgres, System::Homebrew) => "postgresql@17",
            (Self::Postgres, _) => "postgresql",
            (Self::Redis, System::Debian) => "redis-server",
            (Self::Redis, System::Fedora | System::Arch) => "valkey",
            (Self::Redis, _) => "redis",
            (Self::Nginx, _) => "nginx",
            (Self::Haproxy, _) => "haproxy",
            (Self::PgBouncer, _) => "pgbouncer",
            (Self::Prometheus, System::Fedora) => "golang-github-prometheus",
            (Self::Prometheus, _) => "prometheus",
            (Self::Chromium, _) => "chromium",
            (Self::Faketime, _) => "libfaketime",
            (Self::Npm, System::Homebrew) => "node",
            (Self::Npm, _) => "npm",
        }
    }

    /// The service that a Debian package brings along, if it brings one that would run at the next boot.
    pub(crate) const fn service(self) -> Option<&'static str> {
        match self {
            Self::Postgres | Self::Chromium | Self::Faketime | Self::Npm => None,
            Self::Redis => Some("redis-server"),
            Self::Nginx => Some("nginx"),
            Self::Haproxy => Some("haproxy"),
            Self::PgBouncer => Some("pgbouncer"),
            Self::Prometheus => Some("prometheus"),
        }
    }
}

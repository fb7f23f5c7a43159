//! On what it was measured, and what else was going on there.

use std::fs;

use serde::Serialize;

#[derive(Serialize, Clone, Debug)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub memory_gib: u64,
    pub kernel: String,
    pub postgres: String,
    /// What computes Doorbook's hashes.
    pub engine: String,
    /// `dev` figures say nothing.
    pub profile: &'static str,
}

impl Machine {
    pub fn here(cores: usize, postgres: String) -> Self {
        let of = |file: &str, field: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(field)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let kib: u64 = of("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or_default();
        Self {
            processor: of("/proc/cpuinfo", "model name"),
            cores,
            memory_gib: (kib + 512 * 1024) / (1024 * 1024),
            // Its version, without the name of who built it.
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map(|text| text.trim().split('-').next().unwrap_or_default().to_owned())
                .unwrap_or_default(),
            postgres,
            engine: "argon2".to_owned(),
            profile: if cfg!(debug_assertions) { "dev" } else { "release" },
        }
    }
}

/// Processes that want to run, on average over the last minute; `None` where the system does not tell.
pub fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

//! What Linux says of the memory of a process.

use std::fs;

use anyhow::{Context, Result};

/// Bytes that it holds of the machine's memory now.
pub fn resident(pid: u32) -> Result<u64> {
    bytes(pid, "VmRSS:")
}

/// The most that it has ever held, in bytes.
pub fn peak(pid: u32) -> Result<u64> {
    bytes(pid, "VmHWM:")
}

fn bytes(pid: u32, field: &str) -> Result<u64> {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone, or this is no Linux")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().with_context(|| format!("{field} is no number"))?;
    Ok(kib * 1024)
}

//! Reads. One statement a function, bounded; strong unless the doc says otherwise.

pub mod accounts;
pub mod counters;
pub mod deliveries;
pub mod sessions;
pub mod tokens;

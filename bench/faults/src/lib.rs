//! Faults on purpose: the whole service under a mixed load, hit by a schedule that follows from a seed, and judged afterwards by what
//! its clients were told. `docs/RELIABILITY.md` holds the figures.

pub mod campaign;
pub mod check;
pub mod figures;
mod frontend;
pub mod ledger;
mod load;
pub mod nemesis;
pub mod pace;
mod people;
pub mod rig;
pub mod rows;
pub mod soak;
mod visit;
pub mod wire;

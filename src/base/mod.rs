//! Tools that every other module may use: random numbers, atomic file writes, threads and devices, mapped memory.

pub mod atomic;
pub mod compute;
pub(crate) mod device;
pub mod interrupt;
pub mod random;
pub(crate) mod resident;

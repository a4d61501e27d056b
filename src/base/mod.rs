//! Tools that every other module may use: random numbers, reading and writing files, threads and devices, mapped memory.

pub mod atomic;
pub mod compute;
pub(crate) mod device;
pub mod files;
pub mod interrupt;
pub mod random;
pub(crate) mod resident;
pub(crate) mod seal;
pub mod spent;

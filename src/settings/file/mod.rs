//! The experiment file: read, overridden and checked as a whole, with every fault named at once.

mod check;
mod check_generator;
mod faults;
mod load;

pub use load::{ConfigError, load, parse, to_yaml};

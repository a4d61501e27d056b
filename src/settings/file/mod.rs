//! Reads experiment files, applies overrides, and validates the result as a whole. All faults are reported at once.

mod check;
mod check_generator;
mod error;
mod faults;
mod load;
mod read;
mod schema;

pub use error::ConfigError;
pub use load::{Loaded, load, load_with, parse, reload, to_yaml};

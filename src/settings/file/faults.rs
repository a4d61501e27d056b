//! Collects the faults of an experiment and words them.

use std::ops::RangeInclusive;

/// The faults found so far, each in the form `path: value: expected …`.
pub(crate) struct Faults(pub(crate) Vec<String>);

impl Faults {
    /// Adds a fault unless `valid`.
    pub(crate) fn require(
        &mut self,
        valid: bool,
        path: &str,
        value: impl std::fmt::Display,
        expected: &str,
    ) {
        if !valid {
            self.0.push(format!("{path}: {value}: expected {expected}"));
        }
    }

    /// Adds a fault if `value` is less than `smallest`.
    pub(crate) fn at_least<T: PartialOrd + std::fmt::Display>(
        &mut self,
        path: &str,
        value: T,
        smallest: T,
    ) {
        let valid = value >= smallest;
        self.require(valid, path, value, &format!("at least {smallest}"));
    }

    /// Adds a fault if `value` is outside `range`. The upper ends are far beyond sensible values; they keep products of
    /// sizes from overflowing.
    pub(crate) fn within(&mut self, path: &str, value: usize, range: RangeInclusive<usize>) {
        let expected = format!("{} to {}", range.start(), range.end());
        self.require(range.contains(&value), path, value, &expected);
    }

    /// Adds a fault unless `value` is finite and greater than 0.
    pub(crate) fn positive(&mut self, path: &str, value: f64) {
        self.require(
            value.is_finite() && value > 0.0,
            path,
            value,
            "a number greater than 0",
        );
    }

    /// Adds a fault unless `value` is finite and at least 0.
    pub(crate) fn non_negative(&mut self, path: &str, value: f64) {
        self.require(value.is_finite() && value >= 0.0, path, value, "0 or more");
    }
}

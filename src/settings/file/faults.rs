//! How faults of an experiment are put into words.
use std::ops::RangeInclusive;

/// Faults found so far, `path: value: expected …`.
pub(crate) struct Faults(pub(crate) Vec<String>);

impl Faults {
    pub(crate) fn unless(
        &mut self,
        right: bool,
        path: &str,
        value: impl std::fmt::Display,
        expected: &str,
    ) {
        if !right {
            self.0.push(format!("{path}: {value}: expected {expected}"));
        }
    }

    pub(crate) fn least<T: PartialOrd + std::fmt::Display>(
        &mut self,
        path: &str,
        value: T,
        least: T,
    ) {
        let right = value >= least;
        self.unless(right, path, value, &format!("at least {least}"));
    }

    /// The upper ends are far beyond use; they keep products of sizes from overflowing.
    pub(crate) fn within(&mut self, path: &str, value: usize, range: RangeInclusive<usize>) {
        let expected = format!("{} to {}", range.start(), range.end());
        self.unless(range.contains(&value), path, value, &expected);
    }

    pub(crate) fn positive(&mut self, path: &str, value: f64) {
        self.unless(
            value.is_finite() && value > 0.0,
            path,
            value,
            "a number more than 0",
        );
    }

    pub(crate) fn not_negative(&mut self, path: &str, value: f64) {
        self.unless(value.is_finite() && value >= 0.0, path, value, "0 or more");
    }
}

//! Answers of one classifier to single pictures: accuracy, its interval, and the confusion matrix.

use ndarray::Array2;

/// z of a two-sided 95 % interval.
const Z: f64 = 1.96;

/// Counts of the answers of one classifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// `[n, n]`: number of pictures by true class (row) and answer (column).
    pub confusion: Array2<usize>,
}

impl Answers {
    /// Counts pairs (true class, answer) of `classes` classes.
    ///
    /// # Panics
    /// If a pair has a class that is not below `classes`.
    pub fn of(classes: usize, pairs: impl IntoIterator<Item = (usize, usize)>) -> Answers {
        let mut confusion = Array2::zeros((classes, classes));
        for pair in pairs {
            confusion[pair] += 1;
        }
        Answers { confusion }
    }

    /// Number of correct answers.
    pub fn right(&self) -> usize {
        self.confusion.diag().sum()
    }

    /// Number of answers.
    pub fn total(&self) -> usize {
        self.confusion.sum()
    }

    /// Fraction of correct answers.
    pub fn accuracy(&self) -> f64 {
        self.right() as f64 / self.total() as f64
    }

    /// Ends of the 95 % Wilson interval of the accuracy, which is valid for few answers and near 0 and 1 too.
    pub fn interval(&self) -> [f64; 2] {
        let (count, mean) = (self.total() as f64, self.accuracy());
        let shrink = 1.0 / (1.0 + Z * Z / count);
        let middle = (mean + Z * Z / (2.0 * count)) * shrink;
        let half = Z * shrink * (mean * (1.0 - mean) / count + (Z / (2.0 * count)).powi(2)).sqrt();
        [(middle - half).max(0.0), (middle + half).min(1.0)]
    }
}

/// `45 of 50 right, 90.0 % (95 % interval 78.6 to 95.7 %)`
impl std::fmt::Display for Answers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [low, high] = self.interval();
        write!(
            formatter,
            "{} of {} right, {:.1} % (95 % interval {:.1} to {:.1} %)",
            self.right(),
            self.total(),
            100.0 * self.accuracy(),
            100.0 * low,
            100.0 * high
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R: `binom.confint(45, 50, methods = "wilson")` and `(0, 10)`; z = 1.96.
    #[test]
    fn the_interval_is_wilsons() {
        let near = |answers: &Answers, expected: [f64; 2]| {
            let found = answers.interval();
            for (found, expected) in found.into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-4, "{found} {expected}");
            }
        };
        let most = (0..50).map(|picture| (0, usize::from(picture >= 45)));
        near(&Answers::of(2, most), [0.786_398, 0.956_524]);
        near(&Answers::of(2, [(0, 1); 10]), [0.0, 0.277_533]);
    }
}

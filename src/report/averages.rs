//! Recorded numbers: what a metric is, and a map in which each averages itself.

use std::collections::BTreeMap;
use std::fmt::Display;

/// A number that is recorded, and how it is measured on a `Source`, such as one forward pass.
pub(crate) struct Metric<Source> {
    /// Its name in `metrics.jsonl` and TensorBoard.
    pub(crate) tag: &'static str,
    /// What it says, in a few words; TensorBoard shows them beside the curve.
    pub(crate) description: &'static str,
    pub(crate) measure: fn(&Source) -> f64,
}

/// Weighted averages by tag.
#[derive(Clone, Debug, Default)]
pub(crate) struct Averages(BTreeMap<String, Average>);

#[derive(Clone, Debug)]
struct Average {
    description: &'static str,
    sum: f64,
    weight: f64,
}

/// An average as it is written.
pub(crate) struct Scalar<'a> {
    pub(crate) tag: &'a str,
    pub(crate) description: &'static str,
    pub(crate) value: f64,
}

impl Averages {
    /// Adds one measurement of each metric, which counts `weight` times, e.g. once per task of a batch.
    pub(crate) fn measure<Source>(
        &mut self,
        metrics: &[Metric<Source>],
        source: &Source,
        weight: f64,
    ) {
        for metric in metrics {
            let value = (metric.measure)(source);
            self.add(metric.tag, metric.description, value * weight, weight);
        }
    }

    /// Adds one measurement on a part of the model, such as a layer, whose number or name is appended to the tag.
    pub(crate) fn measure_part<Source>(
        &mut self,
        metric: &Metric<Source>,
        part: impl Display,
        source: &Source,
    ) {
        let tag = format!("{}{part}", metric.tag);
        self.add(&tag, metric.description, (metric.measure)(source), 1.0);
    }

    /// Adds all measurements of `other`.
    pub(crate) fn merge(&mut self, other: &Averages) {
        for (tag, average) in &other.0 {
            self.add(tag, average.description, average.sum, average.weight);
        }
    }

    /// Sum and weight of each tag.
    pub(crate) fn sums(&self) -> BTreeMap<String, (f64, f64)> {
        let sums = self.0.iter();
        sums.map(|(tag, average)| (tag.clone(), (average.sum, average.weight)))
            .collect()
    }

    /// The averages with these sums and weights; `description` describes a tag.
    pub(crate) fn from_sums(
        sums: BTreeMap<String, (f64, f64)>,
        description: impl Fn(&str) -> &'static str,
    ) -> Averages {
        let mut averages = Averages::default();
        for (tag, (sum, weight)) in sums {
            averages.add(&tag, description(&tag), sum, weight);
        }
        averages
    }

    /// The average of a tag; NaN if it was never measured.
    pub(crate) fn of(&self, tag: &str) -> f64 {
        self.0.get(tag).map_or(f64::NAN, Average::value)
    }

    /// All averages, sorted by tag.
    pub(crate) fn scalars(&self) -> impl Iterator<Item = Scalar<'_>> {
        self.0.iter().map(|(tag, average)| Scalar {
            tag,
            description: average.description,
            value: average.value(),
        })
    }

    fn add(&mut self, tag: &str, description: &'static str, sum: f64, weight: f64) {
        let average = self.0.entry(tag.to_owned()).or_insert(Average {
            description,
            sum: 0.0,
            weight: 0.0,
        });
        average.sum += sum;
        average.weight += weight;
    }
}

impl Average {
    fn value(&self) -> f64 {
        self.sum / self.weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_count_by_their_tasks() {
        let itself = [Metric {
            tag: "itself",
            description: "the number measured",
            measure: |number: &f64| *number,
        }];
        let (mut all, mut other) = (Averages::default(), Averages::default());
        all.measure(&itself, &1.0, 3.0);
        other.measure(&itself, &5.0, 1.0);
        other.measure_part(&itself[0], 2, &7.0);
        all.merge(&other);
        assert_eq!([all.of("itself"), all.of("itself2")], [2.0, 7.0]);
        assert!(all.of("never measured").is_nan());
    }
}

//! Accuracy of one episode, and the mean over episodes with its 95 % interval.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// Accuracy and loss of one episode.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpisodeRecord {
    /// Index of the episode under its seed and part.
    pub episode: u64,
    /// Fraction of queries that are classified correctly.
    pub accuracy: f64,
    /// Mean cross-entropy of the queries.
    pub loss: f64,
}

impl EpisodeRecord {
    /// Compares logits `[T, Q, n]` with labels `[T, Q]`; `episodes` has the T indices.
    pub fn of(episodes: &[u64], logits: &Tensor, labels: &Tensor) -> Vec<EpisodeRecord> {
        let right = logits.argmax(-1, false).eq_tensor(labels);
        let losses = logits
            .log_softmax(-1, Kind::Double)
            .gather(-1, &labels.unsqueeze(-1), false)
            .squeeze_dim(-1);
        // Stacked, so that a GPU copies both at once.
        let means = Tensor::stack(&[right.to_kind(Kind::Double), -losses], 0)
            .mean_dim(-1, false, Kind::Double)
            .to_device(Device::Cpu);
        let value = |row, task| means.double_value(&[row, task]);
        (0..)
            .zip(episodes)
            .map(|(task, &episode)| EpisodeRecord {
                episode,
                accuracy: value(0, task),
                loss: value(1, task),
            })
            .collect()
    }
}

/// Accuracy and loss, averaged over episodes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Mean accuracy, a fraction.
    pub accuracy_mean: f64,
    /// Half width of the 95 % interval of the mean accuracy: 1.96 · s / √episodes, with s the standard deviation over
    /// episodes. NaN for a single episode.
    pub accuracy_ci95: f64,
    /// Mean cross-entropy.
    pub loss_mean: f64,
    /// Number of episodes.
    pub episodes: usize,
}

impl Summary {
    /// Averages at least one record.
    pub fn of(records: &[EpisodeRecord]) -> Summary {
        let count = records.len() as f64;
        let mean =
            |value: fn(&EpisodeRecord) -> f64| records.iter().map(value).sum::<f64>() / count;
        let accuracy = mean(|record| record.accuracy);
        let squares: f64 = records
            .iter()
            .map(|record| (record.accuracy - accuracy).powi(2))
            .sum();
        let deviation = if records.len() > 1 {
            (squares / (count - 1.0)).sqrt()
        } else {
            f64::NAN
        };
        Summary {
            accuracy_mean: accuracy,
            accuracy_ci95: 1.96 * deviation / count.sqrt(),
            loss_mean: mean(|record| record.loss),
            episodes: records.len(),
        }
    }
}

/// Prints the accuracy with its interval: `87.58 ± 0.10 %`.
impl std::fmt::Display for Summary {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [mean, interval] = [self.accuracy_mean, self.accuracy_ci95].map(|value| 100.0 * value);
        write!(formatter, "{mean:.2} ± {interval:.2} %")
    }
}

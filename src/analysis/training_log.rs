//! What the log of a training, `metrics.jsonl`, tells of a run as a whole.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;

use crate::base::files;
use crate::train::TRAINING_ACCURACY;

/// Part of the steps, at the end, over which training accuracy is averaged.
const LAST: f64 = 0.05;
/// Keys of the time that a training has taken, over all its sessions, in seconds.
const CPU: &str = "time/cpu_seconds";
const WALL: &str = "time/wall_seconds";

/// Seconds that a training took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Of CPU time, all threads together.
    pub cpu_seconds: f64,
    /// By the clock.
    pub wall_seconds: Option<f64>,
}

/// The log of a training.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct TrainingLog {
    /// Accuracy of training episodes as training saw them, in percent, averaged over the lines of the last 5 % of the
    /// steps.
    pub(crate) accuracy: Option<f64>,
    /// What the training cost, if it was recorded.
    pub(crate) cost: Option<Cost>,
}

impl TrainingLog {
    /// Reads `metrics.jsonl`; a run may have none. A line that is not complete does not count: a training may be writing it.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn read(path: &Path) -> anyhow::Result<TrainingLog> {
        let text = match files::read_text(path, files::LARGEST_TABLE) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            text => text.with_context(|| format!("could not read {}", path.display()))?,
        };
        let lines = text.lines().map(serde_json::from_str::<Value>);
        let lines: Vec<Value> = lines.filter_map(Result::ok).collect();
        Ok(TrainingLog {
            accuracy: final_accuracy(&lines),
            cost: cost(&lines),
        })
    }
}

fn final_accuracy(lines: &[Value]) -> Option<f64> {
    let points: Vec<(f64, f64)> = lines
        .iter()
        .filter_map(|line| Some((line["step"].as_f64()?, line[TRAINING_ACCURACY].as_f64()?)))
        .collect();
    let start = points.last()?.0 * (1.0 - LAST);
    let last: Vec<f64> = points
        .iter()
        .filter(|(step, _)| *step > start)
        .map(|(_, accuracy)| *accuracy)
        .collect();
    Some(100.0 * last.iter().sum::<f64>() / last.len() as f64)
}

fn cost(lines: &[Value]) -> Option<Cost> {
    let last = |key: &str| lines.iter().rev().find_map(|line| line[key].as_f64());
    Some(Cost {
        cpu_seconds: last(CPU)?,
        wall_seconds: last(WALL),
    })
}

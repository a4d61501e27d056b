//! What a run tells: `metrics.jsonl`, TensorBoard events, and a bar or plain lines on stderr.

mod metrics;
mod progress;
mod tensorboard;
use std::path::{Path, PathBuf};

use metrics::Metrics;
use progress::Progress;
use tensorboard::TensorBoard;
use thiserror::Error;

/// Metrics could not be written.
#[derive(Debug, Error)]
#[error("could not write metrics to {path}: is the disk full, the folder gone?")]
pub struct ReportError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// All places a run reports to.
pub struct Report {
    metrics: Metrics,
    tensorboard: TensorBoard,
    progress: Progress,
}

impl Report {
    /// Into `folder`; when resumed, metrics after `resumed_step` are dropped, they will come again.
    ///
    /// # Errors
    /// If a file cannot be opened.
    pub fn create(
        folder: &Path,
        steps: u64,
        resumed_step: Option<u64>,
        quiet: bool,
    ) -> Result<Report, ReportError> {
        let failed = |source| ReportError {
            path: folder.to_path_buf(),
            source,
        };
        Ok(Report {
            metrics: Metrics::open(&folder.join("metrics.jsonl"), resumed_step).map_err(failed)?,
            tensorboard: TensorBoard::open(folder).map_err(failed)?,
            progress: Progress::new(steps, resumed_step.unwrap_or(0), quiet),
        })
    }

    /// Tagged numbers of a step, to `metrics.jsonl` and TensorBoard.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn scalars(&mut self, step: u64, scalars: &[(&str, f64)]) -> Result<(), ReportError> {
        let path = self.metrics.path().to_path_buf();
        let written = self.metrics.write(step, scalars);
        written
            .and_then(|()| self.tensorboard.scalars(step, scalars))
            .map_err(|source| ReportError { path, source })
    }

    /// Where training stands.
    pub fn progress(&self, step: u64, loss: f64, accuracy: f64, rate: f64, speed: f64) {
        self.progress.show(step, loss, accuracy, rate, speed);
    }

    /// A line for the reader, above the bar.
    pub fn say(&self, text: &str) {
        self.progress.say(text);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.progress.finish();
    }
}

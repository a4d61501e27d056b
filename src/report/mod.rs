//! What a run reports: `metrics.jsonl`, TensorBoard events, and a progress bar or plain lines on stderr.

pub(crate) mod averages;
pub mod console;
mod jsonl;
mod progress;
mod tensorboard;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::base::atomic;
use crate::report::averages::Averages;
use crate::report::jsonl::MetricsFile;
use crate::report::progress::Progress;
use crate::report::tensorboard::TensorBoard;

pub use progress::clock;
pub use tensorboard::is_handled_panic;

/// Metrics could not be written.
#[derive(Debug, Error)]
#[error(
    "could not write metrics to {path}\nhint: check that the disk has space and that the folder exists"
)]
pub struct ReportError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// All places a run reports to.
pub(crate) struct Report {
    folder: PathBuf,
    metrics: MetricsFile,
    tensorboard: TensorBoard,
    progress: Progress,
}

impl Report {
    /// Opens the report of a run of `steps` steps: the file `metrics`, and an event file beside it. Of a resumed run, what
    /// was recorded after step `recorded` is dropped, because the run records it again.
    ///
    /// # Errors
    /// If a file cannot be opened.
    pub(crate) fn create(
        metrics: &Path,
        steps: u64,
        recorded: Option<u64>,
        quiet: bool,
    ) -> Result<Report, ReportError> {
        let folder = atomic::folder_of(metrics);
        let failed = |source| ReportError {
            path: folder.to_path_buf(),
            source,
        };
        Ok(Report {
            folder: folder.to_path_buf(),
            metrics: MetricsFile::open(metrics, recorded).map_err(failed)?,
            tensorboard: TensorBoard::open(folder, recorded).map_err(failed)?,
            progress: Progress::new(steps, recorded.unwrap_or(0), quiet),
        })
    }

    /// Writes averages at `step` to `metrics.jsonl` and TensorBoard.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(crate) fn write(&mut self, step: u64, averages: &Averages) -> Result<(), ReportError> {
        let written = self.metrics.write(step, averages);
        self.or_failed(written)?;
        self.show(|board| board.write(step, averages))
    }

    /// Writes what only TensorBoard shows.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn show(
        &mut self,
        write: impl FnOnce(&mut TensorBoard) -> io::Result<()>,
    ) -> Result<(), ReportError> {
        let written = write(&mut self.tensorboard);
        self.or_failed(written)
    }

    fn or_failed(&self, written: io::Result<()>) -> Result<(), ReportError> {
        written.map_err(|source| ReportError {
            path: self.folder.clone(),
            source,
        })
    }

    /// Shows how far training is: loss, accuracy (a fraction), learning rate and, if known, episodes per second.
    pub(crate) fn progress(
        &self,
        step: u64,
        loss: f64,
        accuracy: f64,
        rate: f64,
        speed: Option<f64>,
    ) {
        self.progress.show(step, loss, accuracy, rate, speed);
    }

    /// Prints a line, above the bar if there is one; nothing if quiet.
    pub(crate) fn say(&self, text: &str) {
        self.progress.say(text);
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        self.progress.finish();
    }
}

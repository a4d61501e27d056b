//! TensorBoard event files.

mod hyperparameters;
mod summaries;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use image::RgbImage;
use serde_json::Value;
use tensorboard_proto::event::{Event, SessionLog, SessionLog_SessionStatus};
use tensorboard_proto::summary::Summary;
use tensorboard_rs::summary::scalar;
use tensorboard_rs::summary_writer::FileWriter;

use crate::report::averages::{Averages, Scalar};

/// The writer of tensorboard-rs runs its own thread, which panics when it cannot write. Every later call on the writer
/// then panics too, even its drop; these panics become errors here.
pub(crate) struct TensorBoard {
    /// None only while it is dropped.
    writer: Option<FileWriter>,
    /// Tags whose description has been written.
    described: HashSet<String>,
}

/// Whether a panic at `place` is one that `Report` turns into an error, so that it need not be
/// printed.
pub fn is_handled_panic(place: &Location) -> bool {
    place.file().contains("tensorboard-rs")
}

impl TensorBoard {
    /// Starts an event file in `folder`, after a test that files can be created there. Of a resumed run, TensorBoard
    /// drops what earlier files hold after step `recorded`.
    pub(crate) fn open(folder: &Path, recorded: Option<u64>) -> io::Result<TensorBoard> {
        tempfile::tempfile_in(folder)?;
        wait_for_a_later_name(folder);
        let mut board = TensorBoard {
            writer: Some(FileWriter::new(folder)),
            described: HashSet::new(),
        };
        if let Some(recorded) = recorded {
            let mut session = SessionLog::new();
            session.set_status(SessionLog_SessionStatus::START);
            let mut event = Event::new();
            event.set_session_log(session);
            board.with_writer(|writer| writer.add_event(&event, recorded as usize + 1))?;
        }
        Ok(board)
    }

    /// Writes and flushes the averages. A failure may show only at the next call.
    pub(crate) fn write(&mut self, step: u64, averages: &Averages) -> io::Result<()> {
        let scalars: Vec<_> = averages.scalars().collect();
        let summaries: Vec<_> = scalars.iter().map(|found| self.scalar(found)).collect();
        self.add(step, summaries)
    }

    /// Writes Markdown.
    pub(crate) fn text(&mut self, tag: &str, markdown: &str) -> io::Result<()> {
        self.add(0, [summaries::text(tag, markdown)])
    }

    /// Writes a picture.
    pub(crate) fn image(
        &mut self,
        step: u64,
        tag: &str,
        description: &str,
        picture: &RgbImage,
    ) -> io::Result<()> {
        self.add(step, [summaries::image(tag, description, picture)?])
    }

    /// Writes the distribution of finite numbers.
    pub(crate) fn histogram(&mut self, step: u64, tag: &str, numbers: &[f32]) -> io::Result<()> {
        self.add(step, [summaries::histogram(tag, numbers)])
    }

    /// Writes the run's row in the table of hyperparameters: its settings, and the tags of the metrics beside them.
    pub(crate) fn hyperparameters(
        &mut self,
        settings: &BTreeMap<String, Value>,
        metrics: &[&str],
    ) -> io::Result<()> {
        self.add(0, hyperparameters::table(settings, metrics))
    }

    fn add(&mut self, step: u64, summaries: impl IntoIterator<Item = Summary>) -> io::Result<()> {
        self.with_writer(|writer| {
            for summary in summaries {
                writer.add_summary(summary, step as usize);
            }
        })
    }

    fn scalar(&mut self, found: &Scalar) -> Summary {
        let mut summary = scalar(found.tag, found.value as f32);
        if self.described.insert(found.tag.to_owned())
            && let Some(value) = summary.mut_value().first_mut()
        {
            let metadata = value.mut_metadata();
            metadata.set_summary_description(found.description.to_owned());
            let plugin = metadata.mut_plugin_data();
            plugin.set_plugin_name("scalars".to_owned());
        }
        summary
    }

    /// Lets `write` write, then flushes.
    fn with_writer(&mut self, write: impl FnOnce(&mut FileWriter)) -> io::Result<()> {
        let written = catch_unwind(AssertUnwindSafe(|| {
            if let Some(writer) = &mut self.writer {
                write(writer);
                writer.flush();
            }
        }));
        written.map_err(|_| io::Error::other("the TensorBoard event file could not be written"))
    }
}

/// TensorBoard reads the files of a folder in the order of their names, which hold the second of their start. A run that
/// is resumed in the second in which it was started waits for the next.
fn wait_for_a_later_name(folder: &Path) {
    let seconds = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs())
    };
    let entries = folder.read_dir().into_iter().flatten().flatten();
    let newest = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let rest = name.to_str()?.strip_prefix("events.out.tfevents.")?;
            rest.split('.').next()?.parse::<u64>().ok()
        })
        .max();
    if newest == Some(seconds()) {
        thread::sleep(Duration::from_secs(1));
    }
}

impl Drop for TensorBoard {
    fn drop(&mut self) {
        let writer = self.writer.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(writer)));
    }
}

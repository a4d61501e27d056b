//! TensorBoard event files.

use std::collections::HashSet;
use std::io;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::path::Path;

use tensorboard_rs::summary::scalar;
use tensorboard_rs::summary_writer::FileWriter;

use crate::report::averages::Averages;

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
    /// Starts an event file in `folder`, after a test that files can be created there.
    pub(crate) fn open(folder: &Path) -> io::Result<TensorBoard> {
        tempfile::tempfile_in(folder)?;
        Ok(TensorBoard {
            writer: Some(FileWriter::new(folder)),
            described: HashSet::new(),
        })
    }

    /// Writes and flushes the averages. A failure may show only at the next call.
    pub(crate) fn write(&mut self, step: u64, averages: &Averages) -> io::Result<()> {
        let written = catch_unwind(AssertUnwindSafe(|| {
            let Some(writer) = &mut self.writer else {
                return;
            };
            for found in averages.scalars() {
                let mut summary = scalar(found.tag, found.value as f32);
                if self.described.insert(found.tag.to_owned())
                    && let Some(value) = summary.mut_value().first_mut()
                {
                    let metadata = value.mut_metadata();
                    metadata.set_summary_description(found.description.to_owned());
                    let plugin = metadata.mut_plugin_data();
                    plugin.set_plugin_name("scalars".to_owned());
                }
                writer.add_summary(summary, step as usize);
            }
            writer.flush();
        }));
        written.map_err(|_| io::Error::other("the TensorBoard event file could not be written"))
    }
}

impl Drop for TensorBoard {
    fn drop(&mut self) {
        let writer = self.writer.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(writer)));
    }
}

//! TensorBoard event files.
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use tensorboard_rs::summary_writer::SummaryWriter;

/// The writer has a thread of its own, which panics where it cannot write, and all that is then asked of the writer
/// panics too, even to drop it.
pub(crate) struct TensorBoard {
    /// Until this is dropped.
    writer: Option<SummaryWriter>,
}

impl TensorBoard {
    /// Whether the folder takes files is tried before.
    pub(crate) fn open(folder: &Path) -> io::Result<TensorBoard> {
        tempfile::tempfile_in(folder)?;
        Ok(TensorBoard {
            writer: Some(SummaryWriter::new(folder)),
        })
    }

    /// Written and flushed; that this failed can come to light at the next call only.
    pub(crate) fn scalars(&mut self, step: u64, scalars: &[(&str, f64)]) -> io::Result<()> {
        let written = catch_unwind(AssertUnwindSafe(|| {
            if let Some(writer) = &mut self.writer {
                for (tag, value) in scalars {
                    writer.add_scalar(tag, *value as f32, step as usize);
                }
                writer.flush();
            }
        }));
        written.map_err(|_| io::Error::other("an event file for TensorBoard"))
    }
}

impl Drop for TensorBoard {
    fn drop(&mut self) {
        let writer = self.writer.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(writer)));
    }
}

//! TensorBoard event files.

use std::io;
use std::path::Path;

use tensorboard_rs::summary_writer::SummaryWriter;

pub(super) struct TensorBoard {
    writer: SummaryWriter,
}

impl TensorBoard {
    /// The writer's own thread panics where it cannot write, so whether the folder takes files is tried before.
    pub(super) fn open(folder: &Path) -> io::Result<TensorBoard> {
        tempfile::tempfile_in(folder)?;
        Ok(TensorBoard {
            writer: SummaryWriter::new(folder),
        })
    }

    pub(super) fn scalars(&mut self, step: u64, scalars: &[(&str, f64)]) {
        for (tag, value) in scalars {
            self.writer.add_scalar(tag, *value as f32, step as usize);
        }
        self.writer.flush();
    }

    pub(super) fn flush(&mut self) {
        self.writer.flush();
    }
}

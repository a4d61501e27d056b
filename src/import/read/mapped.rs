//! Memory-mapped bytes of files. Unpacked content goes to an unnamed file next to the pack instead of into memory.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use memmap2::Mmap;

use crate::base::atomic;
use crate::base::resident::release_pages;
use crate::import::read::progress::{Progress, Watch};
use crate::pack::error::DataError;

/// Bytes that are read before their pages are released.
const STRIDE: usize = 32 << 20;

/// A range of a mapped file; clones share the mapping.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    map: Arc<Mmap>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        &self.map[self.range.clone()]
    }
}

impl Slice {
    /// Maps a downloaded file.
    ///
    /// # Errors
    /// If the file cannot be opened, is empty, or is an HTML page, the result of a failed download.
    pub(crate) fn open(path: &Path) -> Result<Slice, DataError> {
        let bad = |problem: &str| DataError::BadArchive {
            path: path.to_path_buf(),
            problem: problem.to_owned(),
        };
        let file = File::open(path).map_err(DataError::io("open", path))?;
        let slice = map(&file).map_err(DataError::io("map", path))?;
        let bytes = slice.as_ref();
        if bytes.is_empty() {
            return Err(bad("is empty: fetch it again"));
        }
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(512)]).to_lowercase();
        if start.trim_start().starts_with("<!doctype") || start.trim_start().starts_with("<html") {
            return Err(bad(
                "is an HTML page, not an archive: the download went wrong, fetch it again in a browser",
            ));
        }
        Ok(slice)
    }

    /// The range of `length` bytes from `start`; `None` if the slice is shorter.
    pub(crate) fn part(&self, start: usize, length: usize) -> Option<Slice> {
        let start = self.range.start.checked_add(start)?;
        let end = start.checked_add(length)?;
        (end <= self.range.end).then(|| Slice {
            map: Arc::clone(&self.map),
            range: start..end,
        })
    }

    /// Releases the pages of a range, because mapped files can be larger than memory.
    pub(crate) fn release(&self, start: usize, length: usize) {
        let start = self.range.start + start;
        release_pages(&self.map, start..start + length);
    }

    /// The content, decompressed if it is a gzip file.
    ///
    /// # Errors
    /// If the gzip file is truncated or damaged.
    pub(crate) fn gunzipped(self, scratch: &Scratch) -> std::io::Result<Slice> {
        if self.as_ref().starts_with(&[0x1f, 0x8b]) {
            scratch.keep(&mut MultiGzDecoder::new(self.as_ref()))
        } else {
            Ok(self)
        }
    }
}

/// Releases the pages of a slice that is read from start to end.
pub(crate) struct Trail<'a> {
    slice: &'a Slice,
    released: usize,
    reached: usize,
}

impl<'a> Trail<'a> {
    pub(crate) fn new(slice: &'a Slice) -> Self {
        Self {
            slice,
            released: 0,
            reached: 0,
        }
    }

    /// Records that everything before `place` was read.
    pub(crate) fn reach(&mut self, place: usize) {
        self.reached = place;
        if place - self.released >= STRIDE {
            self.slice.release(self.released, place - self.released);
            self.released = place;
        }
    }
}

/// Advances by the length of what is written; the bytes themselves are ignored.
impl Write for Trail<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.reach(self.reached + bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn map(file: &File) -> std::io::Result<Slice> {
    // SAFETY: changing an archive during its import causes an error or a wrong picture, as with any other way of
    // reading.
    let map = unsafe { Mmap::map(file) }?;
    let range = 0..map.len();
    Ok(Slice {
        map: Arc::new(map),
        range,
    })
}

/// Bytes unpacked between two progress reports.
const BLOCK: usize = 4 << 20;

/// Storage for unpacked files until the import ends: the folder of the pack, which must have room for large files
/// anyway.
pub(crate) struct Scratch<'a> {
    folder: PathBuf,
    watch: Watch<'a>,
    unpacked: Cell<u64>,
}

impl<'a> Scratch<'a> {
    /// Storage next to the pack that will be written; `watch` receives the number of unpacked bytes.
    pub(crate) fn next_to(output: &Path, watch: Watch<'a>) -> Scratch<'a> {
        Scratch {
            folder: atomic::folder_of(output).to_path_buf(),
            watch,
            unpacked: Cell::new(0),
        }
    }

    /// Writes all bytes to an unnamed file and maps it. The file is deleted with the last slice of it.
    ///
    /// # Errors
    /// If reading or writing fails, or `watch` asks to stop.
    pub(crate) fn keep(&self, reader: &mut dyn Read) -> std::io::Result<Slice> {
        std::fs::create_dir_all(&self.folder)?;
        let mut file = tempfile::tempfile_in(&self.folder)?;
        loop {
            let copied = std::io::copy(&mut reader.take(BLOCK as u64), &mut file)?;
            if copied == 0 {
                return map(&file);
            }
            self.unpacked.set(self.unpacked.get() + copied);
            if !(self.watch)(Progress::Unpacked(self.unpacked.get())) {
                return Err(std::io::Error::other("interrupted"));
            }
        }
    }
}

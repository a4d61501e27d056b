//! Memory-mapped bytes of files. Unpacked content goes to an unnamed file next to the pack instead of into memory.

use std::cell::Cell;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use memmap2::Mmap;

use crate::base::resident::release_pages;
use crate::base::{atomic, files};
use crate::import::read::passed::Passed;
use crate::import::read::progress::{Progress, Watch};
use crate::pack::error::DataError;
use crate::pictures::kinds::{Kind, START};

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
    /// If the file cannot be opened, is empty, is an HTML page, the result of a failed download, or a Git LFS pointer.
    pub(crate) fn open(path: &Path) -> Result<Slice, DataError> {
        let bad = |problem: &str| DataError::BadArchive {
            path: path.to_path_buf(),
            problem: problem.to_owned(),
        };
        let file = files::open(path).map_err(DataError::io("open", path))?;
        let slice = map(&file).map_err(DataError::io("map", path))?;
        let bytes = slice.as_ref();
        if bytes.is_empty() {
            return Err(bad("is empty: fetch it again"));
        }
        let kind = Kind::of_start(&bytes[..bytes.len().min(START)]);
        if let (Kind::Html | Kind::LfsPointer, Some(problem)) = (kind, kind.problem()) {
            return Err(bad(&problem));
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
    /// If the gzip file is truncated or damaged, or there is no room for its content.
    pub(crate) fn gunzipped(self, scratch: &Scratch) -> Result<Slice, KeepError> {
        if self.as_ref().starts_with(&[0x1f, 0x8b]) {
            let packed = self.as_ref().len() as u64;
            scratch.keep(&mut MultiGzDecoder::new(self.as_ref()), packed)
        } else {
            Ok(self)
        }
    }
}

/// Releases the pages of a slice that is read from start to end.
pub(crate) struct Trail<'a> {
    slice: &'a Slice,
    released: usize,
    /// Everything before was read.
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
/// Bytes that any file may grow to when it is unpacked, and how many times larger than the packed file it may be beyond
/// that: a guard against bombs.
const ALWAYS_FITS: u64 = 1 << 30;
const MOST_GROWTH: u64 = 100;

/// Why a file could not be unpacked.
pub(crate) enum KeepError {
    /// The packed file is damaged, as the text says.
    Source(String),
    /// Anything else: the folder to unpack in is full, or the user interrupted.
    Other(DataError),
}

impl KeepError {
    /// The error with the file named by `bad`, if it is the file's fault.
    pub(crate) fn or_source(self, bad: impl FnOnce(String) -> DataError) -> DataError {
        match self {
            KeepError::Source(problem) => bad(problem),
            KeepError::Other(error) => error,
        }
    }

    /// The error of a copy whose reading cannot fail.
    pub(crate) fn without_source(self) -> DataError {
        self.or_source(|problem| DataError::Io {
            action: "unpack",
            path: PathBuf::new(),
            source: std::io::Error::other(problem),
        })
    }
}

/// What an import takes along: storage for unpacked files until it ends, where to report progress, and the count of
/// what it passed over. The storage is the folder of the pack, which must have room for large files anyway.
pub(crate) struct Scratch<'a> {
    folder: PathBuf,
    watch: Watch<'a>,
    unpacked: Cell<u64>,
    searched: Cell<usize>,
    pub passed: Passed,
}

impl<'a> Scratch<'a> {
    /// Storage next to the pack that will be written; `watch` receives progress.
    pub(crate) fn next_to(output: &Path, watch: Watch<'a>, passed: Passed) -> Scratch<'a> {
        Scratch {
            folder: atomic::folder_of(output).to_path_buf(),
            watch,
            unpacked: Cell::new(0),
            searched: Cell::new(0),
            passed,
        }
    }

    /// Reports one more file that was looked at.
    ///
    /// # Errors
    /// If `watch` asks to stop.
    pub(crate) fn look(&self) -> Result<(), DataError> {
        /// Files between two progress reports.
        const FILES: usize = 256;
        self.searched.set(self.searched.get() + 1);
        let searched = self.searched.get();
        if searched.is_multiple_of(FILES) && !(self.watch)(Progress::Searched(searched)) {
            return Err(DataError::Interrupted);
        }
        Ok(())
    }

    /// Writes all bytes to an unnamed file and maps it. The file is deleted with the last slice of it. `packed` is the
    /// number of bytes that the reader unpacks.
    ///
    /// # Errors
    /// If reading or writing fails, the file grows too much, or `watch` asks to stop.
    pub(crate) fn keep(&self, reader: &mut dyn Read, packed: u64) -> Result<Slice, KeepError> {
        self.keep_at_most(reader, packed.saturating_mul(MOST_GROWTH).max(ALWAYS_FITS))
    }

    fn keep_at_most(&self, reader: &mut dyn Read, most: u64) -> Result<Slice, KeepError> {
        let failed = |error| KeepError::Other(DataError::io("unpack into", &self.folder)(error));
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        let mut file = tempfile::tempfile_in(&self.folder).map_err(failed)?;
        let mut written = 0;
        self.blocks(reader, |block| {
            written += block.len() as u64;
            if written > most {
                return Err(KeepError::Source(format!(
                    "it grows to more than {most} bytes, which no data set needs"
                )));
            }
            file.write_all(block).map_err(failed)
        })?;
        map(&file).map_err(failed)
    }

    /// Reads all bytes, so that checksums are verified, and passes them on.
    ///
    /// # Errors
    /// If reading fails, or `watch` asks to stop.
    pub(crate) fn pass_through(
        &self,
        reader: &mut dyn Read,
        trail: &mut Trail<'_>,
    ) -> Result<(), KeepError> {
        self.blocks(reader, |block| {
            trail.reach(trail.reached + block.len());
            Ok(())
        })
    }

    fn blocks(
        &self,
        reader: &mut dyn Read,
        mut take: impl FnMut(&[u8]) -> Result<(), KeepError>,
    ) -> Result<(), KeepError> {
        let mut block = vec![0; BLOCK];
        loop {
            let mut filled = 0;
            while filled < block.len() {
                match reader.read(&mut block[filled..]) {
                    Ok(0) => break,
                    Ok(read) => filled += read,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(KeepError::Source(error.to_string())),
                }
            }
            if filled == 0 {
                return Ok(());
            }
            take(&block[..filled])?;
            self.unpacked.set(self.unpacked.get() + filled as u64);
            if !(self.watch)(Progress::Unpacked(self.unpacked.get())) {
                return Err(KeepError::Other(DataError::Interrupted));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_grows_too_much_is_refused_before_it_fills_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("pack");
        let scratch = Scratch::next_to(&output, &|_| true, Passed::new(false, false));
        let mut endless = std::io::repeat(0);
        let Err(KeepError::Source(problem)) = scratch.keep_at_most(&mut endless, 9 << 20) else {
            panic!("it was kept");
        };
        assert!(problem.contains("more than 9437184 bytes"), "{problem}");
        assert!(scratch.unpacked.get() <= 9 << 20);
        let kept = scratch.keep_at_most(&mut &b"abc"[..], 3).ok().unwrap();
        assert_eq!(kept.as_ref(), b"abc");
    }
}

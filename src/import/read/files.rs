//! Files in folders and archives. Content is read only when it is asked for.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zip::{CompressionMethod, ZipArchive};

use crate::import::read::mapped::{KeepError, Scratch, Slice, Trail};
use crate::pack::error::DataError;
use crate::pictures::kinds::Kind;

/// Bytes of the largest file that is read into memory: pictures and lists. A guard against zip bombs.
const LARGEST: u64 = 256 << 20;

/// A file in a folder or archive.
#[derive(Clone, Debug)]
pub(crate) struct FoundFile {
    /// The searched folder or archive.
    pub container: Arc<Path>,
    /// Path in `container`, with `/`. An archive in an archive counts as a folder.
    pub inner: String,
    /// Bytes of `inner` that lead to the innermost archive; 0 if that is `container`.
    pub innermost: usize,
    pub kind: Kind,
    pub place: Place,
}

/// Where the content of a file is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Disk,
    /// The archive and the index of the entry. Clones share the archive's directory and bytes.
    Zip(ZipArchive<Cursor<Slice>>, usize),
    Tar(Slice),
}

impl FoundFile {
    /// Path for messages.
    pub(crate) fn display(&self) -> String {
        match self.place {
            Place::Disk => self.container.join(&self.inner).display().to_string(),
            _ => format!("{}: {}", self.container.display(), self.inner),
        }
    }

    /// The error that this file cannot be used; `problem` follows the file's name.
    pub(crate) fn bad(&self, problem: impl Into<String>) -> DataError {
        DataError::BadArchive {
            path: PathBuf::from(self.display()),
            problem: problem.into(),
        }
    }

    /// The error that two files have a name that the data set has once.
    pub(crate) fn twice(&self, other: &FoundFile) -> DataError {
        self.bad(format!(
            "was also found as `{}`: name the files or the folder of one data set with --from",
            other.display()
        ))
    }

    /// File name without folders.
    pub(crate) fn name(&self) -> &str {
        last(&self.inner)
    }

    /// Name of the folder that holds the file; for files directly in a searched folder, the name of that folder.
    pub(crate) fn folder_name(&self) -> Option<String> {
        match self.inner.rsplit('/').nth(1) {
            Some(folder) => Some(folder.to_owned()),
            None if matches!(self.place, Place::Disk) => {
                Some(self.container.file_name()?.to_string_lossy().into_owned())
            }
            None => None,
        }
    }

    /// The content in memory; for pictures and small files.
    ///
    /// # Errors
    /// If the file cannot be read or is larger than 256 MiB, or its archive is damaged.
    pub(crate) fn read(&self) -> Result<Vec<u8>, DataError> {
        let checked = |size: u64| match size > LARGEST {
            true => Err(self.bad(format!(
                "has {} MiB, expected a picture or list of at most {} MiB",
                size >> 20,
                LARGEST >> 20
            ))),
            false => Ok(()),
        };
        match &self.place {
            Place::Disk => {
                let path = self.container.join(&self.inner);
                let metadata = std::fs::metadata(&path).map_err(DataError::io("read", &path))?;
                checked(metadata.len())?;
                std::fs::read(&path).map_err(DataError::io("read", &path))
            }
            Place::Tar(slice) => {
                checked(slice.as_ref().len() as u64)?;
                let bytes = slice.as_ref().to_vec();
                slice.release(0, bytes.len());
                Ok(bytes)
            }
            Place::Zip(archive, index) => {
                let mut archive = archive.clone();
                let file = archive
                    .by_index(*index)
                    .map_err(|error| self.damaged(&error))?;
                checked(file.size())?;
                let mut bytes = Vec::new();
                // One byte more than the directory says shows that it is wrong.
                let size = file.size();
                file.take(size + 1)
                    .read_to_end(&mut bytes)
                    .map_err(|error| self.damaged(&error))?;
                if bytes.len() as u64 != size {
                    return Err(self.damaged(&"its size is not as listed"));
                }
                Ok(bytes)
            }
        }
    }

    /// The content of a file of any size, mapped.
    ///
    /// # Errors
    /// If the file cannot be read, is empty or an HTML page, or its archive is damaged.
    pub(crate) fn map(&self, scratch: &Scratch) -> Result<Slice, DataError> {
        match &self.place {
            Place::Disk => Slice::open(&self.container.join(&self.inner)),
            Place::Tar(slice) => Ok(slice.clone()),
            Place::Zip(archive, index) => map_entry(archive, *index, scratch)
                .map_err(|error| error.or_source(|problem| self.damaged(&problem))),
        }
    }

    fn damaged(&self, error: &dyn std::fmt::Display) -> DataError {
        DataError::BadArchive {
            path: self.container.to_path_buf(),
            problem: format!("is damaged at {} ({error}): fetch it again", self.inner),
        }
    }
}

/// Maps an entry of a zip archive: in place if it is stored, otherwise unpacked. Its checksum is verified either way.
pub(crate) fn map_entry(
    archive: &ZipArchive<Cursor<Slice>>,
    index: usize,
    scratch: &Scratch,
) -> Result<Slice, KeepError> {
    let source = |error: &dyn std::fmt::Display| KeepError::Source(error.to_string());
    let mut archive = archive.clone();
    let whole = archive.clone().into_inner().into_inner();
    let mut file = archive.by_index(index).map_err(|error| source(&error))?;
    if let (CompressionMethod::Stored, Some(start)) = (file.compression(), file.data_start())
        && file.size() == file.compressed_size()
        && let Some(slice) = whole.part(start as usize, file.size() as usize)
    {
        scratch.pass_through(&mut file, &mut Trail::new(&slice))?;
        return Ok(slice);
    }
    let packed = file.compressed_size();
    scratch.keep(&mut file, packed)
}

/// The file name at the end of a path with `/`.
pub(crate) fn last(inner: &str) -> &str {
    inner.rsplit('/').next().unwrap_or(inner)
}

/// Whether a path has one of these extensions, in lower or upper case.
pub(crate) fn has_extension(inner: &str, extensions: &[&str]) -> bool {
    inner.rsplit_once('.').is_some_and(|(_, found)| {
        extensions
            .iter()
            .any(|extension| found.eq_ignore_ascii_case(extension))
    })
}

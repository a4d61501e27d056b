//! Finds files in folders and archives. Content is read only when it is asked for.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tar::{Archive, EntryType};
use zip::{CompressionMethod, ZipArchive};

use crate::import::read::mapped::{Scratch, Slice, Trail};
use crate::pack::error::DataError;

/// Bytes of the largest picture that is unpacked: a guard against zip bombs.
const LARGEST: u64 = 64 << 20;
/// How deeply tars may be nested. ILSVRC-2012 is a tar with one tar per class.
const DEEPEST: usize = 3;
/// Size of a tar's blocks in bytes.
const BLOCK: usize = 512;
const ARCHIVES: [&str; 4] = [".zip", ".tar", ".tar.gz", ".tgz"];

/// A file in a folder or archive.
#[derive(Clone, Debug)]
pub(crate) struct FoundFile {
    /// The searched folder or archive.
    pub container: Arc<Path>,
    /// Path in `container`, with `/`. A tar in a tar counts as a folder.
    pub inner: String,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
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

    /// The content in memory; for pictures and small files. Files in zip archives are read up to 64 MiB.
    ///
    /// # Errors
    /// If the file cannot be read, or its archive is damaged.
    pub(crate) fn read(&self) -> Result<Vec<u8>, DataError> {
        match &self.place {
            Place::Disk => {
                let path = self.container.join(&self.inner);
                std::fs::read(&path).map_err(DataError::io("read", &path))
            }
            Place::Tar(slice) => {
                let bytes = slice.as_ref().to_vec();
                slice.release(0, bytes.len());
                Ok(bytes)
            }
            Place::Zip(archive, index) => {
                let mut archive = archive.clone();
                let file = archive
                    .by_index(*index)
                    .map_err(|error| self.damaged(&error))?;
                let mut bytes = Vec::new();
                file.take(LARGEST)
                    .read_to_end(&mut bytes)
                    .map_err(|error| self.damaged(&error))?;
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
            Place::Zip(archive, index) => {
                map_entry(archive, *index, scratch).map_err(|error| self.damaged(&error))
            }
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
) -> zip::result::ZipResult<Slice> {
    let mut archive = archive.clone();
    let whole = archive.clone().into_inner().into_inner();
    let mut file = archive.by_index(index)?;
    if let (CompressionMethod::Stored, Some(start)) = (file.compression(), file.data_start())
        && let Some(slice) = whole.part(start as usize, file.size() as usize)
    {
        std::io::copy(&mut file, &mut Trail::new(&slice))?;
        return Ok(slice);
    }
    Ok(scratch.keep(&mut file)?)
}

/// Finds all files for which `wanted` holds, sorted by container and path. Each path is a folder, which is searched
/// with the archives in it; an archive (zip, tar, tar.gz); or a wanted file. `wanted` receives the path in the folder
/// or archive. Hidden files and `__MACOSX` are skipped.
///
/// # Errors
/// If a file cannot be read, an archive is damaged, or a name is not UTF-8.
pub(crate) fn find(
    paths: &[PathBuf],
    scratch: &Scratch,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Vec<FoundFile>, DataError> {
    let mut search = Search {
        scratch,
        wanted,
        found: Vec::new(),
    };
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            search.folder(path)?;
        } else if wanted(&name) {
            let folder = path.parent().unwrap_or(Path::new("."));
            check_names(folder, path)?;
            search.add(&folder.into(), name.into_owned(), Place::Disk);
        } else {
            search.archive(path)?;
        }
    }
    let mut found = search.found;
    found.sort_by(|left, right| {
        (&left.container, &left.inner).cmp(&(&right.container, &right.inner))
    });
    Ok(found)
}

struct Search<'a> {
    scratch: &'a Scratch<'a>,
    wanted: &'a dyn Fn(&str) -> bool,
    found: Vec<FoundFile>,
}

impl Search<'_> {
    fn add(&mut self, container: &Arc<Path>, inner: String, place: Place) {
        self.found.push(FoundFile {
            container: Arc::clone(container),
            inner,
            place,
        });
    }

    fn folder(&mut self, folder: &Path) -> Result<(), DataError> {
        let container: Arc<Path> = folder.into();
        let mut open = vec![folder.to_path_buf()];
        while let Some(next) = open.pop() {
            for entry in next.read_dir().map_err(DataError::io("read", &next))? {
                let path = entry.map_err(DataError::io("read", &next))?.path();
                let inner = path
                    .strip_prefix(folder)
                    .unwrap_or(&path)
                    .to_string_lossy()
                    .replace('\\', "/");
                if hidden(&inner) {
                    continue;
                }
                if path.is_dir() {
                    open.push(path);
                } else if (self.wanted)(&inner) {
                    check_names(folder, &path)?;
                    self.add(&container, inner, Place::Disk);
                } else if ARCHIVES
                    .iter()
                    .any(|ending| inner.to_lowercase().ends_with(ending))
                {
                    self.archive(&path)?;
                }
            }
        }
        Ok(())
    }

    fn archive(&mut self, path: &Path) -> Result<(), DataError> {
        let bad = |problem: String| DataError::BadArchive {
            path: path.to_path_buf(),
            problem,
        };
        let slice = Slice::open(path)?;
        if slice.as_ref().starts_with(b"PK") {
            return self.zip(path, slice).map_err(bad);
        }
        let slice = slice
            .gunzipped(self.scratch)
            .map_err(|error| bad(format!("could not be unpacked ({error}): fetch it again")))?;
        if slice.as_ref().get(257..262) != Some(b"ustar") {
            return Err(bad("is not a zip, tar or tar.gz archive".to_owned()));
        }
        self.tar(&path.into(), "", &slice, 0).map_err(bad)
    }

    fn zip(&mut self, path: &Path, slice: Slice) -> Result<(), String> {
        let mut archive = open_zip(slice)?;
        let container: Arc<Path> = path.into();
        for index in 0..archive.len() {
            let damaged =
                |error: zip::result::ZipError| format!("is damaged ({error}): fetch it again");
            let entry = archive.by_index_raw(index).map_err(damaged)?;
            let inner = entry.name().map_err(damaged)?.into_owned();
            let is_dir = entry.is_dir();
            drop(entry);
            if !is_dir && !hidden(&inner) && (self.wanted)(&inner) {
                self.add(&container, inner, Place::Zip(archive.clone(), index));
            }
        }
        Ok(())
    }

    fn tar(
        &mut self,
        container: &Arc<Path>,
        folder: &str,
        slice: &Slice,
        depth: usize,
    ) -> Result<(), String> {
        let damaged =
            |error: std::io::Error| format!("is cut short or damaged ({error}): fetch it again");
        let mut archive = Archive::new(Cursor::new(slice.as_ref()));
        let mut end = 0;
        for entry in archive.entries_with_seek().map_err(damaged)? {
            let entry = entry.map_err(damaged)?;
            let start = entry.raw_file_position() as usize;
            end = start
                .saturating_add(entry.size() as usize)
                .next_multiple_of(BLOCK);
            let bytes = entry.path_bytes();
            let name = String::from_utf8_lossy(&bytes);
            let name = name.trim_start_matches("./");
            let plain = matches!(
                entry.header().entry_type(),
                EntryType::Regular | EntryType::Continuous
            );
            if !plain || hidden(name) {
                continue;
            }
            let content = slice
                .part(start, entry.size() as usize)
                .ok_or_else(|| format!("is cut short at {name}: fetch it again"))?;
            let inner = format!("{folder}{name}");
            if (self.wanted)(&inner) {
                // Two names that are not UTF-8 could become the same text.
                if str::from_utf8(&bytes).is_err() {
                    let shown = bytes.escape_ascii();
                    return Err(format!(
                        "holds `{shown}`, a name that is not UTF-8: rename it and pack it again"
                    ));
                }
                self.add(container, inner, Place::Tar(content));
            } else if let Some(stem) = inner.strip_suffix(".tar")
                && depth < DEEPEST
            {
                self.tar(container, &format!("{stem}/"), &content, depth + 1)?;
            }
        }
        // A tar truncated between two files looks complete except for the zeros that end every tar.
        match slice.as_ref().get(end..end.saturating_add(BLOCK)) {
            Some(block) if block.iter().all(|&byte| byte == 0) => Ok(()),
            _ => Err("is cut short (it has no end mark): fetch it again".to_owned()),
        }
    }
}

/// Checks the path below `folder`, which is used to open the file, and the name of the file's folder, which is its
/// class.
///
/// # Errors
/// If they are not UTF-8: two of them could become the same text.
fn check_names(folder: &Path, path: &Path) -> Result<(), DataError> {
    let inner = path.strip_prefix(folder).unwrap_or(path).to_str();
    let above = path.parent().and_then(Path::file_name);
    if inner.is_some() && above.is_none_or(|name| name.to_str().is_some()) {
        return Ok(());
    }
    Err(DataError::BadArchive {
        path: path.to_path_buf(),
        problem: "has a name that is not UTF-8, or is in a folder with such a name: rename it"
            .to_owned(),
    })
}

/// Reads the directory of a zip archive.
///
/// # Errors
/// If it is not a zip archive or is damaged; the text follows the file's name in the message.
pub(crate) fn open_zip(slice: Slice) -> Result<ZipArchive<Cursor<Slice>>, String> {
    ZipArchive::new(Cursor::new(slice))
        .map_err(|error| format!("is cut short or damaged ({error}): fetch it again"))
}

fn hidden(inner: &str) -> bool {
    inner
        .split('/')
        .any(|part| part.starts_with('.') || part == "__MACOSX")
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

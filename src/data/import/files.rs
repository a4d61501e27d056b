//! Files inside folders and zip archives alike. Only names are held; bytes are read when asked for.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use zip::ZipArchive;

use super::super::error::DataError;

/// Largest single picture that is unpacked, in bytes: a guard against zip bombs.
const LARGEST: u64 = 64 << 20;

/// One file: `container` is the archive or folder, `inner` its path in there, with `/`.
#[derive(Clone, Debug)]
pub struct FoundFile {
    /// Archive or folder.
    pub container: PathBuf,
    /// Path inside.
    pub inner: String,
    entry: Option<Entry>,
}

/// A place in an archive; clones share the archive's directory and bytes.
#[derive(Clone, Debug)]
struct Entry {
    archive: ZipArchive<Cursor<MappedFile>>,
    index: usize,
}

#[derive(Clone, Debug)]
struct MappedFile(Arc<Mmap>);

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl FoundFile {
    /// For messages.
    #[must_use]
    pub fn display(&self) -> String {
        format!("{}: {}", self.container.display(), self.inner)
    }

    /// The last part of the path inside.
    #[must_use]
    pub fn name(&self) -> &str {
        self.inner.rsplit('/').next().unwrap_or(&self.inner)
    }

    /// The name of the folder that the file lies in, be it that of the container.
    #[must_use]
    pub fn folder_name(&self) -> Option<String> {
        match self.inner.rsplit('/').nth(1) {
            Some(folder) => Some(folder.to_owned()),
            None if self.entry.is_none() => {
                Some(self.container.file_name()?.to_string_lossy().into_owned())
            }
            None => None,
        }
    }

    /// The content.
    ///
    /// # Errors
    /// If it cannot be read, or its archive is damaged there.
    pub fn read(&self) -> Result<Vec<u8>, DataError> {
        let Some(entry) = &self.entry else {
            let path = self.container.join(&self.inner);
            return std::fs::read(&path).map_err(DataError::io("read", &path));
        };
        let damaged = |error: &dyn std::fmt::Display| DataError::BadArchive {
            path: self.container.clone(),
            problem: format!("is damaged at {} ({error}): fetch it again", self.inner),
        };
        let mut archive = entry.archive.clone();
        let file = archive
            .by_index(entry.index)
            .map_err(|error| damaged(&error))?;
        let mut bytes = Vec::new();
        file.take(LARGEST)
            .read_to_end(&mut bytes)
            .map_err(|error| damaged(&error))?;
        Ok(bytes)
    }
}

/// All files with one of these extensions below the paths: an archive's, or a folder's with the archives that lie in
/// it, or the file itself; by name. Hidden files and `__MACOSX` are passed over.
///
/// # Errors
/// If something cannot be read or is no whole archive.
pub fn find(paths: &[PathBuf], extensions: &[&str]) -> Result<Vec<FoundFile>, DataError> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            found.extend(in_folder(path, extensions)?);
        } else if has_extension(&path.to_string_lossy(), extensions) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            found.push(FoundFile {
                container: path.parent().unwrap_or(Path::new(".")).to_path_buf(),
                inner: name.into_owned(),
                entry: None,
            });
        } else {
            found.extend(in_archive(path, extensions)?);
        }
    }
    found.sort_by(|left, right| {
        (&left.container, &left.inner).cmp(&(&right.container, &right.inner))
    });
    Ok(found)
}

fn in_folder(folder: &Path, extensions: &[&str]) -> Result<Vec<FoundFile>, DataError> {
    let mut found = Vec::new();
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
            } else if has_extension(&inner, extensions) {
                found.push(FoundFile {
                    container: folder.to_path_buf(),
                    inner,
                    entry: None,
                });
            } else if has_extension(&inner, &["zip"]) {
                found.extend(in_archive(&path, extensions)?);
            }
        }
    }
    Ok(found)
}

fn in_archive(path: &Path, extensions: &[&str]) -> Result<Vec<FoundFile>, DataError> {
    let bad = |problem: String| DataError::BadArchive {
        path: path.to_path_buf(),
        problem,
    };
    let mut archive = open_archive(path)?;
    let mut found = Vec::new();
    for index in 0..archive.len() {
        let damaged =
            |error: &dyn std::fmt::Display| bad(format!("is damaged ({error}): fetch it again"));
        let entry = archive
            .by_index_raw(index)
            .map_err(|error| damaged(&error))?;
        let inner = entry.name().map_err(|error| damaged(&error))?.into_owned();
        if entry.is_dir() || hidden(&inner) || !has_extension(&inner, extensions) {
            continue;
        }
        drop(entry);
        found.push(FoundFile {
            container: path.to_path_buf(),
            inner,
            entry: Some(Entry {
                archive: archive.clone(),
                index,
            }),
        });
    }
    Ok(found)
}

fn open_archive(path: &Path) -> Result<ZipArchive<Cursor<MappedFile>>, DataError> {
    let bad = |problem: String| DataError::BadArchive {
        path: path.to_path_buf(),
        problem,
    };
    let file = File::open(path).map_err(DataError::io("open", path))?;
    if file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
        return Err(bad("is empty: fetch it again".to_owned()));
    }
    // SAFETY: whoever changes an archive while it is imported gets an error or a wrong picture, as with any reading.
    let map = unsafe { Mmap::map(&file) }.map_err(DataError::io("map", path))?;
    let start = String::from_utf8_lossy(&map[..map.len().min(512)]).to_lowercase();
    if start.trim_start().starts_with("<!doctype") || start.trim_start().starts_with("<html") {
        return Err(bad(
            "is an HTML page, not an archive: the download went wrong, fetch it again in a browser"
                .to_owned(),
        ));
    }
    if !map.starts_with(b"PK") {
        return Err(bad("is not a zip archive".to_owned()));
    }
    ZipArchive::new(Cursor::new(MappedFile(Arc::new(map))))
        .map_err(|error| bad(format!("is cut short or damaged ({error}): fetch it again")))
}

fn hidden(inner: &str) -> bool {
    inner
        .split('/')
        .any(|part| part.starts_with('.') || part == "__MACOSX")
}

fn has_extension(inner: &str, extensions: &[&str]) -> bool {
    inner.rsplit_once('.').is_some_and(|(_, found)| {
        extensions
            .iter()
            .any(|extension| found.eq_ignore_ascii_case(extension))
    })
}

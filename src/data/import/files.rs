//! Files inside folders and zip archives alike, as (inner path, bytes).

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

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
    /// Content.
    pub bytes: Vec<u8>,
}

impl FoundFile {
    /// For messages.
    pub fn display(&self) -> String {
        format!("{}: {}", self.container.display(), self.inner)
    }
}

/// All files with this extension below `path`: an archive's, or a folder's with the archives that lie in it. Hidden
/// files and `__MACOSX` are passed over.
///
/// # Errors
/// If something cannot be read or is no whole archive.
pub fn find(path: &Path, extension: &str) -> Result<Vec<FoundFile>, DataError> {
    if path.is_dir() {
        in_folder(path, extension)
    } else {
        in_archive(path, extension)
    }
}

fn in_folder(folder: &Path, extension: &str) -> Result<Vec<FoundFile>, DataError> {
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
            } else if has_extension(&inner, extension) {
                let bytes = std::fs::read(&path).map_err(DataError::io("read", &path))?;
                found.push(FoundFile {
                    container: folder.to_path_buf(),
                    inner,
                    bytes,
                });
            } else if has_extension(&inner, "zip") {
                found.extend(in_archive(&path, extension)?);
            }
        }
    }
    Ok(found)
}

fn in_archive(path: &Path, extension: &str) -> Result<Vec<FoundFile>, DataError> {
    let bad = |problem: String| DataError::BadArchive {
        path: path.to_path_buf(),
        problem,
    };
    let mut file = File::open(path).map_err(DataError::io("open", path))?;
    let mut start = [0; 512];
    let read = file.read(&mut start).map_err(DataError::io("read", path))?;
    let text = String::from_utf8_lossy(&start[..read]).to_lowercase();
    if text.trim_start().starts_with("<!doctype") || text.trim_start().starts_with("<html") {
        return Err(bad(
            "is an HTML page, not an archive: the download went wrong, fetch it again in a browser"
                .to_owned(),
        ));
    }
    if !start.starts_with(b"PK") {
        return Err(bad("is not a zip archive".to_owned()));
    }
    let mut archive = ZipArchive::new(file)
        .map_err(|error| bad(format!("is cut short or damaged ({error}): fetch it again")))?;
    let mut found = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index(index);
        let mut entry =
            entry.map_err(|error| bad(format!("is damaged ({error}): fetch it again")))?;
        let inner = entry
            .name()
            .map_err(|error| bad(format!("is damaged ({error}): fetch it again")))?
            .into_owned();
        if entry.is_dir() || hidden(&inner) || !has_extension(&inner, extension) {
            continue;
        }
        let mut bytes = Vec::new();
        let result = entry.by_ref().take(LARGEST).read_to_end(&mut bytes);
        result.map_err(|error| bad(format!("is damaged at {inner} ({error}): fetch it again")))?;
        found.push(FoundFile {
            container: path.to_path_buf(),
            inner,
            bytes,
        });
    }
    Ok(found)
}

fn hidden(inner: &str) -> bool {
    inner
        .split('/')
        .any(|part| part.starts_with('.') || part == "__MACOSX")
}

fn has_extension(inner: &str, extension: &str) -> bool {
    inner
        .rsplit_once('.')
        .is_some_and(|(_, found)| found.eq_ignore_ascii_case(extension))
}

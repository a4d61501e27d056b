//! Atomic file writes: temporary file, fsync, rename, fsync of the folder.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::NamedTempFile;

/// Prefix of the names of incomplete files.
pub(crate) const PARTIAL_PREFIX: &str = ".partial-";

/// Writes `bytes` to `path` atomically: after a crash the file has either its old or its new contents. Creates the
/// folder if necessary.
///
/// # Errors
/// If `path` exists and is not a regular file, or an operation on the file system fails.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Renaming would replace a device, for example, by a file.
    if std::fs::metadata(path).is_ok_and(|existing| !existing.is_file()) {
        return Err(io::Error::other("it exists and is not a regular file"));
    }
    let folder = folder_of(path);
    std::fs::create_dir_all(folder)?;
    let mut file = temporary_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    std::fs::File::open(folder)?.sync_all()
}

/// The folder that contains `path`; `.` if the path has a single component.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Creates a temporary file in `folder` that is deleted on drop unless it is persisted. Its permissions follow the
/// umask.
///
/// # Errors
/// If the file cannot be created.
pub(crate) fn temporary_in(folder: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(PARTIAL_PREFIX)
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
}

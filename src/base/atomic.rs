//! Whole files or none: temporary file, fsync, rename, fsync of the folder.
use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::NamedTempFile;

/// What names of files begin with that are not whole yet.
pub const PARTIAL: &str = ".partial-";

/// Replaces `path` by `bytes`; a reader, or a crash, finds the old file or the new one.
///
/// # Errors
/// What the operating system says.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A device, say, would become a file.
    if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(io::Error::other("what is there is no file"));
    }
    let folder = folder_of(path);
    std::fs::create_dir_all(folder)?;
    let mut file = temporary_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    std::fs::File::open(folder)?.sync_all()
}

/// The folder that a file lies in, be it the working directory.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A file that is gone unless it is persisted under its own name; others may read it as far as the umask lets them.
///
/// # Errors
/// What the operating system says.
pub fn temporary_in(folder: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(PARTIAL)
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
}

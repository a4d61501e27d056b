//! Reading files: regular ones only, and none larger than its reader expects.

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Size in bytes of the largest table or list, CSV or JSON, that is read as a whole.
pub const LARGEST_TABLE: u64 = 64 << 20;

/// Opens a regular file for reading. Never waits, as opening a named pipe would.
///
/// # Errors
/// If it cannot be opened, or is a folder, a pipe, a device or a socket; the error says which.
pub fn open(path: &Path) -> io::Result<File> {
    // Asked before opening, because opening a device can have effects, and again after it, because the name may have
    // been given to something else meanwhile.
    ensure_regular(std::fs::metadata(path)?.file_type())?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    ensure_regular(file.metadata()?.file_type())?;
    Ok(file)
}

/// Reads a regular file of at most `most` bytes.
///
/// # Errors
/// As [`open`], and if the file is larger; nothing of it is read then.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let size = file.metadata()?.len();
    let too_large = |size: u64| {
        let problem = format!("it has {size} bytes, expected at most {most}");
        Err(io::Error::new(ErrorKind::FileTooLarge, problem))
    };
    if size > most {
        return too_large(size);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    // A file that grows while it is read, or that says it is empty as those in /proc do, ends at the limit too.
    file.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 {
        size if size > most => too_large(size),
        _ => Ok(bytes),
    }
}

/// Reads a text file of at most `most` bytes.
///
/// # Errors
/// As [`read`], and if the text is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let not_text = |_| io::Error::new(ErrorKind::InvalidData, "it is not text in UTF-8");
    String::from_utf8(read(path, most)?).map_err(not_text)
}

/// The path with a leading `~/` replaced by the user's home folder, which is done by shells, but not within an argument
/// such as `--output=~/x`, nor in a file.
pub fn at_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => Path::new(&home).join(rest),
        _ => path.to_path_buf(),
    }
}

/// Says in which folder a relative path was looked for, ` (relative to FOLDER)`; empty for an absolute path.
pub fn place(path: &Path) -> String {
    match std::env::current_dir() {
        Ok(folder) if path.is_relative() => format!(" (relative to {})", folder.display()),
        _ => String::new(),
    }
}

fn ensure_regular(kind: FileType) -> io::Result<()> {
    let found = match kind {
        _ if kind.is_file() => return Ok(()),
        _ if kind.is_dir() => "a folder",
        _ if kind.is_fifo() => "a named pipe",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    };
    let problem = format!("it is {found}, expected a regular file");
    Err(io::Error::new(ErrorKind::InvalidInput, problem))
}

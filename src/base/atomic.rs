//! Atomic file writes: temporary file, fsync, rename, fsync of the folder. A killed process leaves temporary files; the
//! next one that writes there removes them.

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::NamedTempFile;

use crate::base::files;

/// Prefix of the names of incomplete files.
pub(crate) const PARTIAL_PREFIX: &str = ".partial-";
/// Prefix of the list of a set of files that is being replaced.
const SET_PREFIX: &str = ".partial-set-";

/// Temporary files of this process. Locked while files are renamed, so that an interrupt waits for that.
static TEMPORARIES: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Writes `bytes` to `path` atomically: after a crash the file has either its old or its new contents. Creates the
/// folder if necessary.
///
/// # Errors
/// If `path` exists and is not a regular file, or an operation on the file system fails.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    written(path, bytes)?.persist(path)
}

/// Replaces a set of files, paths in one folder and contents, as a whole: if the process is killed between two of them,
/// [`sweep`] completes it. Creates the folder if necessary.
///
/// # Errors
/// If a file exists and is not a regular file, or an operation on the file system fails.
pub fn write_set<P: AsRef<Path>>(files: &[(P, Vec<u8>)]) -> io::Result<()> {
    let Some((first, _)) = files.first() else {
        return Ok(());
    };
    let folder = folder_of(first.as_ref());
    let (mut temporaries, mut entries, mut list) = (Vec::new(), Vec::new(), Vec::new());
    for (path, bytes) in files {
        let Temporary { file, entry } = written(path.as_ref(), bytes)?;
        list.push((last_name(file.path()), last_name(path.as_ref())));
        temporaries.push(file);
        entries.push(entry);
    }
    let mut listed = temporary(folder, SET_PREFIX)?;
    listed.write_all(&serde_json::to_vec(&list)?)?;
    listed.file.as_file().sync_all()?;
    {
        // From here on the set is to be completed.
        let mut own = own_temporaries();
        for entry in entries.iter().chain([&listed.entry]) {
            own.remove(&entry.0);
        }
        for (file, (path, _)) in temporaries.into_iter().zip(files) {
            file.persist(path)?;
        }
        sync(folder)?;
    }
    listed.file.close()
}

/// Removes what killed processes have left in `folder` and completes their sets of files. Files of processes that still
/// run are locked and stay. Errors are ignored: leftovers do no harm.
pub fn sweep(folder: &Path) {
    let partial = |prefix: &str| -> Vec<PathBuf> {
        let entries = folder.read_dir().into_iter().flatten().flatten();
        let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
        named.map(|entry| entry.path()).collect()
    };
    for list in partial(SET_PREFIX) {
        if let Some(_lock) = abandoned(&list) {
            complete(folder, &list);
        }
    }
    for file in partial(PARTIAL_PREFIX) {
        if let Some(_lock) = abandoned(&file) {
            let _ = std::fs::remove_file(file);
        }
    }
}

/// Renames the files of a set that were not renamed yet. A list that is incomplete was written before the first of them.
fn complete(folder: &Path, list: &Path) {
    let names: Vec<(String, String)> = files::read(list, files::LARGEST_TABLE)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let plain = |name: &str| Path::new(name).file_name().is_some_and(|last| last == name);
    for (temporary, name) in names {
        if temporary.starts_with(PARTIAL_PREFIX) && plain(&temporary) && plain(&name) {
            let _ = std::fs::rename(folder.join(temporary), folder.join(name));
        }
    }
}

/// The lock on a temporary file whose process has ended.
fn abandoned(path: &Path) -> Option<File> {
    let file = files::open(path).ok()?;
    file.try_lock().is_ok().then_some(file)
}

/// Removes the temporary files of this process. Called before it ends without dropping them.
pub(crate) fn remove_temporaries() {
    for path in own_temporaries().iter() {
        let _ = std::fs::remove_file(path);
    }
}

fn own_temporaries() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    TEMPORARIES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder that contains `path`; `.` if the path has a single component.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A temporary file that is removed on drop unless it is persisted, and when the process is interrupted.
pub(crate) struct Temporary {
    file: NamedTempFile,
    // Dropped after the file.
    entry: Entry,
}

/// An entry in the list of this process's temporary files.
struct Entry(PathBuf);

impl Drop for Entry {
    fn drop(&mut self) {
        own_temporaries().remove(&self.0);
    }
}

impl Temporary {
    /// Creates a temporary file in `folder`. Its permissions follow the umask.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub(crate) fn in_folder(folder: &Path) -> io::Result<Temporary> {
        temporary(folder, PARTIAL_PREFIX)
    }

    /// Moves the complete file to `path`, replacing an existing file, and makes it durable.
    ///
    /// # Errors
    /// If an operation on the file system fails.
    pub(crate) fn persist(self, path: &Path) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file.persist(path)?;
        sync(folder_of(path))
    }
}

impl Write for Temporary {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl io::Seek for Temporary {
    fn seek(&mut self, position: io::SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
    }
}

/// Creates a locked temporary file.
fn temporary(folder: &Path, prefix: &str) -> io::Result<Temporary> {
    loop {
        let file = tempfile::Builder::new()
            .prefix(prefix)
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)?;
        let entry = Entry(file.path().to_path_buf());
        own_temporaries().insert(entry.0.clone());
        // Some file systems have no locks; `sweep` removes nothing there.
        let _ = file.as_file().lock();
        // Another process may have removed the file before it was locked.
        if file.as_file().metadata()?.nlink() > 0 {
            return Ok(Temporary { file, entry });
        }
    }
}

/// A temporary file with these contents beside `path`.
fn written(path: &Path, bytes: &[u8]) -> io::Result<Temporary> {
    // Renaming would replace a device, for example, by a file.
    if std::fs::metadata(path).is_ok_and(|existing| !existing.is_file()) {
        return Err(io::Error::other("it exists and is not a regular file"));
    }
    let folder = folder_of(path);
    std::fs::create_dir_all(folder)?;
    let mut file = Temporary::in_folder(folder)?;
    file.write_all(bytes)?;
    file.file.as_file().sync_all()?;
    Ok(file)
}

fn last_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = folder.read_dir().unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_sweep_removes_what_was_left_and_keeps_what_is_being_written() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".partial-left"), "half").unwrap();
        std::fs::write(folder.path().join("kept"), "whole").unwrap();
        let mut writing = Temporary::in_folder(folder.path()).unwrap();
        sweep(folder.path());
        writing.write_all(b"all of it").unwrap();
        writing.persist(&folder.path().join("written")).unwrap();
        assert_eq!(names(folder.path()), ["kept", "written"]);
    }

    #[test]
    fn a_set_is_completed_after_its_list_was_written_and_dropped_before() {
        for (list, expected) in [
            (r#"[[".partial-1","a"],[".partial-2","b"]]"#, ["new", "new"]),
            (r#"[[".partial-1","a"],[".par"#, ["old", "old"]),
            (
                r#"[[".partial-1","a"],["../b",".partial-2"]]"#,
                ["new", "old"],
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            for (name, text) in [
                ("a", "old"),
                ("b", "old"),
                (".partial-1", "new"),
                (".partial-2", "new"),
            ] {
                std::fs::write(folder.path().join(name), text).unwrap();
            }
            std::fs::write(folder.path().join(".partial-set-3"), list).unwrap();
            sweep(folder.path());
            assert_eq!(names(folder.path()), ["a", "b"], "{list}");
            let found =
                ["a", "b"].map(|name| std::fs::read_to_string(folder.path().join(name)).unwrap());
            assert_eq!(found, expected, "{list}");
        }
    }

    #[test]
    fn a_set_replaces_all_its_files_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let set = |text: &str| {
            ["x.onnx", "x.json"].map(|name| (folder.path().join(name), text.as_bytes().to_vec()))
        };
        write_set(&set("one")).unwrap();
        write_set(&set("two")).unwrap();
        assert_eq!(names(folder.path()), ["x.json", "x.onnx"]);
        assert_eq!(
            std::fs::read_to_string(folder.path().join("x.onnx")).unwrap(),
            "two"
        );
        std::fs::create_dir(folder.path().join("x.html")).unwrap();
        let mut wrong = set("three").to_vec();
        wrong.push((folder.path().join("x.html"), Vec::new()));
        assert!(write_set(&wrong).is_err());
        assert_eq!(
            std::fs::read_to_string(folder.path().join("x.onnx")).unwrap(),
            "two"
        );
        assert_eq!(names(folder.path()), ["x.html", "x.json", "x.onnx"]);
    }
}

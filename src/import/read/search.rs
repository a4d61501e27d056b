//! Finds files in folders and archives.

use std::collections::{HashSet, VecDeque};
use std::fs::{DirEntry, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::import::read::archives::{is_tar, open_zip, tar_entries, zip_kind, zip_names};
use crate::import::read::files::{FoundFile, Place};
use crate::import::read::mapped::{Scratch, Slice};
use crate::import::read::passed::{BROKEN_LINK, LINK_IN_ARCHIVE, READ_BEFORE, SPECIAL, TOO_DEEP};
use crate::pack::error::DataError;
use crate::pictures::kinds::{Kind, START, archive_stem, left_by_system};

/// How deeply archives may be nested. ILSVRC-2012 is a tar with one tar per class.
const DEEPEST: usize = 3;

/// Finds all files for which `wanted` holds, sorted by container and path. Each path is a folder, which is searched
/// with the archives in it; an archive (zip, tar, tar.gz), which is searched with those in it; or a wanted file. `wanted`
/// receives the path in the folder or archive, and the file's kind. What systems leave in folders is skipped; what else
/// is not wanted is counted in `scratch.passed`.
///
/// # Errors
/// If a file cannot be read, an archive is damaged, a name is not UTF-8, or `scratch` asks to stop or to pass over nothing.
pub(crate) fn find(
    paths: &[PathBuf],
    scratch: &Scratch,
    wanted: &dyn Fn(&str, Kind) -> bool,
) -> Result<Vec<FoundFile>, DataError> {
    let mut search = Search {
        scratch,
        wanted,
        visited: HashSet::new(),
        found: Vec::new(),
    };
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            search.folder(path)?;
        } else if path.is_file() && wanted(&name, Kind::of_file(path)) {
            let folder = path.parent().unwrap_or(Path::new("."));
            search.on_disk(&folder.into(), path, Kind::of_file(path))?;
        } else if path.metadata().is_ok_and(|found| !found.is_file()) {
            return Err(DataError::BadArchive {
                path: path.clone(),
                problem: format!("is a {SPECIAL}, expected a file or folder"),
            });
        } else {
            search.archive(path)?;
        }
    }
    scratch.passed.check()?;
    let mut found = search.found;
    found.sort_by(|left, right| {
        (&left.container, &left.inner).cmp(&(&right.container, &right.inner))
    });
    Ok(found)
}

struct Search<'a> {
    scratch: &'a Scratch<'a>,
    wanted: &'a dyn Fn(&str, Kind) -> bool,
    /// Device and inode of each folder that was read: links may lead to a folder twice, or to one above them.
    visited: HashSet<(u64, u64)>,
    found: Vec<FoundFile>,
}

/// An archive in which files are searched.
#[derive(Clone)]
struct Spot {
    container: Arc<Path>,
    /// Path of this archive in `container`, with `/` at the end; empty for `container` itself.
    path: String,
    depth: usize,
}

impl Spot {
    /// The error that the archive cannot be used; `problem` follows its name.
    fn bad(&self, problem: String) -> DataError {
        let problem = match self.path.trim_end_matches('/') {
            "" => problem,
            inner => format!("holds the archive `{inner}`, which {problem}"),
        };
        DataError::BadArchive {
            path: self.container.to_path_buf(),
            problem,
        }
    }
}

impl Search<'_> {
    fn folder(&mut self, root: &Path) -> Result<(), DataError> {
        let container: Arc<Path> = root.into();
        // Links are followed last, so that a folder is read under its own name.
        let (mut folders, mut links) = (vec![root.to_path_buf()], VecDeque::new());
        while let Some(folder) = folders.pop().or_else(|| links.pop_front()) {
            let metadata = std::fs::metadata(&folder).map_err(DataError::io("read", &folder))?;
            if !self.visited.insert((metadata.dev(), metadata.ino())) {
                self.pass(READ_BEFORE, &folder);
                continue;
            }
            for entry in self.entries(&folder)? {
                let path = entry.path();
                let Some(target) = self.target(&entry)? else {
                    self.pass(BROKEN_LINK, &path);
                    continue;
                };
                let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
                if target.is_dir() && is_link {
                    links.push_back(path);
                } else if target.is_dir() {
                    folders.push(path);
                } else if target.is_file() {
                    self.file(&container, &path)?;
                } else {
                    self.pass(SPECIAL, &path);
                }
            }
        }
        Ok(())
    }

    /// What is in a folder, sorted, without what systems leave there.
    fn entries(&self, folder: &Path) -> Result<Vec<DirEntry>, DataError> {
        let mut entries = Vec::new();
        for entry in folder.read_dir().map_err(DataError::io("read", folder))? {
            self.scratch.look()?;
            let entry = entry.map_err(DataError::io("read", folder))?;
            if !left_by_system(&entry.file_name().to_string_lossy()) {
                entries.push(entry);
            }
        }
        entries.sort_by_key(DirEntry::file_name);
        Ok(entries)
    }

    /// The file or folder that an entry of a folder is or leads to; `None` if it is a link that leads nowhere.
    fn target(&self, entry: &DirEntry) -> Result<Option<Metadata>, DataError> {
        let path = entry.path();
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        match std::fs::metadata(&path) {
            Ok(target) => Ok(Some(target)),
            Err(error) if is_link && error.kind() != ErrorKind::PermissionDenied => Ok(None),
            Err(error) => Err(DataError::io("read", &path)(error)),
        }
    }

    fn file(&mut self, container: &Arc<Path>, path: &Path) -> Result<(), DataError> {
        let kind = Kind::of_file(path);
        let inner = path.strip_prefix(container).unwrap_or(path);
        let shown = || path.display().to_string();
        self.pass_unreadable(kind, shown);
        if (self.wanted)(&inner.to_string_lossy(), kind) {
            self.on_disk(container, path, kind)
        } else if kind == Kind::Archive {
            self.archive(path)
        } else {
            self.pass_unneeded(kind, shown);
            Ok(())
        }
    }

    /// Adds a file on disk. Its path in the container opens it, and the name of its folder can be that of its class: two
    /// of them that are not UTF-8 could become the same text.
    fn on_disk(&mut self, container: &Arc<Path>, path: &Path, kind: Kind) -> Result<(), DataError> {
        let inner = path.strip_prefix(container).unwrap_or(path).to_str();
        let above = path.parent().and_then(Path::file_name);
        match inner {
            Some(inner) if above.is_none_or(|name| name.to_str().is_some()) => {
                self.found.push(FoundFile {
                    container: Arc::clone(container),
                    inner: inner.to_owned(),
                    innermost: 0,
                    kind,
                    place: Place::Disk,
                });
                Ok(())
            }
            _ => Err(DataError::BadArchive {
                path: path.to_path_buf(),
                problem:
                    "has a name that is not UTF-8, or is in a folder with such a name: rename it"
                        .to_owned(),
            }),
        }
    }

    fn archive(&mut self, path: &Path) -> Result<(), DataError> {
        let spot = Spot {
            container: path.into(),
            path: String::new(),
            depth: 0,
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(part @ Kind::Part(_)) = Kind::of_name(&name)
            && let Some(problem) = part.problem()
        {
            return Err(spot.bad(problem));
        }
        self.content(&spot, Slice::open(path)?)
    }

    /// Searches the content of an archive.
    fn content(&mut self, spot: &Spot, slice: Slice) -> Result<(), DataError> {
        if slice.as_ref().starts_with(b"PK") {
            return self.zip(spot, slice);
        }
        let slice = slice.gunzipped(self.scratch).map_err(|error| {
            error.or_source(|error| {
                spot.bad(format!(
                    "could not be unpacked ({error}): fetch it again or, if it is the first part of an archive, join \
                     all parts with `cat`"
                ))
            })
        })?;
        if is_tar(slice.as_ref()) {
            return self.tar(spot, &slice);
        }
        let start = &slice.as_ref()[..slice.as_ref().len().min(START)];
        let problem = Kind::of_start(start).problem();
        Err(spot.bad(problem.unwrap_or_else(|| "is not a zip, tar or tar.gz archive".to_owned())))
    }

    fn zip(&mut self, spot: &Spot, slice: Slice) -> Result<(), DataError> {
        let bad = |problem| spot.bad(problem);
        let mut archive = open_zip(slice).map_err(bad)?;
        for (index, name) in zip_names(&mut archive).map_err(bad)? {
            self.scratch.look()?;
            if name.split('/').any(left_by_system) {
                continue;
            }
            let kind = zip_kind(&mut archive, index, &name).map_err(bad)?;
            self.entry(spot, &name, kind, Place::Zip(archive.clone(), index))?;
        }
        Ok(())
    }

    fn tar(&mut self, spot: &Spot, slice: &Slice) -> Result<(), DataError> {
        tar_entries(
            slice,
            |problem| spot.bad(problem),
            |entry| {
                self.scratch.look()?;
                let lossy = String::from_utf8_lossy(&entry.name);
                let name = lossy.trim_start_matches("./");
                if name.split('/').any(left_by_system) {
                    return Ok(());
                }
                let Some(content) = entry.content else {
                    let shown = format!("{}: {}{name}", spot.container.display(), spot.path);
                    self.scratch.passed.add(LINK_IN_ARCHIVE, &shown);
                    return Ok(());
                };
                let start = &content.as_ref()[..content.as_ref().len().min(START)];
                let kind = Kind::of_name(name).unwrap_or_else(|| Kind::of_start(start));
                // Two names that are not UTF-8 could become the same text.
                if str::from_utf8(&entry.name).is_err() && (self.wanted)(name, kind) {
                    let shown = entry.name.escape_ascii();
                    return Err(spot.bad(format!(
                        "holds `{shown}`, a name that is not UTF-8: rename it and pack it again"
                    )));
                }
                self.entry(spot, name, kind, Place::Tar(content))
            },
        )
    }

    /// Adds a file of an archive, or searches it if it is an archive itself.
    fn entry(
        &mut self,
        spot: &Spot,
        name: &str,
        kind: Kind,
        place: Place,
    ) -> Result<(), DataError> {
        let file = FoundFile {
            container: Arc::clone(&spot.container),
            innermost: spot.path.len(),
            inner: format!("{}{name}", spot.path),
            kind,
            place,
        };
        self.pass_unreadable(kind, || file.display());
        if (self.wanted)(&file.inner, kind) {
            self.found.push(file);
        } else if kind == Kind::Archive && spot.depth < DEEPEST {
            let spot = Spot {
                container: Arc::clone(&spot.container),
                path: format!("{}/", archive_stem(&file.inner)),
                depth: spot.depth + 1,
            };
            self.content(&spot, file.map(self.scratch)?)?;
        } else if kind == Kind::Archive {
            self.scratch.passed.add(TOO_DEEP, &file.display());
        } else {
            self.pass_unneeded(kind, || file.display());
        }
        Ok(())
    }

    /// Counts a file that cannot be read, also if it is wanted because it tells of a class.
    fn pass_unreadable(&self, kind: Kind, shown: impl Fn() -> String) {
        if kind.problem().is_some() {
            self.scratch.passed.add_kind(kind, &shown());
        }
    }

    /// Counts a file that is not wanted; one that cannot be read was counted before.
    fn pass_unneeded(&self, kind: Kind, shown: impl Fn() -> String) {
        if kind.problem().is_none() {
            self.scratch.passed.add_kind(kind, &shown());
        }
    }

    fn pass(&self, reason: &str, path: &Path) {
        self.scratch.passed.add(reason, &path.display().to_string());
    }
}

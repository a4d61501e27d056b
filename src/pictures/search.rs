//! Finds a user's pictures in a folder and the folders in it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::pack::error::DataError;
use crate::pictures::kinds::{Kind, left_by_system};

/// The files below a folder.
#[derive(Debug, Default)]
pub struct Files {
    /// Files that are or should be pictures, sorted: those in a folder before those in the folders in it.
    pub pictures: Vec<PathBuf>,
    /// Names of the other files.
    pub others: Vec<String>,
}

/// Finds all files in a folder and the folders in it. A folder that links lead to again is searched once. Hidden files
/// and what systems leave are skipped.
///
/// # Errors
/// If a folder cannot be read.
pub fn files_below(folder: &Path) -> Result<Files, DataError> {
    files_of_one(folder, &[])
}

/// As [`files_below`], without what links lead to in the folders `others`.
///
/// # Errors
/// If a folder cannot be read.
pub(crate) fn files_of_one(folder: &Path, others: &[PathBuf]) -> Result<Files, DataError> {
    let mut found = Files::default();
    let others = others.iter().filter(|other| *other != folder);
    let mut visited: HashSet<PathBuf> = others
        .filter_map(|other| other.canonicalize().ok())
        .collect();
    visited.remove(&place_of(folder)?);
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        if !visited.insert(place_of(&next)?) {
            continue;
        }
        let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) =
            files_in(&next)?.into_iter().partition(|path| path.is_dir());
        for file in files {
            match Kind::of_file(&file) {
                Kind::Other | Kind::Html => found.others.push(file.display().to_string()),
                _ => found.pictures.push(file),
            }
        }
        // The last one is searched first, links after what is there itself.
        let (links, real): (Vec<PathBuf>, Vec<PathBuf>) = folders
            .into_iter()
            .rev()
            .partition(|path| path.is_symlink());
        open.splice(0..0, links);
        open.extend(real);
    }
    Ok(found)
}

/// The path of a folder without links.
fn place_of(folder: &Path) -> Result<PathBuf, DataError> {
    folder.canonicalize().map_err(DataError::io("read", folder))
}

/// Files and folders in a folder, sorted. Hidden ones and what systems leave are skipped.
///
/// # Errors
/// If the folder cannot be read.
pub(crate) fn files_in(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let entries = std::fs::read_dir(folder).map_err(DataError::io("read", folder))?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(DataError::io("read", folder))?;
        if !left_by_system(&entry.file_name().to_string_lossy()) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

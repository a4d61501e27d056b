//! A user's labelled pictures, from class folders or a CSV list.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

use crate::pack::error::{DataError, list_names};
use crate::pictures::preparation::Preparation;
use crate::pictures::tables::two_columns;

/// Files that operating systems create in folders.
const SYSTEM_FILES: [&str; 2] = ["Thumbs.db", "desktop.ini"];

/// Prepared pictures with their classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledPictures {
    /// Names of the classes, sorted.
    pub classes: Vec<String>,
    /// All pictures, in the order of their classes.
    pub pictures: Vec<LabelledPicture>,
}

/// A prepared picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledPicture {
    /// The picture file.
    pub file: PathBuf,
    /// Index of the class in [`LabelledPictures::classes`].
    pub class: usize,
    /// Values `[C, H, W]`.
    pub pixels: Vec<u8>,
}

impl LabelledPictures {
    /// Reads and prepares pictures from a folder of class folders, or from a CSV file with the columns `file` (relative
    /// to the folder of the list) and `label`.
    ///
    /// # Errors
    /// If `path` does not exist, there are fewer than two classes, two class names look alike, a folder's name is not
    /// UTF-8, or a file is not a picture; all such files are named at once.
    pub fn read(path: &Path, preparation: &Preparation) -> Result<LabelledPictures, DataError> {
        let refuse = |problem: String| DataError::Pictures {
            path: path.to_path_buf(),
            problem,
        };
        let by_class = if path.is_dir() {
            class_folders(path)?
        } else if path.exists() {
            listed(path)?
        } else {
            return Err(refuse(
                "does not exist; expected a folder of class folders, or a CSV list".to_owned(),
            ));
        };
        if let Some(name) = look_alike(by_class.keys()) {
            return Err(refuse(format!(
                "has two classes called `{name}`, which differ only in spaces or in the encoding of an accent: rename one"
            )));
        }
        if by_class.len() < 2 {
            let found = match by_class.keys().next() {
                None => "no class".to_owned(),
                Some(name) => format!("only the class `{name}`"),
            };
            return Err(refuse(format!(
                "holds {found}, expected two or more, as folder/class/picture"
            )));
        }
        let files = by_class
            .values()
            .enumerate()
            .flat_map(|(class, files)| files.iter().map(move |file| (class, file)));
        let (classes, files): (Vec<usize>, Vec<&PathBuf>) = files.unzip();
        let pictures = prepared(path, &files, preparation)?
            .into_iter()
            .zip(classes.into_iter().zip(files))
            .map(|(pixels, (class, file))| LabelledPicture {
                file: file.clone(),
                class,
                pixels,
            })
            .collect();
        Ok(LabelledPictures {
            classes: by_class.into_keys().collect(),
            pictures,
        })
    }

    /// Number of pictures in each class.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        self.pictures
            .iter()
            .for_each(|picture| counts[picture.class] += 1);
        counts
    }
}

/// Reads and prepares all pictures in a folder; returns `[C, H, W]` for each.
///
/// # Errors
/// If the folder is empty or a file is not a picture; all such files are named at once.
pub fn unlabeled_pictures(
    folder: &Path,
    preparation: &Preparation,
) -> Result<Vec<Vec<u8>>, DataError> {
    let files = files_in(folder)?;
    if files.is_empty() {
        return Err(DataError::Pictures {
            path: folder.to_path_buf(),
            problem: "is empty, expected unlabelled pictures".to_owned(),
        });
    }
    prepared(folder, &files.iter().collect::<Vec<_>>(), preparation)
}

/// Prepares all files.
///
/// # Errors
/// If a file is not a picture; the message names all such files in the folder or list `path`.
fn prepared(
    path: &Path,
    files: &[&PathBuf],
    preparation: &Preparation,
) -> Result<Vec<Vec<u8>>, DataError> {
    let (mut pictures, mut faults) = (Vec::new(), Vec::new());
    for file in files {
        match preparation.file(file) {
            Ok(pixels) => pictures.push(pixels),
            Err(error) => faults.push(error.to_string()),
        }
    }
    if faults.is_empty() {
        return Ok(pictures);
    }
    let count = match faults.len() {
        1 => "a file".to_owned(),
        count => format!("{count} files"),
    };
    Err(DataError::Pictures {
        path: path.to_path_buf(),
        problem: format!(
            "holds {count} that cannot be used; fix or remove:\n  {}",
            faults.join("\n  ")
        ),
    })
}

/// Files and folders in a folder, sorted. Hidden ones and those of operating systems are skipped.
///
/// # Errors
/// If the folder cannot be read.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let entries = std::fs::read_dir(folder).map_err(DataError::io("read", folder))?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(DataError::io("read", folder))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with('.') && !SYSTEM_FILES.contains(&&*name) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Files by class from `folder/class/picture`.
///
/// # Errors
/// If the folder has another structure.
fn class_folders(folder: &Path) -> Result<BTreeMap<String, Vec<PathBuf>>, DataError> {
    let refuse = |problem: String| DataError::Pictures {
        path: folder.to_path_buf(),
        problem,
    };
    let (folders, loose): (Vec<PathBuf>, Vec<PathBuf>) = files_in(folder)?
        .into_iter()
        .partition(|path| path.is_dir());
    if !loose.is_empty() {
        let names = list_names(loose.iter().map(|path| path.display()), 3);
        return Err(refuse(format!(
            "holds files next to its class folders: {names}; expected folder/class/picture"
        )));
    }
    let mut found = BTreeMap::new();
    for class in folders {
        let files = files_in(&class)?;
        // Two such names could become the same text.
        let Some(name) = class.file_name().and_then(|name| name.to_str()) else {
            return Err(refuse(format!(
                "has a class folder whose name is not UTF-8, {}: rename it",
                class.display()
            )));
        };
        if files.is_empty() {
            return Err(refuse(format!("has an empty class folder, `{name}`")));
        }
        if let Some(inner) = files.iter().find(|path| path.is_dir()) {
            return Err(refuse(format!(
                "has a folder in a class folder, {}; expected folder/class/picture",
                inner.display()
            )));
        }
        found.insert(name.to_owned(), files);
    }
    Ok(found)
}

/// Files by class from a CSV file.
///
/// # Errors
/// If the file is not such a list, gives a file no label, or names it twice.
fn listed(path: &Path) -> Result<BTreeMap<String, Vec<PathBuf>>, DataError> {
    let base = path.parent().unwrap_or(Path::new(""));
    let refuse = |problem: String| {
        let path = path.to_path_buf();
        Err(DataError::BadTable { path, problem })
    };
    let mut found = BTreeMap::<String, Vec<PathBuf>>::new();
    let mut seen = BTreeSet::new();
    for (file, label) in two_columns(path, ["file", "label"])? {
        let file = base.join(file);
        if label.is_empty() {
            return refuse(format!("gives {} no label", file.display()));
        }
        if !seen.insert(file.clone()) {
            return refuse(format!("names {} twice", file.display()));
        }
        found.entry(label).or_default().push(file);
    }
    Ok(found)
}

/// A name that looks like an earlier one: equal without outer spaces and in Unicode's composed form.
fn look_alike<'a>(names: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    let mut names = names.map(|name| (name, name.trim().nfc().collect::<String>()));
    names.find_map(|(name, plain)| (!seen.insert(plain)).then_some(name.as_str()))
}

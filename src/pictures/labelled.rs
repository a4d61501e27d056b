//! Pictures of a user's own with their classes, from class folders or a list.
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

use crate::pack::error::{DataError, list_names};
use crate::pictures::preparation::Preparation;
use crate::pictures::tables::two_columns;

/// Files that systems leave in folders by themselves.
const LEFT_BY_SYSTEMS: [&str; 2] = ["Thumbs.db", "desktop.ini"];

/// Pictures of a user's own with their classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledPictures {
    /// Names of the classes, in order.
    pub classes: Vec<String>,
    /// All pictures, class by class.
    pub pictures: Vec<LabelledPicture>,
}

/// One picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledPicture {
    /// Where it came from.
    pub file: PathBuf,
    /// Index of its class.
    pub class: usize,
    /// `[C, H, W]`
    pub pixels: Vec<u8>,
}

impl LabelledPictures {
    /// From a folder of class folders, or from a CSV file with the columns `file` (taken from where the list lies) and
    /// `label`.
    ///
    /// # Errors
    /// If there is nothing, fewer than two classes, two classes of one name, a folder's name that is not UTF-8, or a
    /// file that is no picture; all such files are told at once.
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
                "is not there; expected a folder of class folders, or a CSV list".to_owned(),
            ));
        };
        if let Some(name) = twin(by_class.keys()) {
            return Err(refuse(format!(
                "has two classes called `{name}`, which differ in blanks or in how an accent is written: rename one"
            )));
        }
        if by_class.len() < 2 {
            let found = match by_class.keys().next() {
                None => "no class".to_owned(),
                Some(name) => format!("the class `{name}` alone"),
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

    /// Number of pictures of each class.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        self.pictures
            .iter()
            .for_each(|picture| counts[picture.class] += 1);
        counts
    }
}

/// The pictures of a folder, `[C, H, W]` each.
///
/// # Errors
/// If there are none, or one is no picture; all such files are told at once.
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

/// All files, or everything that is wrong with them.
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
            "holds {count} that cannot be used; mend or take out:\n  {}",
            faults.join("\n  ")
        ),
    })
}

/// The files of a folder in order; hidden ones and those that systems leave are passed over.
///
/// # Errors
/// If it cannot be read.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let entries = std::fs::read_dir(folder).map_err(DataError::io("read", folder))?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(DataError::io("read", folder))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with('.') && !LEFT_BY_SYSTEMS.contains(&&*name) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Files by class, `folder/class/picture`.
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
            "holds files beside its class folders: {names}; expected folder/class/picture"
        )));
    }
    let mut found = BTreeMap::new();
    for class in folders {
        let files = files_in(&class)?;
        // Two such names could become one class.
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

/// Files by class, as a CSV file lists them.
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

/// A name that another looks like.
fn twin<'a>(names: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    let mut names = names.map(|name| (name, name.trim().nfc().collect::<String>()));
    names.find_map(|(name, plain)| (!seen.insert(plain)).then_some(name.as_str()))
}

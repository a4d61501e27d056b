//! A user's labelled pictures, from class folders or a CSV list.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

use crate::pack::error::{DataError, list_names};
use crate::pictures::kinds::Kind;
use crate::pictures::preparation::Preparation;
use crate::pictures::remarks::{Remarks, few};
use crate::pictures::search::{Files, files_below, files_in, files_of_one};
use crate::pictures::tables::two_columns;

/// What is expected of a user's pictures.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Least number of classes.
    pub classes: usize,
    /// Whether to pass over pictures that cannot be used, instead of refusing all.
    pub skip_broken: bool,
}

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
    /// to the folder of the list) and `label`. Folders in a class folder belong to it. Files that are no pictures are
    /// passed over, and told in the remarks.
    ///
    /// # Errors
    /// If `path` does not exist, there are too few classes, two class names look alike, a folder's name is not UTF-8, or
    /// a picture cannot be used; all such pictures are named at once. If they are to be passed over: if a class has none
    /// left.
    pub fn read(
        path: &Path,
        preparation: &Preparation,
        expected: Expected,
    ) -> Result<(LabelledPictures, Remarks), DataError> {
        let refuse = |problem: String| DataError::Pictures {
            path: path.to_path_buf(),
            problem,
        };
        let mut remarks = Remarks::default();
        let by_class = if path.is_dir() {
            class_folders(path, &mut remarks)?
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
        if by_class.len() < expected.classes {
            let found = match by_class.keys().next() {
                None => "no class".to_owned(),
                Some(name) => format!("only the class `{name}`"),
            };
            let least = if expected.classes == 1 { "one" } else { "two" };
            return Err(refuse(format!(
                "holds {found}, expected {least} or more, as folder/class/picture"
            )));
        }
        let files = by_class
            .values()
            .enumerate()
            .flat_map(|(class, files)| files.iter().map(move |file| (class, file)));
        let (numbers, files): (Vec<usize>, Vec<&PathBuf>) = files.unzip();
        let prepared = prepared(
            path,
            &files,
            preparation,
            expected.skip_broken,
            &mut remarks,
        )?;
        let labelled = LabelledPictures {
            pictures: prepared
                .into_iter()
                .map(|(index, pixels)| LabelledPicture {
                    file: files[index].clone(),
                    class: numbers[index],
                    pixels,
                })
                .collect(),
            classes: by_class.into_keys().collect(),
        };
        let counts = labelled.counts();
        let mut named = labelled.classes.iter().zip(counts);
        if let Some((name, _)) = named.find(|&(_, count)| count == 0) {
            return Err(refuse(format!(
                "has no picture of the class `{name}` that can be used: {}",
                few(&remarks.broken)
            )));
        }
        Ok((labelled, remarks))
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

/// Reads and prepares all pictures in a folder and the folders in it; returns `[C, H, W]` for each.
///
/// # Errors
/// If the folder holds no picture or a picture cannot be used; all such pictures are named at once.
pub fn unlabeled_pictures(
    folder: &Path,
    preparation: &Preparation,
    skip_broken: bool,
) -> Result<(Vec<Vec<u8>>, Remarks), DataError> {
    let Files { pictures, others } = files_below(folder)?;
    let mut remarks = Remarks {
        others,
        ..Remarks::default()
    };
    let files: Vec<&PathBuf> = pictures.iter().collect();
    let prepared = prepared(folder, &files, preparation, skip_broken, &mut remarks)?;
    if prepared.is_empty() {
        return Err(DataError::Pictures {
            path: folder.to_path_buf(),
            problem: "holds no picture, expected unlabelled ones".to_owned(),
        });
    }
    let pictures = prepared.into_iter().map(|(_, pixels)| pixels).collect();
    Ok((pictures, remarks))
}

/// Prepares all files; returns the index of each with its pixels.
///
/// # Errors
/// If a picture cannot be used and `skip_broken` is not set; the message names all such files in the folder or list
/// `path`.
fn prepared(
    path: &Path,
    files: &[&PathBuf],
    preparation: &Preparation,
    skip_broken: bool,
    remarks: &mut Remarks,
) -> Result<Vec<(usize, Vec<u8>)>, DataError> {
    let (mut pictures, mut faults) = (Vec::new(), Vec::new());
    for (index, file) in files.iter().enumerate() {
        match preparation.file(file) {
            Ok(pixels) => {
                remarks.look_at(file, &pixels);
                pictures.push((index, pixels));
            }
            Err(error) => faults.push(error.to_string()),
        }
    }
    if faults.is_empty() || skip_broken {
        remarks.broken.extend(faults);
        return Ok(pictures);
    }
    let count = match faults.len() {
        1 => "a file".to_owned(),
        count => format!("{count} files"),
    };
    Err(DataError::Pictures {
        path: path.to_path_buf(),
        problem: format!(
            "holds {count} that cannot be used; fix or remove, or pass over with --skip-broken:\n  {}",
            faults.join("\n  ")
        ),
    })
}

/// Files by class from `folder/class/picture`; what lies deeper belongs to the class.
///
/// # Errors
/// If the folder has another structure.
fn class_folders(
    folder: &Path,
    remarks: &mut Remarks,
) -> Result<BTreeMap<String, Vec<PathBuf>>, DataError> {
    let refuse = |problem: String| DataError::Pictures {
        path: folder.to_path_buf(),
        problem,
    };
    let (folders, loose): (Vec<PathBuf>, Vec<PathBuf>) = files_in(folder)?
        .into_iter()
        .partition(|path| path.is_dir());
    let (others, loose): (Vec<PathBuf>, Vec<PathBuf>) = loose
        .into_iter()
        .partition(|path| matches!(Kind::of_file(path), Kind::Other | Kind::Html));
    remarks
        .others
        .extend(others.iter().map(|path| path.display().to_string()));
    if !loose.is_empty() {
        let names = list_names(loose.iter().map(|path| path.display()), 3);
        return Err(refuse(format!(
            "holds files next to its class folders: {names}; expected folder/class/picture"
        )));
    }
    let mut found = BTreeMap::new();
    // A link in a class folder must not give it the pictures of others.
    let places = [&[folder.to_path_buf()], &folders[..]].concat();
    for class in folders {
        let Files { pictures, others } = files_of_one(&class, &places)?;
        // Two such names could become the same text.
        let Some(name) = class.file_name().and_then(|name| name.to_str()) else {
            return Err(refuse(format!(
                "has a class folder whose name is not UTF-8, {}: rename it",
                class.display()
            )));
        };
        if pictures.is_empty() {
            return Err(refuse(format!(
                "has an empty class folder, `{name}`: expected pictures in it"
            )));
        }
        remarks.others.extend(others);
        found.insert(name.to_owned(), pictures);
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

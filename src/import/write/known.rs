//! Data sets that everybody knows: which classes and how many images they have, and what is said when some are not there.
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::import::read::files::FoundFile;
use crate::import::read::progress::Watch;
use crate::import::write::pictures::{Picture, searched, square, write_classes};
use crate::pack::error::{DataError, list_names};
use crate::pack::pack::PackMetadata;
use crate::pack::part::Part;
use crate::pack::splits::SplitScheme;

/// What to make of the pictures of a known data set.
#[derive(Clone, Copy)]
pub struct KnownOptions<'a> {
    /// Height and width in pixels.
    pub size: u32,
    /// Take what is there; what is not is noted in the pack instead of being an error.
    pub partial: bool,
    /// Told of progress.
    pub watch: Watch<'a>,
}

/// How many images there are.
#[derive(Clone, Copy)]
pub(crate) enum Images {
    /// In every class.
    EachClass(usize),
    /// In train, validation and test.
    Parts([usize; 3]),
    /// In all.
    All(usize),
}

/// A known data set.
pub(crate) struct Known {
    /// What the pack is called.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// Name of the split.
    pub split: &'static str,
    /// Classes of train, validation and test.
    pub classes: [usize; 3],
    pub images: Images,
    /// `part name` of the classes that bear known names; empty if none do.
    pub list: &'static str,
    pub source: &'static str,
    pub licence: &'static str,
}

/// A class that was found.
pub(crate) struct Class {
    pub part: Part,
    pub name: String,
    pub pictures: Vec<Picture>,
}

/// What was found of a data set, in the order of the pack, and what is wrong with it besides numbers.
#[derive(Default)]
pub(crate) struct Found {
    pub classes: Vec<Class>,
    pub faults: Vec<String>,
}

impl Found {
    /// Appends a part's classes, the pictures of each by their numbers in a file.
    pub(crate) fn add_part(
        &mut self,
        part: Part,
        classes: impl IntoIterator<Item = (String, Vec<usize>)>,
        picture: impl Fn(usize) -> Picture,
    ) {
        for (name, numbers) in classes {
            self.classes.push(Class {
                part,
                name,
                pictures: numbers.into_iter().map(&picture).collect(),
            });
        }
    }
}

/// Notes in the pack what of a data set is not there, if that is accepted.
///
/// # Errors
/// If not: what a message says after the data set's name.
pub(crate) fn note_missing(
    notes: &mut BTreeMap<String, String>,
    faults: String,
    accepted: bool,
) -> Result<(), String> {
    if !accepted {
        return Err(format!(
            "{faults}; fetch the rest, or take what is there with --partial"
        ));
    }
    notes.insert("partial".to_owned(), faults);
    Ok(())
}

impl Known {
    /// Classes and images in all.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let classes = self.classes.iter().sum();
        let images = match self.images {
            Images::EachClass(count) => count * classes,
            Images::Parts(counts) => counts.iter().sum(),
            Images::All(count) => count,
        };
        (classes, images)
    }

    /// The error that it is not complete.
    pub(crate) fn incomplete(&self, from: &[PathBuf], problem: String) -> DataError {
        DataError::Incomplete {
            data_set: self.title,
            searched: searched(from),
            problem,
        }
    }

    /// Checks the numbers and writes the pack.
    ///
    /// # Errors
    /// If something is missing and `options.partial` is not set, a picture cannot be read, or writing fails.
    pub(crate) fn write(
        &self,
        from: &[PathBuf],
        output: &Path,
        found: Found,
        options: KnownOptions<'_>,
    ) -> Result<(), DataError> {
        let shape = square(options.size, 3)?;
        let mut faults = found.faults;
        faults.extend(self.faults(&found.classes));
        let more = faults.len().saturating_sub(4);
        faults.truncate(4);
        if more > 0 {
            faults.push(format!("and {more} more such faults"));
        }
        let faults = faults.join("; ");
        let mut split = SplitScheme::default();
        let mut classes = Vec::new();
        for class in found.classes {
            if !class.pictures.is_empty() {
                split.part_mut(class.part).push(classes.len());
                classes.push((class.name, class.pictures));
            }
        }
        let mut notes = BTreeMap::new();
        if !faults.is_empty() {
            let accepted = options.partial && !classes.is_empty();
            note_missing(&mut notes, faults, accepted)
                .map_err(|told| self.incomplete(from, told))?;
        }
        let metadata = PackMetadata {
            name: self.name.to_owned(),
            class_names: Vec::new(),
            splits: BTreeMap::from([(self.split.to_owned(), split)]),
            default_split: self.split.to_owned(),
            source: self.source.to_owned(),
            licence: self.licence.to_owned(),
            content_hash: String::new(),
            notes,
        };
        write_classes(output, &classes, shape, metadata, options.watch)
    }

    fn faults(&self, classes: &[Class]) -> Vec<String> {
        let mut faults = Vec::new();
        for (index, part) in Part::ALL.into_iter().enumerate() {
            let of_part = || classes.iter().filter(|class| class.part == part);
            let filled = of_part().filter(|class| !class.pictures.is_empty());
            let (there, expected) = (filled.count(), self.classes[index]);
            if there != expected {
                let empty = of_part().filter(|class| class.pictures.is_empty());
                let empty: Vec<&str> = empty.map(|class| class.name.as_str()).collect();
                let which = if empty.is_empty() {
                    String::new()
                } else {
                    format!(" (missing: {})", list_names(empty, 3))
                };
                faults.push(format!(
                    "{part} has {there} classes, expected {expected}{which}"
                ));
            }
            if let Images::Parts(expected) = self.images {
                let there: usize = of_part().map(|class| class.pictures.len()).sum();
                if there != expected[index] {
                    let expected = expected[index];
                    faults.push(format!("{part} has {there} images, expected {expected}"));
                }
            }
        }
        let listed: HashMap<&str, Part> =
            list(self.list).map(|(part, name)| (name, part)).collect();
        for Class { part, name, .. } in classes {
            match listed.get(name.as_str()) {
                Some(right) if right != part => {
                    faults.push(format!("class {name} is in {part}, expected {right}"));
                }
                None if !listed.is_empty() && wnid(name).is_some() => {
                    faults.push(format!("class {name} is none of the data set"));
                }
                _ => {}
            }
        }
        match self.images {
            Images::Parts(_) => {}
            Images::EachClass(expected) => {
                for class in classes {
                    let there = class.pictures.len();
                    if there != expected && there > 0 {
                        let name = &class.name;
                        faults.push(format!(
                            "class {name} has {there} images, expected {expected}"
                        ));
                    }
                }
            }
            Images::All(expected) => {
                let there: usize = classes.iter().map(|class| class.pictures.len()).sum();
                if there != expected {
                    faults.push(format!("it has {there} images, expected {expected}"));
                }
            }
        }
        faults
    }
}

/// The lines `part name` of an embedded list.
pub(crate) fn list(lines: &'static str) -> impl Iterator<Item = (Part, &'static str)> {
    lines
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(part, name)| Some((part.parse().ok()?, name)))
}

/// The listed classes with their files, sorted by `order`; the same file may lie in an archive and unpacked beside it.
pub(crate) fn listed_classes<K: Ord>(
    lines: &'static str,
    files: Vec<FoundFile>,
    class_of: impl Fn(&FoundFile) -> Option<String>,
    order: impl Fn(&FoundFile) -> K,
) -> Vec<Class> {
    let mut by_class: HashMap<String, Vec<FoundFile>> = HashMap::new();
    for file in files {
        if let Some(class) = class_of(&file) {
            by_class.entry(class).or_default().push(file);
        }
    }
    list(lines)
        .map(|(part, name)| {
            let mut files = by_class.remove(name).unwrap_or_default();
            files.sort_by_cached_key(|file| (order(file), file.name().to_owned()));
            files.dedup_by(|left, right| left.name() == right.name());
            Class {
                part,
                name: name.to_owned(),
                pictures: files.into_iter().map(Picture::File).collect(),
            }
        })
        .collect()
}

/// The wnid that a file's path names: that of its folder, or else the one that its name starts with.
pub(crate) fn wnid(inner: &str) -> Option<&str> {
    let mut parts = inner.rsplit('/');
    let (name, folder) = (parts.next()?, parts.next());
    let is_wnid = |text: &&str| {
        text.len() == 9
            && text.starts_with('n')
            && text[1..].bytes().all(|byte| byte.is_ascii_digit())
    };
    folder
        .filter(is_wnid)
        .or_else(|| name.get(..9).filter(is_wnid))
}

/// The files that bear the names of train, validation and test; `None` if there is none at all. Missing ones are faults.
///
/// # Errors
/// If there are several of a name.
pub(crate) fn part_files<'a>(
    files: &'a [FoundFile],
    names: [&str; 3],
    faults: &mut Vec<String>,
) -> Result<Option<[Option<&'a FoundFile>; 3]>, DataError> {
    let mut of_parts = [None; 3];
    let mut missing = Vec::new();
    for (place, name) in of_parts.iter_mut().zip(names) {
        let mut named = files.iter().filter(|file| file.name() == name);
        *place = named.next();
        if place.is_none() {
            missing.push(format!("there is no `{name}`"));
        }
        if let (Some(first), Some(second)) = (*place, named.next()) {
            return Err(first.twice(second));
        }
    }
    if missing.len() == names.len() {
        return Ok(None);
    }
    faults.extend(missing);
    Ok(Some(of_parts))
}

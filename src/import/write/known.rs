//! Writes data sets whose classes and numbers of images are known, and says what is missing from them.

use std::collections::{BTreeMap, HashMap};

use crate::import::data_set::{Contents, Images, ImportRequest};
use crate::import::read::files::FoundFile;
use crate::import::write::pictures::{Picture, square, write_classes};
use crate::pack::error::{DataError, list_names};
use crate::pack::pack::{PARTIAL, PackMetadata};
use crate::pack::part::Part;
use crate::pack::splits::SplitScheme;

/// The split that a known data set is published with.
#[derive(Clone, Copy)]
pub(crate) struct KnownSplit {
    /// Name of the split in the pack.
    pub name: &'static str,
    /// Lines `part class` for classes with known names; empty if the names are not known.
    pub classes: &'static str,
}

/// A class found in the files.
pub(crate) struct Class {
    pub part: Part,
    pub name: String,
    pub pictures: Vec<Picture>,
}

/// The classes found, in the order of the pack, and faults other than wrong numbers.
#[derive(Default)]
pub(crate) struct Found {
    pub classes: Vec<Class>,
    pub faults: Vec<String>,
}

impl Found {
    /// Appends the classes of a part; `picture` makes a picture from its number in the file.
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

/// Accepts an incomplete data set and records in the pack's notes what is missing.
///
/// # Errors
/// If `partial` is not set: the text that follows the data set's name in the message.
pub(crate) fn note_missing(
    notes: &mut BTreeMap<String, String>,
    faults: String,
    partial: bool,
) -> Result<(), String> {
    if !partial {
        return Err(format!(
            "{faults}; fetch the rest, or import what is there with --partial"
        ));
    }
    notes.insert(PARTIAL.to_owned(), faults);
    Ok(())
}

/// Compares what was found with the catalogue and writes the pack.
///
/// # Errors
/// If something is missing and `request.partial` is not set, a picture cannot be read, or writing fails.
pub(crate) fn write_known(
    request: &ImportRequest<'_>,
    split: KnownSplit,
    found: Found,
) -> Result<(), DataError> {
    let shape = square(request.size, 3)?;
    let data_set = request.data_set;
    let mut faults = found.faults;
    if let Contents::Known { classes, images } = data_set.contents {
        faults.extend(incomplete_parts(classes, images, &found.classes));
        faults.extend(misplaced_classes(split, &found.classes));
        faults.extend(wrong_image_counts(images, &found.classes));
    }
    let more = faults.len().saturating_sub(SHOWN_FAULTS);
    faults.truncate(SHOWN_FAULTS);
    if more > 0 {
        faults.push(format!("and {more} more such faults"));
    }
    let faults = faults.join("; ");
    let mut scheme = SplitScheme::default();
    let mut classes = Vec::new();
    for class in found.classes {
        if !class.pictures.is_empty() {
            scheme.part_mut(class.part).push(classes.len());
            classes.push((class.name, class.pictures));
        }
    }
    let mut notes = BTreeMap::new();
    if !faults.is_empty() {
        let accepted = request.partial && !classes.is_empty();
        note_missing(&mut notes, faults, accepted)
            .map_err(|problem| request.incomplete(problem))?;
    }
    let metadata = PackMetadata {
        name: data_set.name.to_owned(),
        class_names: Vec::new(),
        splits: BTreeMap::from([(split.name.to_owned(), scheme)]),
        default_split: split.name.to_owned(),
        source: request.source(),
        licence: data_set.licence_note(),
        content_hash: String::new(),
        notes,
    };
    write_classes(request, &classes, shape, metadata)
}

/// Faults that a message names before it counts the rest.
const SHOWN_FAULTS: usize = 4;

/// Parts with another number of classes or images than expected.
fn incomplete_parts(expected: [usize; 3], images: Images, classes: &[Class]) -> Vec<String> {
    let mut faults = Vec::new();
    for (index, part) in Part::ALL.into_iter().enumerate() {
        let in_part = || classes.iter().filter(|class| class.part == part);
        let filled = in_part().filter(|class| !class.pictures.is_empty());
        let (found, expected) = (filled.count(), expected[index]);
        if found != expected {
            let empty = in_part().filter(|class| class.pictures.is_empty());
            let empty: Vec<&str> = empty.map(|class| class.name.as_str()).collect();
            let which = if empty.is_empty() {
                String::new()
            } else {
                format!(" (missing: {})", list_names(empty, 3))
            };
            faults.push(format!(
                "{part} has {found} classes, expected {expected}{which}"
            ));
        }
        if let Images::PerPart(expected) = images {
            let (found, expected) = (count_images(in_part()), expected[index]);
            if found != expected {
                faults.push(format!("{part} has {found} images, expected {expected}"));
            }
        }
    }
    faults
}

/// Classes with another number of images than expected, or the data set as a whole.
fn wrong_image_counts(images: Images, classes: &[Class]) -> Vec<String> {
    match images {
        Images::PerPart(_) => Vec::new(),
        Images::PerClass(expected) => classes
            .iter()
            .map(|class| (&class.name, class.pictures.len()))
            .filter(|&(_, found)| found != expected && found > 0)
            .map(|(name, found)| format!("class {name} has {found} images, expected {expected}"))
            .collect(),
        Images::Total(expected) => match count_images(classes.iter()) {
            found if found == expected => Vec::new(),
            found => vec![format!("it has {found} images, expected {expected}")],
        },
    }
}

fn count_images<'a>(classes: impl Iterator<Item = &'a Class>) -> usize {
    classes.map(|class| class.pictures.len()).sum()
}

/// Classes that the published split puts in another part or does not have.
fn misplaced_classes(split: KnownSplit, classes: &[Class]) -> Vec<String> {
    let listed: HashMap<&str, Part> = list(split.classes)
        .map(|(part, name)| (name, part))
        .collect();
    let mut faults = Vec::new();
    for Class { part, name, .. } in classes {
        match listed.get(name.as_str()) {
            Some(right) if right != part => {
                faults.push(format!("class {name} is in {part}, expected {right}"));
            }
            None if !listed.is_empty() && wnid(name).is_some() => {
                faults.push(format!("class {name} does not belong to the data set"));
            }
            _ => {}
        }
    }
    faults
}

/// The lines `part class` of an embedded list.
pub(crate) fn list(lines: &'static str) -> impl Iterator<Item = (Part, &'static str)> {
    lines
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(part, name)| Some((part.parse().ok()?, name)))
}

/// The listed classes with their files, sorted by `order`, then by name. Files of the same name count once: a file may
/// lie both in an archive and, unpacked, next to it.
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

/// The wnid (WordNet identifier, `n01532829`) of a file: its folder's name, or the first nine letters of its own.
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

/// Finds the files of train, validation and test by their names. Missing ones become faults; `None` if all are missing.
///
/// # Errors
/// If two files have the same name.
pub(crate) fn part_files<'a>(
    files: &'a [FoundFile],
    names: [&str; 3],
    faults: &mut Vec<String>,
) -> Result<Option<[Option<&'a FoundFile>; 3]>, DataError> {
    let mut by_part = [None; 3];
    let mut missing = Vec::new();
    for (place, name) in by_part.iter_mut().zip(names) {
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
    Ok(Some(by_part))
}

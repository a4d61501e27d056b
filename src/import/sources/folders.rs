//! Class folders: `class/picture`, or `train/class/picture`, `val/…` and `test/…`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::import::data_set::ImportRequest;
use crate::import::read::files::{FoundFile, find};
use crate::import::read::mapped::Scratch;
use crate::import::write::pictures::{ClassPictures, Picture, is_picture, square, write_classes};
use crate::pack::error::{DataError, list_names};
use crate::pack::pack::PackMetadata;
use crate::pack::part::Part;
use crate::pack::splits::{SplitScheme, seeded_split};
use crate::pictures::tables::two_columns;

/// Imports every class folder in `request.from`, in folders or archives (zip, tar, tar.gz). The split comes from
/// `request.class_split`; or from folders `train`, `val` or `validation`, and `test` above the class folders, or
/// archives and folders of these names in `request.from`; otherwise classes are shuffled and divided 70/10/20.
pub(crate) fn import(request: &ImportRequest<'_>) -> Result<(), DataError> {
    let shape = square(request.size, request.channels)?;
    let scratch = Scratch::next_to(request.output, request.watch);
    let mut found: BTreeMap<String, ClassFolder> = BTreeMap::new();
    for file in find(request.from, &scratch, &is_picture)? {
        let Some(class) = file.folder_name() else {
            return Err(request.incomplete(format!(
                "{} is not in a folder, expected class/picture",
                file.display()
            )));
        };
        let part = part_of(&file, request.from);
        let known = found.entry(class.clone()).or_insert_with(|| ClassFolder {
            part,
            ..ClassFolder::default()
        });
        if known.part != part {
            let name = |part: Option<Part>| part.map_or("no part", Part::name);
            return Err(request.incomplete(format!(
                "class `{class}` is in {} and in {}; a few-shot split divides classes, not pictures",
                name(known.part),
                name(part)
            )));
        }
        let path = file.inner.rsplit_once('/').map_or("", |(path, _)| path);
        let container = Arc::clone(&file.container);
        let paths = &mut known.paths;
        let other = paths.entry(container).or_insert_with(|| path.to_owned());
        if other != path {
            return Err(request.incomplete(format!(
                "there are two folders of the class `{class}`, `{other}` and `{path}`: give them different names"
            )));
        }
        known.files.push(file);
    }
    if found.is_empty() {
        return Err(request.nothing_found());
    }
    let parts: Vec<Option<Part>> = found.values().map(|class| class.part).collect();
    let classes = found
        .into_iter()
        .map(|(name, class)| Ok((name, class.pictures()?)))
        .collect::<Result<Vec<ClassPictures>, DataError>>()?;
    let (split_name, split) = match request.class_split {
        Some(path) => ("file", listed_split(path, &classes)?),
        None if parts.iter().all(Option::is_some) => ("folders", split_of(&parts)),
        None if parts.iter().all(Option::is_none) => {
            let sizes = request.data_set.part_sizes(classes.len());
            (
                "seeded",
                seeded_split(classes.len(), sizes, request.seed, 0)?,
            )
        }
        None => {
            let outside = classes
                .iter()
                .zip(&parts)
                .filter(|(_, part)| part.is_none());
            return Err(request.incomplete(format!(
                "some classes are in train, val or test, others are not: {}",
                list_names(outside.map(|((name, _), _)| name), 3)
            )));
        }
    };
    let metadata = PackMetadata {
        name: request.pack_stem(),
        class_names: Vec::new(),
        splits: BTreeMap::from([(split_name.to_owned(), split)]),
        default_split: split_name.to_owned(),
        source: request.source(),
        licence: request.data_set.licence_note(),
        content_hash: String::new(),
        notes: BTreeMap::new(),
    };
    write_classes(request, &classes, shape, metadata)
}

/// The files found for a class.
#[derive(Default)]
struct ClassFolder {
    part: Option<Part>,
    /// Path of the class folder in each folder or archive that has it.
    paths: HashMap<Arc<Path>, String>,
    files: Vec<FoundFile>,
}

impl ClassFolder {
    /// The pictures, each once: a file may lie both in an archive and, unpacked, next to it.
    fn pictures(self) -> Result<Vec<Picture>, DataError> {
        if self.paths.len() == 1 {
            return Ok(self.files.into_iter().map(Picture::File).collect());
        }
        let mut by_name: BTreeMap<String, Vec<(Vec<u8>, FoundFile)>> = BTreeMap::new();
        for file in self.files {
            let content = file.read()?;
            let named = by_name.entry(file.name().to_owned()).or_default();
            if named.iter().all(|(other, _)| *other != content) {
                named.push((content, file));
            }
        }
        let files = by_name.into_values().flatten();
        Ok(files.map(|(_, file)| Picture::File(file)).collect())
    }
}

/// The part named by the nearest folder above the class folder; the searched folder or archive counts too, unless it is
/// the only one: with `--from train` alone, its name says nothing.
fn part_of(file: &FoundFile, from: &[PathBuf]) -> Option<Part> {
    let container = &*file.container;
    let only = matches!(from, [one] if one == container);
    let named = container
        .file_name()
        .filter(|_| !only && file.inner.contains('/'))
        .and_then(|name| name.to_str()?.split('.').next());
    let above = file.inner.rsplit('/').skip(2);
    above.chain(named).find_map(part_named)
}

fn part_named(name: &str) -> Option<Part> {
    match name.to_lowercase().as_str() {
        "train" => Some(Part::Train),
        "val" | "valid" | "validation" => Some(Part::Validation),
        "test" => Some(Part::Test),
        _ => None,
    }
}

fn split_of(parts: &[Option<Part>]) -> SplitScheme {
    let mut split = SplitScheme::default();
    for (class, part) in parts.iter().enumerate() {
        if let Some(part) = part {
            split.part_mut(*part).push(class);
        }
    }
    split
}

/// Reads a split from a CSV file that names every class once.
///
/// # Errors
/// If the file is not such a table, or its classes differ from the class folders.
fn listed_split(path: &Path, classes: &[ClassPictures]) -> Result<SplitScheme, DataError> {
    let bad = |problem: String| DataError::BadTable {
        path: path.to_path_buf(),
        problem,
    };
    let mut listed = HashMap::new();
    for (class, name) in two_columns(path, ["class", "split"])? {
        let part = part_named(&name).ok_or_else(|| {
            bad(format!(
                "has the split `{name}` for `{class}`, expected train, val or test"
            ))
        })?;
        if listed.insert(class.clone(), part).is_some() {
            return Err(bad(format!("names the class `{class}` twice")));
        }
    }
    let unlisted = classes
        .iter()
        .filter(|(name, _)| !listed.contains_key(name));
    let unlisted = unlisted.map(|(name, _)| name).collect::<Vec<_>>();
    if !unlisted.is_empty() {
        return Err(bad(format!(
            "assigns no part to these classes: {}",
            list_names(unlisted, 3)
        )));
    }
    let absent = listed
        .keys()
        .filter(|name| !classes.iter().any(|(class, _)| class == *name));
    let absent = absent.collect::<Vec<_>>();
    if !absent.is_empty() {
        return Err(bad(format!(
            "names classes that have no folder: {}",
            list_names(absent, 3)
        )));
    }
    let parts: Vec<Option<Part>> = classes
        .iter()
        .map(|(name, _)| listed.get(name).copied())
        .collect();
    Ok(split_of(&parts))
}

//! Any tree of class folders: `class/picture`, or `train/class/picture` and so on.
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::import::read::files::{FoundFile, find};
use crate::import::read::mapped::Scratch;
use crate::import::read::progress::Watch;
use crate::import::write::pictures::{
    ClassPictures, Picture, is_picture, searched, square, write_classes,
};
use crate::pack::error::{DataError, list_names};
use crate::pack::pack::PackMetadata;
use crate::pack::part::Part;
use crate::pack::splits::{PartSizes, SplitScheme, seeded_split};
use crate::pictures::tables::two_columns;

/// What to make of the pictures.
#[derive(Clone, Debug)]
pub struct FolderOptions {
    /// Name of the data set.
    pub name: String,
    /// Height and width in pixels.
    pub size: u32,
    /// 1 (grey) or 3 (colour).
    pub channels: usize,
    /// CSV file with the columns `class` and `split` (train, val, test).
    pub split: Option<PathBuf>,
    /// Seed of the shuffled split, where neither folders nor a file give one.
    pub seed: u64,
}

/// Imports every class folder below `from`, in folders or archives (zip, tar, tar.gz). The parts of the split come from
/// `options.split`; or from folders `train`, `val` or `validation`, and `test` above the class folders, or from several
/// archives or folders in `from` of such names; or else classes are shuffled by the seed and shared out 70/10/20.
///
/// # Errors
/// If an option is not possible, a file cannot be used, or the split does not fit; then no pack is left behind.
pub fn import_folders(
    from: &[PathBuf],
    output: &Path,
    options: &FolderOptions,
    watch: Watch<'_>,
) -> Result<(), DataError> {
    let shape = square(options.size, options.channels)?;
    let incomplete = |problem: String| DataError::Incomplete {
        data_set: "the tree of class folders",
        searched: searched(from),
        problem,
    };
    let mut found: BTreeMap<String, ClassFolder> = BTreeMap::new();
    for file in find(from, &Scratch::beside(output, watch), &is_picture)? {
        let Some(class) = file.folder_name() else {
            return Err(incomplete(format!(
                "{} lies in no folder, expected class/picture",
                file.display()
            )));
        };
        let part = part_of(&file, from);
        let known = found.entry(class.clone()).or_insert_with(|| ClassFolder {
            part,
            ..ClassFolder::default()
        });
        if known.part != part {
            let name = |part: Option<Part>| part.map_or("no part", Part::name);
            return Err(incomplete(format!(
                "class `{class}` lies in {} and in {}; a few-shot split shares out classes, not pictures",
                name(known.part),
                name(part)
            )));
        }
        let path = file.inner.rsplit_once('/').map_or("", |(path, _)| path);
        let container = Arc::clone(&file.container);
        let paths = &mut known.paths;
        let other = paths.entry(container).or_insert_with(|| path.to_owned());
        if other != path {
            return Err(incomplete(format!(
                "there are two folders of the class `{class}`, `{other}` and `{path}`: give them different names"
            )));
        }
        known.files.push(file);
    }
    if found.is_empty() {
        return Err(incomplete(
            "no JPEG or PNG found, expected class/picture, also in archives".to_owned(),
        ));
    }
    let parts: Vec<Option<Part>> = found.values().map(|class| class.part).collect();
    let classes = found
        .into_iter()
        .map(|(name, class)| Ok((name, class.pictures()?)))
        .collect::<Result<Vec<ClassPictures>, DataError>>()?;
    let (split_name, split) = match &options.split {
        Some(path) => ("file", listed_split(path, &classes)?),
        None if parts.iter().all(Option::is_some) => ("folders", split_of(&parts)),
        None if parts.iter().all(Option::is_none) => {
            let sizes = PartSizes::seventy_ten_twenty(classes.len());
            (
                "seeded",
                seeded_split(classes.len(), sizes, options.seed, 0)?,
            )
        }
        None => {
            let outside = classes
                .iter()
                .zip(&parts)
                .filter(|(_, part)| part.is_none());
            return Err(incomplete(format!(
                "some classes lie below train, val or test, others do not: {}",
                list_names(outside.map(|((name, _), _)| name), 3)
            )));
        }
    };
    let metadata = PackMetadata {
        name: options.name.clone(),
        class_names: Vec::new(),
        splits: BTreeMap::from([(split_name.to_owned(), split)]),
        default_split: split_name.to_owned(),
        source: searched(from),
        licence: "not known to the importer".to_owned(),
        content_hash: String::new(),
        notes: BTreeMap::new(),
    };
    write_classes(output, &classes, shape, metadata, watch)
}

/// What was found of a class.
#[derive(Default)]
struct ClassFolder {
    part: Option<Part>,
    /// Its path in each folder or archive that has it.
    paths: HashMap<Arc<Path>, String>,
    files: Vec<FoundFile>,
}

impl ClassFolder {
    /// Each picture once: the same may lie in an archive and unpacked beside it.
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

/// The part that a folder above the class folder names, the nearest one, be it the folder or archive that is searched.
/// Searched alone, that one's name says nothing: `--from train` may be all that there is.
fn part_of(file: &FoundFile, from: &[PathBuf]) -> Option<Part> {
    let container = &*file.container;
    let alone = matches!(from, [only] if only == container);
    let named = container
        .file_name()
        .filter(|_| !alone && file.inner.contains('/'))
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

/// The split that a CSV file gives; it names every class once.
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
            "does not say where these classes belong: {}",
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

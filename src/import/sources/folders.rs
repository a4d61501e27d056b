//! Class folders: `class/picture`, or `train/class/picture`, `val/…` and `test/…`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use unicode_normalization::UnicodeNormalization;

use crate::import::data_set::ImportRequest;
use crate::import::read::files::FoundFile;
use crate::import::read::mapped::Scratch;
use crate::import::read::search::find;
use crate::import::sources::class_folders::{ClassFolder, Wishes, class_folders};
use crate::import::sources::split_names::part_named;
use crate::import::write::pictures::{ClassPictures, Picture, square, write_classes};
use crate::pack::error::{DataError, list_names};
use crate::pack::pack::PackMetadata;
use crate::pack::part::Part;
use crate::pack::splits::{SplitScheme, seeded_split};
use crate::pictures::kinds::Kind;
use crate::pictures::tables::two_columns;

/// Imports every class folder in `request.from`, in folders or archives (zip, tar, tar.gz). The split comes from
/// `request.class_split`; or from folders such as `train`, `val` and `test` above the class folders, or archives and
/// folders of these names in `request.from`; otherwise classes are shuffled and divided 70/10/20.
pub(crate) fn import(request: &ImportRequest<'_>, scratch: &Scratch<'_>) -> Result<(), DataError> {
    let shape = square(request.size, request.channels)?;
    if request.class_level == Some(0) {
        return Err(DataError::InvalidOption {
            field: "class-level",
            value: "0".to_owned(),
            expected: "1 or more: the level of the class folders below those named with --from"
                .to_owned(),
        });
    }
    let files = find(request.from, scratch, &|_, kind| {
        matches!(kind, Kind::Picture | Kind::Foreign(_) | Kind::LfsPointer)
    })?;
    let wishes = Wishes {
        level: request.class_level,
        pooled: request.class_split.is_some(),
    };
    let found = class_folders(files, request.from, wishes)
        .map_err(|problem| request.incomplete(problem))?;
    if found.classes.is_empty() {
        return Err(request.nothing_found());
    }
    if let Some((file, class)) = &found.deeper {
        scratch
            .passed
            .assume(assumption(file, class, &found.classes));
    }
    let parts: Vec<Option<Part>> = found.classes.values().map(|class| class.part).collect();
    let mut classes: Vec<ClassPictures> = Vec::new();
    for (name, class) in found.classes {
        classes.push((name.clone(), pictures(name, class.files, request)?));
    }
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
                "some classes are in train, val or test, others are not: {}; put all into parts, or say with \
                 --class-level which folders are classes",
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

/// Says which folders are taken as classes, because pictures also lie deeper.
fn assumption(file: &str, class: &str, classes: &BTreeMap<String, ClassFolder>) -> String {
    format!(
        "classes are {}; what lies deeper belongs to them: `{file}` to `{class}`\nhint: if deeper folders are the \
         classes, say so with --class-level",
        list_names(classes.keys(), 5)
    )
}

/// The pictures of a class that can be read, each once: a file may lie both in an archive and, unpacked, next to it.
///
/// # Errors
/// If no picture is left, or a file cannot be read.
fn pictures(
    class: String,
    files: Vec<FoundFile>,
    request: &ImportRequest<'_>,
) -> Result<Vec<Picture>, DataError> {
    let (files, others): (Vec<FoundFile>, Vec<FoundFile>) = files
        .into_iter()
        .partition(|file| file.kind == Kind::Picture);
    if let (true, Some(other)) = (files.is_empty(), others.first()) {
        return Err(request.incomplete(format!(
            "class `{class}` has no picture that can be read: {} {}",
            other.display(),
            other.kind.problem().unwrap_or_default()
        )));
    }
    let container = |file: &FoundFile| (Arc::clone(&file.container), file.innermost);
    let containers: BTreeSet<_> = files.iter().map(container).collect();
    if containers.len() < 2 {
        return Ok(files.into_iter().map(Picture::File).collect());
    }
    let mut by_name: BTreeMap<String, Vec<(Vec<u8>, FoundFile)>> = BTreeMap::new();
    for file in files {
        let content = file.read()?;
        let named = by_name.entry(file.name().to_owned()).or_default();
        if named.iter().all(|(other, _)| *other != content) {
            named.push((content, file));
        }
    }
    let files = by_name.into_values().flatten();
    Ok(files.map(|(_, file)| Picture::File(file)).collect())
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
        let class: String = class.nfc().collect();
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

//! mini-ImageNet (Vinyals et al. 2016) in the split of Ravi and Larochelle (2017): 64/16/20 classes × 600 images.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::super::error::{DataError, list_names};
use super::super::pack::{PackMetadata, SplitScheme};
use super::super::splits::Part;
use super::files::{FoundFile, find};
use super::pictures::{ClassFiles, EXTENSIONS, Watch, searched, square, write_classes};
use super::tables::two_columns;

const IMAGES: usize = 600;
/// `part wnid`, in the order of the lists of Ravi and Larochelle (2017).
const CLASSES: &str = include_str!("mini_imagenet_ravi.txt");

/// Imports the 60,000 images, in class folders, or flat with the wnid at the start of their names, or flat with the lists
/// `train.csv`, `val.csv` and `test.csv` beside them; then only listed files are taken, in the lists' order.
///
/// # Errors
/// If the size is not possible, a file cannot be used, or anything is missing; then no pack is left behind.
pub fn import_mini_imagenet(
    from: &[PathBuf],
    output: &Path,
    size: u32,
    watch: Watch<'_>,
) -> Result<(), DataError> {
    let shape = square(size, 3)?;
    let (mut split, mut names) = (SplitScheme::default(), Vec::new());
    for (class, line) in CLASSES.lines().enumerate() {
        if let Some((part, wnid)) = line.split_once(' ') {
            split.part_mut(part.parse::<Part>()?).push(class);
            names.push(wnid);
        }
    }
    let classes = classes(from, &names)?;
    let metadata = PackMetadata {
        name: "mini-imagenet".to_owned(),
        class_names: Vec::new(),
        splits: BTreeMap::from([("ravi".to_owned(), split)]),
        default_split: "ravi".to_owned(),
        source: "mini-ImageNet, Vinyals et al. (NeurIPS 2016), classes of Ravi and Larochelle (ICLR 2017)"
            .to_owned(),
        licence: "ImageNet's terms: non-commercial research and education, no redistribution".to_owned(),
        content_hash: String::new(),
        notes: BTreeMap::new(),
    };
    write_classes(output, &classes, shape, metadata, watch)
}

/// The images of each class, checked to be 600.
fn classes(from: &[PathBuf], names: &[&str]) -> Result<Vec<ClassFiles>, DataError> {
    let incomplete = |problem: String| DataError::Incomplete {
        data_set: "mini-ImageNet",
        searched: searched(from),
        problem,
    };
    let listed = lists(from)?;
    let mut by_class: HashMap<String, Vec<FoundFile>> = HashMap::new();
    for file in find(from, &EXTENSIONS)? {
        let class = if listed.is_empty() {
            class_by_place(&file, names)
        } else {
            listed.get(file.name()).map(|(class, _)| class.clone())
        };
        if let Some(class) = class {
            by_class.entry(class).or_default().push(file);
        }
    }
    if by_class.is_empty() {
        return Err(incomplete(
            "no image of its 100 classes found; expected folders named by wnid (n01532829), or files whose names \
             start with one"
                .to_owned(),
        ));
    }
    names
        .iter()
        .map(|&name| {
            let mut files = by_class.remove(name).unwrap_or_default();
            // The same picture may lie in an archive and unpacked beside it.
            files.sort_by_key(|file| {
                let place = listed.get(file.name()).map_or(0, |&(_, place)| place);
                (place, file.name().to_owned())
            });
            files.dedup_by(|left, right| left.name() == right.name());
            if files.len() == IMAGES {
                return Ok((name.to_owned(), files));
            }
            let missing: Vec<&String> = listed
                .iter()
                .filter(|(_, (class, _))| class == name)
                .map(|(file, _)| file)
                .filter(|listed| !files.iter().any(|file| file.name() == *listed))
                .collect();
            let which = if missing.is_empty() {
                String::new()
            } else {
                format!("; missing: {}", list_names(missing, 3))
            };
            Err(incomplete(format!(
                "class {name} has {} images, expected {IMAGES}{which}",
                files.len()
            )))
        })
        .collect()
}

/// By the folder, or else by the wnid that the file's name starts with.
fn class_by_place(file: &FoundFile, names: &[&str]) -> Option<String> {
    let known = |name: &&str| names.contains(name);
    let folder = file.folder_name();
    folder
        .as_deref()
        .filter(known)
        .or_else(|| file.name().get(..9).filter(known))
        .map(str::to_owned)
}

/// Class and place of every file that lists in the given folders name; empty if there are no lists.
fn lists(from: &[PathBuf]) -> Result<HashMap<String, (String, usize)>, DataError> {
    let mut listed = HashMap::new();
    for file in find_lists(from) {
        for (name, class) in two_columns(&file, ["filename", "label"])? {
            let place = listed.len();
            listed.entry(name).or_insert((class, place));
        }
    }
    Ok(listed)
}

fn find_lists(from: &[PathBuf]) -> Vec<PathBuf> {
    ["train.csv", "val.csv", "test.csv"]
        .iter()
        .flat_map(|name| {
            from.iter().flat_map(move |path| {
                [path.join(name), path.join("csv").join(name)]
                    .into_iter()
                    .chain(path.ends_with(name).then(|| path.clone()))
            })
        })
        .filter(|path| path.is_file())
        .collect()
}

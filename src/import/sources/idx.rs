//! IDX files, the format of MNIST, EMNIST and Kuzushiji: `*-images-idx3-ubyte`, `*-labels-idx1-ubyte`, also gzipped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::import::data_set::ImportRequest;
use crate::import::read::files::{FoundFile, find, last};
use crate::import::read::mapped::{Scratch, Slice};
use crate::import::write::known::note_missing;
use crate::import::write::labelled::by_label;
use crate::import::write::pictures::{
    ClassPictures, Picture, PixelArray, PixelOrder, square, write_classes,
};
use crate::pack::error::{DataError, list_names};
use crate::pack::pack::PackMetadata;
use crate::pack::splits::seeded_split;

const IMAGES: &str = "-images-idx3-ubyte";
const LABELS: &str = "-labels-idx1-ubyte";
/// What follows the data set's name in the name of a file.
const SETS: [&str; 3] = ["train", "test", "t10k"];

/// EMNIST's sets (Cohen et al. 2017) as its files name them: classes, and numbers of training and test pictures.
const EMNIST: [(&str, usize, [usize; 2]); 6] = [
    ("emnist-balanced", 47, [112_800, 18_800]),
    ("emnist-byclass", 62, [697_932, 116_323]),
    ("emnist-bymerge", 47, [697_932, 116_323]),
    ("emnist-digits", 10, [240_000, 40_000]),
    ("emnist-letters", 26, [124_800, 20_800]),
    ("emnist-mnist", 10, [60_000, 10_000]),
];

/// Imports all pairs of image and label files of one data set. Training and test files are joined, because a few-shot
/// split divides classes, here 70/10/20 by the seed. EMNIST stores its images transposed; they are set upright.
pub(crate) fn import(request: &ImportRequest<'_>) -> Result<(), DataError> {
    let shape = square(request.size, 1)?;
    let scratch = Scratch::next_to(request.output, request.watch);
    let files = find(request.from, &scratch, &|inner| {
        let stem = stem(last(inner));
        stem.ends_with(IMAGES) || stem.ends_with(LABELS)
    })?;
    let files = once(&files)?;
    let mut sets: Vec<&str> = files.iter().map(|file| data_set(file)).collect();
    sets.sort_unstable();
    sets.dedup();
    let [set] = sets[..] else {
        return Err(request.incomplete(format!(
            "files of {}; expected *{IMAGES}[.gz] and *{LABELS}[.gz] of one data set: name its files with --from",
            list_names(sets, 10)
        )));
    };
    let upright = !set.starts_with("emnist");
    let mut notes = BTreeMap::from([
        ("split_seed".to_owned(), request.seed.to_string()),
        ("transposed".to_owned(), (!upright).to_string()),
    ]);
    let mut classes: BTreeMap<usize, Vec<Picture>> = BTreeMap::new();
    // Numbers of training and test pictures.
    let mut pictures = [0, 0];
    for images in files
        .iter()
        .filter(|file| stem(file.name()).ends_with(IMAGES))
    {
        let wanted = stem(images.name()).replace(IMAGES, LABELS);
        let labels = files
            .iter()
            .find(|file| stem(file.name()) == wanted && folder(file) == folder(images));
        let labels = labels.ok_or_else(|| {
            request.incomplete(format!(
                "{} has no `{wanted}` next to it: put both in one folder or archive",
                images.display()
            ))
        })?;
        let (pixels, dimensions) = read::<3>(images, &scratch)?;
        if on_dark_ground(pixels.as_ref(), dimensions[2]) {
            notes.insert("ink".to_owned(), "high (255), background 0".to_owned());
        }
        let array = Arc::new(PixelArray {
            pixels,
            height: dimensions[1],
            width: dimensions[2],
            order: if upright {
                PixelOrder::Grey
            } else {
                PixelOrder::GreyColumns
            },
        });
        let train = stem(images.name()).ends_with(&format!("train{IMAGES}"));
        pictures[usize::from(!train)] += dimensions[0];
        let (label_bytes, _) = read::<1>(labels, &scratch)?;
        let numbers: Vec<i64> = label_bytes
            .as_ref()
            .iter()
            .map(|&label| label.into())
            .collect();
        let labelled = by_label(&numbers, dimensions[0], |label| Ok(label.to_string()))
            .map_err(|problem| labels.bad(problem))?;
        for (_, numbers) in labelled {
            let label = label_bytes.as_ref()[numbers[0]];
            let pictures = classes.entry(label.into()).or_default();
            let numbers = numbers.into_iter();
            pictures.extend(numbers.map(|number| Picture::Pixels(Arc::clone(&array), number)));
        }
    }
    if let Some(fault) = emnist_fault(set, classes.len(), pictures) {
        note_missing(&mut notes, fault, request.partial)
            .map_err(|problem| request.incomplete(problem))?;
    }
    let classes: Vec<ClassPictures> = classes
        .into_iter()
        .map(|(label, pictures)| (label.to_string(), pictures))
        .collect();
    let sizes = request.data_set.part_sizes(classes.len());
    let split = seeded_split(classes.len(), sizes, request.seed, 0)?;
    let metadata = PackMetadata {
        name: request.pack_stem(),
        class_names: Vec::new(),
        splits: BTreeMap::from([("seeded".to_owned(), split)]),
        default_split: "seeded".to_owned(),
        source: request.source(),
        licence: request.data_set.licence_note(),
        content_hash: String::new(),
        notes,
    };
    write_classes(request, &classes, shape, metadata)
}

/// Numbers of an EMNIST set that differ from the published ones; `None` for other sets.
fn emnist_fault(set: &str, classes: usize, pictures: [usize; 2]) -> Option<String> {
    let (_, expected_classes, expected) = EMNIST.iter().find(|(name, ..)| *name == set)?;
    let [train, test] = pictures;
    let [expected_train, expected_test] = expected;
    let right = (classes, pictures) == (*expected_classes, *expected);
    (!right).then(|| {
        format!(
            "{set} has {classes} classes, {train} training and {test} test pictures, expected {expected_classes} classes, \
             {expected_train} and {expected_test} pictures"
        )
    })
}

/// Whether more than 90 % of the rows start with a dark pixel (below 64), as with light digits on a dark background.
fn on_dark_ground(pixels: &[u8], width: usize) -> bool {
    let first = pixels.iter().step_by(width.max(1));
    let (rows, dark) = first.fold((0, 0), |(rows, dark), &pixel| {
        (rows + 1, dark + usize::from(pixel < 64))
    });
    10 * dark > 9 * rows
}

/// The name without `.gz`.
fn stem(name: &str) -> &str {
    name.strip_suffix(".gz").unwrap_or(name)
}

/// The folder of a file, also inside an archive. A folder named like the file itself, as some tools unpack, is skipped.
fn folder(file: &FoundFile) -> PathBuf {
    let path = file.container.join(&file.inner);
    let folder = path.parent().unwrap_or(&path);
    let own = folder.ends_with(stem(file.name()));
    let folder = if own { folder.parent() } else { Some(folder) };
    folder.unwrap_or(Path::new("")).to_path_buf()
}

/// Each file once, if it lies both packed and unpacked in a folder.
///
/// # Errors
/// If a file name occurs in two folders: the labels of one data set could be paired with the images of another.
fn once(files: &[FoundFile]) -> Result<Vec<&FoundFile>, DataError> {
    let mut once: Vec<&FoundFile> = Vec::new();
    for file in files {
        let name = stem(file.name());
        match once.iter().find(|known| stem(known.name()) == name) {
            None => once.push(file),
            Some(known) if folder(known) == folder(file) => {}
            Some(known) => return Err(known.twice(file)),
        }
    }
    Ok(once)
}

/// `emnist-balanced` of `emnist-balanced-train-images-idx3-ubyte`; empty for MNIST's own.
fn data_set(file: &FoundFile) -> &str {
    let stem = stem(file.name());
    let stem = stem
        .strip_suffix(IMAGES)
        .or_else(|| stem.strip_suffix(LABELS))
        .unwrap_or(stem);
    let set = SETS.iter().find_map(|set| stem.strip_suffix(set));
    set.unwrap_or(stem).trim_end_matches('-')
}

/// Reads an IDX file of bytes in `N` dimensions: its content and the dimensions.
///
/// # Errors
/// If the header or the length is wrong.
fn read<const N: usize>(
    file: &FoundFile,
    scratch: &Scratch,
) -> Result<(Slice, [usize; N]), DataError> {
    let slice = file
        .map(scratch)?
        .gunzipped(scratch)
        .map_err(|error| file.bad(format!("could not be unpacked ({error}): fetch it again")))?;
    let bytes = slice.as_ref();
    let word = |place: usize| {
        let word = bytes.get(4 * place..4 * place + 4)?;
        Some(u32::from_be_bytes([word[0], word[1], word[2], word[3]]) as usize)
    };
    // Unsigned bytes of N dimensions.
    if word(0) != Some(0x0800 + N) {
        return Err(file.bad(format!(
            "is no IDX file of bytes in {N} dimensions: fetch it again"
        )));
    }
    let mut dimensions = [0; N];
    for (place, dimension) in dimensions.iter_mut().enumerate() {
        *dimension = word(place + 1).unwrap_or(0);
    }
    let expected = dimensions
        .iter()
        .try_fold(1_usize, |product, &side| product.checked_mul(side));
    let start = 4 * (N + 1);
    let found = bytes.len().saturating_sub(start);
    if expected != Some(found) || found == 0 {
        return Err(file.bad(format!(
            "has {found} bytes of content, expected {dimensions:?}: fetch it again"
        )));
    }
    let content = slice.part(start, found);
    Ok((content.unwrap_or(slice), dimensions))
}

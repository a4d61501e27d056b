//! Embeddings that someone computed before, as `.npz` files: what LEO-style experiments classify instead of images.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use ndarray::{Array1, Array2};
use ndarray_npy::{NpzReader, ReadNpyError, ReadNpzError};

use super::super::error::DataError;
use super::super::pack::{Element, ImageShape, PackMetadata, SplitScheme};
use super::super::pack_writer::PackWriter;
use super::super::splits::Part;

/// The parts and the files that hold them.
const FILES: [(Part, &str); 3] = [
    (Part::Train, "train.npz"),
    (Part::Validation, "val.npz"),
    (Part::Test, "test.npz"),
];

/// One part's vectors by label.
type Classes = BTreeMap<i64, Vec<Vec<f32>>>;

/// Imports `train.npz`, `val.npz` and `test.npz` of a folder, each with the arrays `embeddings`, `[N, D]` of f32 or f64,
/// and `labels`, `[N]` of i64 or i32. A label is a class of its part; classes are named `train/3`.
///
/// # Errors
/// If a file or array is missing, of another type, or of another length; then no pack is left behind.
pub fn import_embeddings(folder: &Path, output: &Path) -> Result<(), DataError> {
    let (mut split, mut names, mut classes) = (SplitScheme::default(), Vec::new(), Vec::new());
    let mut width = None;
    for (part, name) in FILES {
        let path = folder.join(name);
        for (label, vectors) in read(&path, &mut width)? {
            split.part_mut(part).push(classes.len());
            names.push(format!("{part}/{label}"));
            classes.push(vectors);
        }
    }
    let shape = ImageShape {
        height: 1,
        width: 1,
        channels: width.unwrap_or(0),
        element: Element::Float,
    };
    let name = output.file_stem().unwrap_or_default().to_string_lossy();
    let metadata = PackMetadata {
        name: name.into_owned(),
        class_names: names,
        splits: BTreeMap::from([("files".to_owned(), split)]),
        default_split: "files".to_owned(),
        source: format!("embeddings in `{}`", folder.display()),
        licence: "not known to the importer".to_owned(),
        content_hash: String::new(),
        notes: BTreeMap::new(),
    };
    let sizes: Vec<usize> = classes.iter().map(Vec::len).collect();
    let mut writer = PackWriter::create(output, shape, &sizes, metadata)?;
    for vector in classes.iter().flatten() {
        let bytes: Vec<u8> = vector
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        writer.push(&bytes)?;
    }
    writer.finish()
}

fn read(path: &PathBuf, width: &mut Option<usize>) -> Result<Classes, DataError> {
    let bad = |problem: String| DataError::BadArchive {
        path: path.clone(),
        problem,
    };
    let file = File::open(path).map_err(DataError::io("open", path))?;
    let mut archive = NpzReader::new(file)
        .map_err(|error| bad(format!("is no npz archive, or a damaged one ({error})")))?;
    let wrong = |array: &str, kinds: &str, error: &ReadNpzError| {
        bad(format!(
            "has no usable array `{array}`, expected {kinds} ({error})"
        ))
    };
    let embeddings: Array2<f32> = match archive.by_name("embeddings") {
        Err(ReadNpzError::Npy(ReadNpyError::WrongDescriptor(_))) => archive
            .by_name::<ndarray::OwnedRepr<f64>, _>("embeddings")
            .map(|wide| wide.mapv(|value| value as f32)),
        other => other,
    }
    .map_err(|error| wrong("embeddings", "[N, D] of f32 or f64", &error))?;
    let labels: Array1<i64> = match archive.by_name("labels") {
        Err(ReadNpzError::Npy(ReadNpyError::WrongDescriptor(_))) => archive
            .by_name::<ndarray::OwnedRepr<i32>, _>("labels")
            .map(|narrow| narrow.mapv(i64::from)),
        other => other,
    }
    .map_err(|error| wrong("labels", "[N] of i64 or i32", &error))?;
    let (count, length) = embeddings.dim();
    if labels.len() != count || count == 0 {
        let labels = labels.len();
        return Err(bad(format!(
            "has {count} embeddings and {labels} labels, expected as many, and some"
        )));
    }
    if *width.get_or_insert(length) != length {
        let expected = width.unwrap_or(0);
        return Err(bad(format!(
            "has embeddings of {length} numbers, expected {expected} as in train.npz"
        )));
    }
    if let Some(place) = embeddings.iter().position(|value| !value.is_finite()) {
        return Err(bad(format!(
            "has a number that is not finite in embedding {}",
            place / length
        )));
    }
    let mut classes = Classes::new();
    for (row, &label) in embeddings.outer_iter().zip(&labels) {
        classes.entry(label).or_default().push(row.to_vec());
    }
    Ok(classes)
}

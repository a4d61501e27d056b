//! Embeddings computed by another network, as numpy files or pickles. Experiments such as LEO's classify them instead
//! of images.

use std::collections::{BTreeMap, HashMap};

use crate::import::data_set::ImportRequest;
use crate::import::read::files::{FoundFile, find, last};
use crate::import::read::mapped::{Scratch, Slice};
use crate::import::read::numpy::{Array, Npz, read_npy};
use crate::import::read::pickle::Pickle;
use crate::import::write::known::part_files;
use crate::import::write::labelled::{Labelled, by_label};
use crate::import::write::pictures::{Outcome, write_pictures};
use crate::pack::error::DataError;
use crate::pack::pack::PackMetadata;
use crate::pack::part::Part;
use crate::pack::shape::{Element, ImageShape};
use crate::pack::splits::SplitScheme;
use crate::pack::writer::PackWriter;

/// Archives of the arrays `embeddings` and `labels`.
const NPZ: [&str; 3] = ["train.npz", "val.npz", "test.npz"];
/// Dicts with `embeddings` and `keys`, as Rusu et al. (2019) publish them; a key is `number-class-file`.
const LEO: [&str; 3] = [
    "train_embeddings.pkl",
    "val_embeddings.pkl",
    "test_embeddings.pkl",
];
/// Files of one array each.
const NPY: [&str; 3] = [
    "train_embeddings.npy",
    "val_embeddings.npy",
    "test_embeddings.npy",
];
const NPY_LABELS: [&str; 3] = ["train_labels.npy", "val_labels.npy", "test_labels.npy"];

/// The embeddings of one part.
struct Vectors {
    array: Array,
    bytes: Slice,
    classes: Labelled,
    part: Part,
}

/// Imports `embeddings`, `[N, D]` of f32 or f64, and `labels`, `[N]` of whole numbers, of train, val and test: from npz
/// files, LEO's pickles, or pairs of npy files. Each label of a part is a class; it is named `train/3`, or as the
/// `keys` of LEO's pickles say.
pub(crate) fn import(request: &ImportRequest<'_>) -> Result<(), DataError> {
    let scratch = Scratch::next_to(request.output, request.watch);
    let all = [NPZ, LEO, NPY, NPY_LABELS].concat();
    let files = find(request.from, &scratch, &|inner| all.contains(&last(inner)))?;
    let mut parts = Vec::new();
    for (names, read) in [
        (NPZ, read_npz as Read),
        (LEO, read_pickle),
        (NPY, read_npy_pair),
    ] {
        let mut missing = Vec::new();
        let Some(by_part) = part_files(&files, names, &mut missing)? else {
            continue;
        };
        if !missing.is_empty() {
            return Err(request.incomplete(missing.join("; ")));
        }
        for (part, file) in Part::ALL.into_iter().zip(by_part) {
            if let Some(file) = file {
                let (array, labels) = read(file, &files, &scratch)?;
                parts.push(check(part, file, array, labels, &scratch)?);
            }
        }
        break;
    }
    let Some(first) = parts.first() else {
        return Err(request.nothing_found());
    };
    let width = first.array.shape[1];
    for vectors in &parts {
        let found = vectors.array.shape[1];
        if found != width {
            return Err(request.incomplete(format!(
                "{} has embeddings of {found} numbers, expected {width} as in train",
                vectors.part
            )));
        }
    }
    write(request, &parts, width)
}

fn write(request: &ImportRequest<'_>, parts: &[Vectors], width: usize) -> Result<(), DataError> {
    let (mut split, mut names, mut sizes) = (SplitScheme::default(), Vec::new(), Vec::new());
    for vectors in parts {
        for (name, numbers) in &vectors.classes {
            split.part_mut(vectors.part).push(names.len());
            names.push(name.clone());
            sizes.push(numbers.len());
        }
    }
    let shape = ImageShape {
        height: 1,
        width: 1,
        channels: width,
        element: Element::Float,
    };
    let metadata = PackMetadata {
        name: request.pack_stem(),
        class_names: names,
        splits: BTreeMap::from([("files".to_owned(), split)]),
        default_split: "files".to_owned(),
        source: format!("embeddings in {}", request.searched()),
        licence: request.data_set.licence_note(),
        content_hash: String::new(),
        notes: BTreeMap::new(),
    };
    let mut writer = PackWriter::create(request.output, shape, &sizes, metadata)?;
    let mut rows: Vec<(&Vectors, usize)> = Vec::new();
    for vectors in parts {
        let numbers = vectors.classes.iter().flat_map(|(_, numbers)| numbers);
        rows.extend(numbers.map(|&number| (vectors, number)));
    }
    let bytes = |&(vectors, number): &(&Vectors, usize)| {
        let row = vectors.row(number).unwrap_or_default();
        let bytes = row.iter().flat_map(|value| value.to_le_bytes());
        Ok(Outcome::Pixels(bytes.collect()))
    };
    write_pictures(&rows, bytes, &mut writer, request.watch)?;
    writer.finish()
}

impl Vectors {
    fn row(&self, number: usize) -> Option<Vec<f32>> {
        let length = self.array.shape[1] * self.array.dtype.size;
        let bytes = self.bytes.as_ref().get(number * length..)?.get(..length)?;
        let row = self.array.floats(bytes);
        self.bytes.release(number * length, length);
        row
    }
}

/// Labels of the embeddings of a part.
struct Labels {
    numbers: Vec<i64>,
    /// Class names by number; empty if the file has none.
    names: Vec<String>,
}

type Read = fn(&FoundFile, &[FoundFile], &Scratch) -> Result<(Array, Labels), DataError>;

fn labels(file: &FoundFile, array: &Array) -> Result<Labels, DataError> {
    let numbers = array.integers().filter(|_| array.shape.len() == 1);
    let numbers = numbers.ok_or_else(|| {
        file.bad(format!(
            "has {array} under `labels`, expected whole numbers [N]"
        ))
    })?;
    Ok(Labels {
        numbers,
        names: Vec::new(),
    })
}

fn read_npz(
    file: &FoundFile,
    _: &[FoundFile],
    scratch: &Scratch,
) -> Result<(Array, Labels), DataError> {
    let npz = Npz::open(file, scratch)?;
    let labels = labels(file, &npz.array("labels", scratch)?)?;
    Ok((npz.array("embeddings", scratch)?, labels))
}

fn read_pickle(
    file: &FoundFile,
    _: &[FoundFile],
    scratch: &Scratch,
) -> Result<(Array, Labels), DataError> {
    let pickle = Pickle::open(file, scratch)?;
    let array = pickle.array("embeddings")?.clone();
    let Some(keys) = pickle.optional("keys")? else {
        let (numbers, names) = (pickle.integers("labels")?, Vec::new());
        return Ok((array, Labels { numbers, names }));
    };
    let keys = pickle
        .as_texts(keys)
        .ok_or_else(|| file.bad("has no list of texts under `keys`"))?;
    let mut labels = Labels {
        numbers: Vec::with_capacity(keys.len()),
        names: Vec::new(),
    };
    let mut known = HashMap::new();
    for key in &keys {
        let parts: Vec<&str> = key.split('-').collect();
        let &[_, class, _] = &parts[..] else {
            return Err(file.bad(format!("has the key `{key}`, expected number-class-file")));
        };
        let number = *known.entry(class).or_insert_with(|| {
            labels.names.push(class.to_owned());
            labels.names.len() as i64 - 1
        });
        labels.numbers.push(number);
    }
    Ok((array, labels))
}

fn read_npy_pair(
    file: &FoundFile,
    files: &[FoundFile],
    scratch: &Scratch,
) -> Result<(Array, Labels), DataError> {
    let wanted = file.name().replace("embeddings", "labels");
    let labels_file = files.iter().find(|other| other.name() == wanted);
    let labels_file =
        labels_file.ok_or_else(|| file.bad(format!("has no labels: there is no `{wanted}`")))?;
    let array =
        |file: &FoundFile| read_npy(&file.map(scratch)?).map_err(|problem| file.bad(problem));
    Ok((array(file)?, labels(labels_file, &array(labels_file)?)?))
}

/// Checks the arrays of one part and groups the embeddings by label.
fn check(
    part: Part,
    file: &FoundFile,
    array: Array,
    labels: Labels,
    scratch: &Scratch,
) -> Result<Vectors, DataError> {
    let count = match (&array.shape[..], array.dtype.kind, array.dtype.size) {
        (&[count, width], b'f', 4 | 8) if width > 0 => count,
        _ => {
            return Err(file.bad(format!(
                "has {array} under `embeddings`, expected float32 or float64 [N, D]"
            )));
        }
    };
    let Labels { numbers, names } = labels;
    if numbers.len() != count || count == 0 {
        let labels = numbers.len();
        return Err(file.bad(format!(
            "has {count} embeddings and {labels} labels, expected one label for each, and at least one"
        )));
    }
    let bytes = array.stored.mapped(scratch);
    let bytes = bytes.map_err(|error| file.bad(format!("could not be unpacked ({error})")))?;
    let name = |label: usize| {
        let known = names.get(label).cloned();
        Ok(known.unwrap_or_else(|| format!("{part}/{label}")))
    };
    let classes = by_label(&numbers, count, name).map_err(|problem| file.bad(problem))?;
    let vectors = Vectors {
        array,
        bytes,
        classes,
        part,
    };
    let finite = |number: &usize| {
        let row = vectors.row(*number);
        row.is_some_and(|row| row.iter().all(|value| value.is_finite()))
    };
    match (0..count).find(|number| !finite(number)) {
        Some(number) => Err(file.bad(format!(
            "has a number that is not finite in embedding {number}"
        ))),
        None => Ok(vectors),
    }
}

//! Pictures stored as arrays of pixels with one label each.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::import::read::files::FoundFile;
use crate::import::read::mapped::Scratch;
use crate::import::read::numpy::{Array, Dtype};
use crate::import::read::pickle::Pickle;
use crate::import::write::known::Found;
use crate::import::write::pictures::{Picture, PixelArray, PixelOrder};
use crate::pack::error::DataError;
use crate::pack::part::Part;

/// Classes by name, each with the indices of its pictures in the file.
pub(crate) type Labelled = Vec<(String, Vec<usize>)>;

/// The pixels of an array `[N, side, side, 3]` of bytes; `name` is the array's name in `file`, for messages.
///
/// # Errors
/// If the array has another type or shape.
pub(crate) fn pixel_array(
    file: &FoundFile,
    name: &str,
    array: &Array,
    (side, order): (usize, PixelOrder),
    scratch: &Scratch,
) -> Result<Arc<PixelArray>, DataError> {
    let expected = [side, side, 3];
    if array.dtype != Dtype::BYTE || array.shape.get(1..) != Some(&expected) {
        return Err(file.bad(format!(
            "has {array} under `{name}`, expected uint8 [N, {side}, {side}, 3]"
        )));
    }
    Ok(Arc::new(PixelArray {
        pixels: array.stored.mapped(scratch)?,
        height: side,
        width: side,
        order,
    }))
}

/// Groups picture indices by label, in ascending order of the labels.
///
/// # Errors
/// If there are not as many labels as pictures, a label is negative, or `class_name` rejects one; it then says what was
/// expected.
pub(crate) fn by_label(
    labels: &[i64],
    pictures: usize,
    class_name: impl Fn(usize) -> Result<String, String>,
) -> Result<Labelled, String> {
    if labels.len() != pictures {
        return Err(format!(
            "has {} labels for {pictures} pictures, expected one for each",
            labels.len()
        ));
    }
    let mut by_label: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (picture, &label) in labels.iter().enumerate() {
        by_label.entry(label).or_default().push(picture);
    }
    let named = |(label, numbers): (i64, Vec<usize>)| {
        let name = usize::try_from(label)
            .map_err(|_| "0 or more".to_owned())
            .and_then(&class_name)
            .map_err(|expected| {
                format!(
                    "has the label {label} for picture {}, expected {expected}",
                    numbers[0]
                )
            })?;
        Ok((name, numbers))
    };
    by_label.into_iter().map(named).collect()
}

/// Adds the pickles of Lee et al. (2019, MetaOptNet): dicts with `data`, `labels` and sometimes `catname2label`.
///
/// # Errors
/// If a file is not such a pickle.
pub(crate) fn add_metaoptnet(
    found: &mut Found,
    files: [Option<&FoundFile>; 3],
    side: usize,
    scratch: &Scratch,
) -> Result<(), DataError> {
    for (part, file) in Part::ALL.into_iter().zip(files) {
        let Some(file) = file else { continue };
        let pickle = Pickle::open(file, scratch)?;
        let array = pickle.array("data")?;
        let pixels = pixel_array(file, "data", array, (side, PixelOrder::Colour), scratch)?;
        let mut names = BTreeMap::new();
        if let Some(pairs) = pickle
            .optional("catname2label")?
            .and_then(|value| pickle.pairs(value))
        {
            for (name, label) in pairs {
                if let (Some(name), Some(label)) = (pickle.text(name), label.integer()) {
                    names.insert(label, name);
                }
            }
        }
        let name = |label: usize| {
            let known = names.get(&(label as i64)).cloned();
            Ok(known.unwrap_or_else(|| format!("{part}/{label}")))
        };
        let classes = by_label(&pickle.integers("labels")?, array.shape[0], name)
            .map_err(|problem| file.bad(problem))?;
        found.add_part(part, classes, |number| {
            Picture::Pixels(Arc::clone(&pixels), number)
        });
    }
    Ok(())
}

//! tieredImageNet (Ren et al. 2018): 351/97/160 classes of ILSVRC-2012, 779,165 images.

use std::collections::HashSet;
use std::sync::Arc;

use crate::import::data_set::ImportRequest;
use crate::import::read::files::{FoundFile, last};
use crate::import::read::mapped::Scratch;
use crate::import::read::numpy::{Dtype, Npz};
use crate::import::read::pickle::Pickle;
use crate::import::read::search::find;
use crate::import::write::known::{
    Found, KnownSplit, list, listed_classes, part_files, wnid, write_known,
};
use crate::import::write::labelled::{by_label, pixel_array};
use crate::import::write::pictures::{EncodedPictures, Picture, PixelOrder, is_picture};
use crate::pack::error::DataError;
use crate::pack::part::Part;

/// `part wnid`, in the order of the lists of Ren et al. (2018).
const SPLIT: KnownSplit = KnownSplit {
    name: "ren",
    classes: include_str!("tiered_imagenet_ren.txt"),
};
/// Height and width of the pictures in `*_images.npz`, in pixels.
const SIDE: usize = 84;
/// Lists of PNG files.
const ENCODED: [&str; 3] = [
    "train_images_png.pkl",
    "val_images_png.pkl",
    "test_images_png.pkl",
];
const PIXELS: [&str; 3] = ["train_images.npz", "val_images.npz", "test_images.npz"];
const LABELS: [&str; 3] = ["train_labels.pkl", "val_labels.pkl", "test_labels.pkl"];
/// Names of the pickles on Zenodo.
const ZENODO_ENCODED: [&str; 3] = [
    "tiered-imagenet-train_images_png.pkl",
    "tiered-imagenet-val_images_png.pkl",
    "tiered-imagenet-test_images_png.pkl",
];
const ZENODO_LABELS: [&str; 3] = [
    "tiered-imagenet-train_labels.pkl",
    "tiered-imagenet-val_labels.pkl",
    "tiered-imagenet-test_labels.pkl",
];

/// Imports the pickles of PNG files or the arrays of pixels that Ren et al. publish, with their labels; or files of
/// ILSVRC-2012, classed by the wnid of their folder, tar or file name. Pictures are read one by one where they are
/// stored, because the files are larger than memory.
pub(crate) fn import(request: &ImportRequest<'_>, scratch: &Scratch<'_>) -> Result<(), DataError> {
    let classes: HashSet<&str> = list(SPLIT.classes).map(|(_, name)| name).collect();
    let files = find(request.from, scratch, &|inner, _| {
        let name = last(inner);
        [ENCODED, ZENODO_ENCODED, PIXELS, LABELS, ZENODO_LABELS]
            .iter()
            .any(|names| names.contains(&name))
            || is_picture(inner) && wnid(inner).is_none_or(|wnid| classes.contains(wnid))
    })?;
    let mut found = Found::default();
    let mut images = None;
    for (names, label_names, add) in [
        (ENCODED, LABELS, add_encoded as Add),
        (ZENODO_ENCODED, ZENODO_LABELS, add_encoded),
        (PIXELS, LABELS, add_pixels),
    ] {
        // The first form found: programs of the field leave others next to it, often incomplete.
        if let Some(there) = part_files(&files, names, &mut found.faults)? {
            images = Some((there, label_names, add));
            break;
        }
    }
    if let Some((images, label_names, add)) = images {
        let labels = part_files(&files, label_names, &mut Vec::new())?.unwrap_or_default();
        for (index, part) in Part::ALL.into_iter().enumerate() {
            let Some(images) = images[index] else {
                continue;
            };
            let Some(labels) = labels[index] else {
                return Err(images.bad(format!(
                    "has no labels: `{}` should be next to it",
                    label_names[index]
                )));
            };
            add(&mut found, part, images, labels, scratch)?;
        }
    } else {
        add_files(&mut found, request, files)?;
    }
    write_known(request, SPLIT, found)
}

/// Adds the pictures of a part, given the file of pictures and the file of labels.
type Add = fn(&mut Found, Part, &FoundFile, &FoundFile, &Scratch) -> Result<(), DataError>;

fn add_files(
    found: &mut Found,
    request: &ImportRequest<'_>,
    files: Vec<FoundFile>,
) -> Result<(), DataError> {
    let class_of = |file: &FoundFile| {
        let folder = file.folder_name().unwrap_or_default();
        wnid(&format!("{folder}/{}", file.name())).map(str::to_owned)
    };
    found.classes = listed_classes(SPLIT.classes, files, class_of, |_| ());
    if found.classes.iter().all(|class| class.pictures.is_empty()) {
        return Err(request.nothing_found());
    }
    Ok(())
}

fn add_encoded(
    found: &mut Found,
    part: Part,
    images: &FoundFile,
    labels: &FoundFile,
    scratch: &Scratch,
) -> Result<(), DataError> {
    let pickle = Pickle::open(images, scratch)?;
    let items = pickle
        .items(pickle.root())
        .ok_or_else(|| images.bad("holds no list, expected one of PNG files as uint8 arrays"))?;
    let stored = |(number, item)| match pickle.as_array(item) {
        Some(array) if array.dtype == Dtype::BYTE => Ok(array.stored.clone()),
        other => {
            let found = other.map_or("something else".to_owned(), ToString::to_string);
            Err(images.bad(format!(
                "has {found} as picture {number}, expected a PNG file as a uint8 array"
            )))
        }
    };
    let pictures: Vec<_> = items
        .iter()
        .enumerate()
        .map(stored)
        .collect::<Result<_, _>>()?;
    let count = pictures.len();
    let file = images.display();
    let encoded = Arc::new(EncodedPictures { file, pictures });
    add_labelled(found, part, labels, count, scratch, &|number| {
        Picture::Encoded(Arc::clone(&encoded), number)
    })
}

fn add_pixels(
    found: &mut Found,
    part: Part,
    images: &FoundFile,
    labels: &FoundFile,
    scratch: &Scratch,
) -> Result<(), DataError> {
    let array = Npz::open(images, scratch)?.array("images", scratch)?;
    // OpenCV wrote them; programs that load these files reverse the channels.
    let order = PixelOrder::BlueFirst;
    let pixels = pixel_array(images, "images", &array, (SIDE, order), scratch)?;
    add_labelled(found, part, labels, array.shape[0], scratch, &|number| {
        Picture::Pixels(Arc::clone(&pixels), number)
    })
}

fn add_labelled(
    found: &mut Found,
    part: Part,
    labels: &FoundFile,
    pictures: usize,
    scratch: &Scratch,
    picture: &dyn Fn(usize) -> Picture,
) -> Result<(), DataError> {
    let pickle = Pickle::open(labels, scratch)?;
    let mut entry = "label_specific";
    let mut names = pickle
        .optional("label_specific_str")?
        .and_then(|names| pickle.as_texts(names));
    // The labels of the arrays are a file with `labels` only; those of validation and test do not start at 0.
    if pickle.optional(entry)?.is_none() && pickle.optional("labels")?.is_some() {
        (entry, names) = ("labels", None);
    }
    let name = |label: usize| match &names {
        None => Ok(format!("{part}/{label}")),
        Some(names) => names.get(label).cloned().ok_or_else(|| {
            format!(
                "less than {}, the number of `label_specific_str`",
                names.len()
            )
        }),
    };
    let classes = by_label(&pickle.integers(entry)?, pictures, name)
        .map_err(|problem| labels.bad(problem))?;
    found.add_part(part, classes, picture);
    Ok(())
}

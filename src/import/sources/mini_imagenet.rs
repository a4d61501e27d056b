//! mini-ImageNet (Vinyals et al. 2016) in the split of Ravi and Larochelle (2017): 64/16/20 classes × 600 images.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::import::data_set::ImportRequest;
use crate::import::read::files::{FoundFile, last};
use crate::import::read::mapped::Scratch;
use crate::import::read::pickle::Pickle;
use crate::import::read::search::find;
use crate::import::write::known::{
    Found, KnownSplit, listed_classes, part_files, wnid, write_known,
};
use crate::import::write::labelled::{add_metaoptnet, pixel_array};
use crate::import::write::pictures::{Picture, PixelOrder, is_picture};
use crate::pack::error::{DataError, list_names};
use crate::pack::part::Part;
use crate::pictures::tables::two_columns_of;

const SPLIT: KnownSplit = KnownSplit {
    name: "ravi",
    classes: include_str!("mini_imagenet_ravi.txt"),
};
/// Height and width of the pictures in pickles, in pixels.
const SIDE: usize = 84;
/// Dicts with `image_data` and `class_dict`, as Ren et al. (2018) publish them.
const CACHES: [&str; 3] = [
    "mini-imagenet-cache-train.pkl",
    "mini-imagenet-cache-val.pkl",
    "mini-imagenet-cache-test.pkl",
];
/// Pickles of Lee et al. (2019, MetaOptNet).
const METAOPTNET: [&str; 3] = [
    "miniImageNet_category_split_train_phase_train.pickle",
    "miniImageNet_category_split_val.pickle",
    "miniImageNet_category_split_test.pickle",
];

/// The lists of Ravi and Larochelle (2017): `filename,label`.
const LISTS: [&str; 3] = ["train.csv", "val.csv", "test.csv"];

/// Imports the 60,000 images from either kind of pickles, or from picture files. The class of a file is the wnid of its
/// folder or at the start of its name. If the lists `train.csv`, `val.csv` and `test.csv` name the files, only listed
/// files are taken, with the classes and the order of the lists.
pub(crate) fn import(request: &ImportRequest<'_>, scratch: &Scratch<'_>) -> Result<(), DataError> {
    let is_pickle = |inner: &str| {
        CACHES
            .iter()
            .chain(&METAOPTNET)
            .any(|name| last(inner) == *name)
    };
    let files = find(request.from, scratch, &|inner, _| {
        is_picture(inner) || is_pickle(inner) || LISTS.contains(&last(inner))
    })?;
    let mut found = Found::default();
    if let Some(caches) = part_files(&files, CACHES, &mut found.faults)? {
        for (part, file) in Part::ALL.into_iter().zip(caches) {
            if let Some(file) = file {
                add_cache(&mut found, part, file, scratch)?;
            }
        }
    } else if let Some(pickles) = part_files(&files, METAOPTNET, &mut found.faults)? {
        add_metaoptnet(&mut found, pickles, SIDE, scratch)?;
    } else {
        add_files(&mut found, request, files)?;
    }
    write_known(request, SPLIT, found)
}

fn add_cache(
    found: &mut Found,
    part: Part,
    file: &FoundFile,
    scratch: &Scratch,
) -> Result<(), DataError> {
    let pickle = Pickle::open(file, scratch)?;
    let array = pickle.array("image_data")?;
    let pixels = pixel_array(
        file,
        "image_data",
        array,
        (SIDE, PixelOrder::Colour),
        scratch,
    )?;
    let mut taken = vec![false; array.shape[0]];
    let no_dict = || file.bad("has no dict of names and numbers under `class_dict`");
    let pairs = pickle
        .pairs(pickle.entry("class_dict")?)
        .ok_or_else(no_dict)?;
    let mut classes = Vec::new();
    for (name, numbers) in pairs {
        let name = pickle.text(name).ok_or_else(no_dict)?;
        let mut places = Vec::new();
        for number in pickle.as_integers(numbers).ok_or_else(no_dict)? {
            let place = usize::try_from(number).ok();
            match place.and_then(|place| taken.get_mut(place)) {
                Some(taken) if !*taken => *taken = true,
                _ => {
                    return Err(file.bad(format!(
                        "names picture {number} for class `{name}`, expected each of 0 to {} once",
                        array.shape[0].saturating_sub(1)
                    )));
                }
            }
            places.extend(place);
        }
        classes.push((name, places));
    }
    found.add_part(part, classes, |number| {
        Picture::Pixels(Arc::clone(&pixels), number)
    });
    Ok(())
}

fn add_files(
    found: &mut Found,
    request: &ImportRequest<'_>,
    files: Vec<FoundFile>,
) -> Result<(), DataError> {
    let (lists, files): (Vec<_>, Vec<_>) = files
        .into_iter()
        .partition(|file| LISTS.contains(&file.name()));
    let mut listed = listed(&lists)?;
    // The lists may lie next to pictures with other names; then they are ignored.
    if !files.iter().any(|file| listed.contains_key(file.name())) {
        listed.clear();
    }
    let by_place = listed.is_empty();
    let class_of = |file: &FoundFile| {
        if by_place {
            // With `--from FOLDER` the folder's own name counts.
            let folder = file.folder_name().unwrap_or_default();
            wnid(&format!("{folder}/{}", file.name())).map(str::to_owned)
        } else {
            listed.get(file.name()).map(|(class, _)| class.clone())
        }
    };
    let order = |file: &FoundFile| listed.get(file.name()).map_or(0, |&(_, place)| place);
    found.classes = listed_classes(SPLIT.classes, files, class_of, order);
    if found.classes.iter().all(|class| class.pictures.is_empty()) {
        return Err(request.nothing_found());
    }
    for picture in found.classes.iter().flat_map(|class| &class.pictures) {
        if let Picture::File(file) = picture {
            listed.remove(file.name());
        }
    }
    if !listed.is_empty() {
        let mut missing: Vec<&String> = listed.keys().collect();
        missing.sort();
        found
            .faults
            .push(format!("missing: {}", list_names(missing, 3)));
    }
    Ok(())
}

/// Class and position of every file that the lists name: first those of `train.csv`, then `val.csv` and `test.csv`.
fn listed(lists: &[FoundFile]) -> Result<HashMap<String, (String, usize)>, DataError> {
    let mut listed = HashMap::new();
    for name in LISTS {
        for file in lists.iter().filter(|file| file.name() == name) {
            let rows = two_columns_of(
                &file.read()?,
                Path::new(&file.display()),
                ["filename", "label"],
            )?;
            for (name, class) in rows {
                let place = listed.len();
                listed.entry(name).or_insert((class, place));
            }
        }
    }
    Ok(listed)
}

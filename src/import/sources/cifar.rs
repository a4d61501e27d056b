//! CIFAR-FS (Bertinetto et al. 2019) and FC100 (Oreshkin et al. 2018): the 100 classes × 600 images of CIFAR-100
//! (Krizhevsky 2009), divided into parts by class or by superclass.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::import::data_set::ImportRequest;
use crate::import::read::files::{FoundFile, last};
use crate::import::read::mapped::Scratch;
use crate::import::read::numpy::Dtype;
use crate::import::read::pickle::Pickle;
use crate::import::read::search::find;
use crate::import::write::known::{Class, Found, KnownSplit, list, part_files, write_known};
use crate::import::write::labelled::{add_metaoptnet, by_label};
use crate::import::write::pictures::{Picture, PixelArray, PixelOrder};
use crate::pack::error::DataError;
use crate::pack::part::Part;

/// Height and width of the pictures in pixels.
const SIDE: usize = 32;
/// Files of the official archive that hold images, and their numbers of images.
const IMAGES: [(&str, usize); 2] = [("train", 50_000), ("test", 10_000)];
/// File of the official archive with the names of the classes.
const META: &str = "meta";
/// `part class`, the lists of Bertinetto et al. (2019).
const CIFAR_FS: &str = include_str!("cifar_fs.txt");

/// How CIFAR-100's classes are divided into parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Division {
    /// CIFAR-FS: 64/16/20 classes, drawn at random.
    CifarFs,
    /// FC100: 60/20/20 classes; the classes of a superclass are in one part.
    Fc100,
}

impl Division {
    fn split(self) -> KnownSplit {
        match self {
            Self::CifarFs => KnownSplit {
                name: "bertinetto",
                classes: CIFAR_FS,
            },
            Self::Fc100 => KnownSplit {
                name: "oreshkin",
                classes: "",
            },
        }
    }

    /// The part of a class, by its own name (CIFAR-FS) or that of its superclass (FC100).
    fn part(self, fine: &str, coarse: &str) -> Option<Part> {
        let (lines, name) = match self {
            Self::CifarFs => (CIFAR_FS, fine),
            Self::Fc100 => (include_str!("fc100.txt"), coarse),
        };
        list(lines)
            .find(|(_, listed)| *listed == name)
            .map(|(part, _)| part)
    }

    /// File names of the pickles of Lee et al. (2019, MetaOptNet): train, validation, test.
    fn pickles(self) -> [&'static str; 3] {
        match self {
            Self::CifarFs => [
                "CIFAR_FS_train.pickle",
                "CIFAR_FS_val.pickle",
                "CIFAR_FS_test.pickle",
            ],
            Self::Fc100 => [
                "FC100_train.pickle",
                "FC100_val.pickle",
                "FC100_test.pickle",
            ],
        }
    }
}

/// Imports CIFAR-FS from `cifar-100-python.tar.gz`, its files `train`, `test` and `meta`, or MetaOptNet's pickles.
pub(crate) fn import_cifar_fs(
    request: &ImportRequest<'_>,
    scratch: &Scratch<'_>,
) -> Result<(), DataError> {
    import(Division::CifarFs, request, scratch)
}

/// Imports FC100 from `cifar-100-python.tar.gz`, its files `train`, `test` and `meta`, or MetaOptNet's pickles.
pub(crate) fn import_fc100(
    request: &ImportRequest<'_>,
    scratch: &Scratch<'_>,
) -> Result<(), DataError> {
    import(Division::Fc100, request, scratch)
}

fn import(
    division: Division,
    request: &ImportRequest<'_>,
    scratch: &Scratch<'_>,
) -> Result<(), DataError> {
    let files = find(request.from, scratch, &|inner, _| {
        let name = last(inner);
        division.pickles().contains(&name) || [META, IMAGES[0].0, IMAGES[1].0].contains(&name)
    })?;
    let mut found = Found::default();
    if let Some(pickles) = part_files(&files, division.pickles(), &mut found.faults)? {
        add_metaoptnet(&mut found, pickles, SIDE, scratch)?;
    } else {
        let official = [IMAGES[0].0, IMAGES[1].0, META];
        let Some([train, test, meta]) = part_files(&files, official, &mut found.faults)? else {
            return Err(request.nothing_found());
        };
        let Some(meta) = meta else {
            let problem = "there is no `meta`, which names the classes".to_owned();
            return Err(request.incomplete(problem));
        };
        add_official(&mut found, division, [train, test], meta, scratch)?;
    }
    write_known(request, division.split(), found)
}

/// Names of classes and superclasses by label.
struct Names {
    fine: Vec<String>,
    coarse: Vec<String>,
}

impl Names {
    fn read(meta: &FoundFile, scratch: &Scratch) -> Result<Names, DataError> {
        let pickle = Pickle::open(meta, scratch)?;
        let names = |entry: &str, expected: usize| {
            let names: Option<Vec<String>> = pickle
                .items(pickle.entry(entry)?)
                .and_then(|names| names.iter().map(|name| pickle.text(name)).collect());
            names
                .filter(|names| names.len() == expected)
                .ok_or_else(|| meta.bad(format!("does not have {expected} names under `{entry}`")))
        };
        Ok(Names {
            fine: names("fine_label_names", 100)?,
            coarse: names("coarse_label_names", 20)?,
        })
    }
}

fn add_official(
    found: &mut Found,
    division: Division,
    files: [Option<&FoundFile>; 2],
    meta: &FoundFile,
    scratch: &Scratch,
) -> Result<(), DataError> {
    let names = Names::read(meta, scratch)?;
    let mut classes: BTreeMap<String, Class> = BTreeMap::new();
    for (file, (name, expected)) in files.into_iter().zip(IMAGES) {
        let Some(file) = file else { continue };
        let pickle = Pickle::open(file, scratch)?;
        let array = pickle.array("data")?;
        let count = array.shape[0];
        if array.dtype != Dtype::BYTE || array.shape[1..] != [3 * SIDE * SIDE] {
            return Err(file.bad(format!(
                "has {array} under `data`, expected uint8 [N, {}]",
                3 * SIDE * SIDE
            )));
        }
        if count != expected {
            found
                .faults
                .push(format!("`{name}` has {count} images, expected {expected}"));
        }
        let pixels = Arc::new(PixelArray {
            pixels: array.stored.mapped(scratch)?,
            height: SIDE,
            width: SIDE,
            order: PixelOrder::ColourPlanes,
        });
        let coarse = pickle.integers("coarse_labels")?;
        let class_name = |label: usize| {
            let known = names.fine.get(label).cloned();
            known.ok_or_else(|| "0 to 99".to_owned())
        };
        let labelled = by_label(&pickle.integers("fine_labels")?, count, class_name)
            .map_err(|problem| file.bad(problem))?;
        for (name, numbers) in labelled {
            let superclass = numbers.first().and_then(|&number| coarse.get(number));
            let superclass =
                superclass.and_then(|&label| names.coarse.get(usize::try_from(label).ok()?));
            let part = superclass.and_then(|superclass| division.part(&name, superclass));
            let Some(part) = part else {
                return Err(file.bad(format!(
                    "has the class `{name}` in the superclass `{}`, which the split does not list",
                    superclass.map_or("none", String::as_str)
                )));
            };
            let class = classes.entry(name.clone()).or_insert_with(|| Class {
                part,
                name,
                pictures: Vec::new(),
            });
            let numbers = numbers.into_iter();
            class
                .pictures
                .extend(numbers.map(|number| Picture::Pixels(Arc::clone(&pixels), number)));
        }
    }
    found.classes.extend(classes.into_values());
    Ok(())
}

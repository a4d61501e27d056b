//! CIFAR-FS (Bertinetto et al. 2019) and FC100 (Oreshkin et al. 2018): the 100 classes × 600 images of CIFAR-100
//! (Krizhevsky 2009), shared out by class or by superclass.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::import::read::files::{FoundFile, find, last};
use crate::import::read::mapped::Scratch;
use crate::import::read::numpy::Dtype;
use crate::import::read::pickle::Pickle;
use crate::import::write::known::{Class, Found, Images, Known, KnownOptions, list, part_files};
use crate::import::write::labelled::{add_metaoptnet, by_label};
use crate::import::write::pictures::{Picture, PixelArray, PixelOrder};
use crate::pack::error::DataError;
use crate::pack::part::Part;

/// Height and width.
const SIDE: usize = 32;
/// The files of the official archive that hold images, and how many.
const IMAGES: [(&str, usize); 2] = [("train", 50_000), ("test", 10_000)];
const META: &str = "meta";
const SOURCE_LICENCE: &str = "none stated; CIFAR-100 asks for citation of Krizhevsky (2009)";

/// How the classes are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CifarSplit {
    /// 64/16/20 classes at random.
    CifarFs,
    /// 60/20/20 classes; a superclass is in one part only.
    Fc100,
}

impl CifarSplit {
    pub(crate) fn known(self) -> Known {
        match self {
            Self::CifarFs => Known {
                name: "cifar-fs",
                title: "CIFAR-FS",
                split: "bertinetto",
                classes: [64, 16, 20],
                images: Images::EachClass(600),
                list: include_str!("cifar_fs.txt"),
                source: "CIFAR-FS, Bertinetto et al. (ICLR 2019), from CIFAR-100, Krizhevsky (2009)",
                licence: SOURCE_LICENCE,
            },
            Self::Fc100 => Known {
                name: "fc100",
                title: "FC100",
                split: "oreshkin",
                classes: [60, 20, 20],
                images: Images::EachClass(600),
                list: "",
                source: "FC100, Oreshkin et al. (NeurIPS 2018), from CIFAR-100, Krizhevsky (2009)",
                licence: SOURCE_LICENCE,
            },
        }
    }

    /// The part of a class, by its name or that of its superclass.
    fn part(self, fine: &str, coarse: &str) -> Option<Part> {
        let (lines, name) = match self {
            Self::CifarFs => (include_str!("cifar_fs.txt"), fine),
            Self::Fc100 => (include_str!("fc100.txt"), coarse),
        };
        list(lines)
            .find(|(_, listed)| *listed == name)
            .map(|(part, _)| part)
    }

    /// The pickles of Lee et al. (2019, MetaOptNet).
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

/// Imports `cifar-100-python.tar.gz` or its files `train`, `test` and `meta`; or the three pickles of MetaOptNet.
///
/// # Errors
/// If the size is not possible, a file cannot be used, or anything is missing; then no pack is left behind.
pub fn import_cifar(
    split: CifarSplit,
    from: &[PathBuf],
    output: &Path,
    options: KnownOptions<'_>,
) -> Result<(), DataError> {
    let (known, scratch) = (split.known(), Scratch::beside(output, options.watch));
    let files = find(from, &scratch, &|inner| {
        let name = last(inner);
        split.pickles().contains(&name) || [META, IMAGES[0].0, IMAGES[1].0].contains(&name)
    })?;
    let mut found = Found::default();
    if let Some(pickles) = part_files(&files, split.pickles(), &mut found.faults)? {
        add_metaoptnet(&mut found, pickles, SIDE, &scratch)?;
    } else {
        let official = [IMAGES[0].0, IMAGES[1].0, META];
        let Some([train, test, meta]) = part_files(&files, official, &mut found.faults)? else {
            let problem = format!(
                "nothing of it found; expected cifar-100-python.tar.gz or its files train, test and meta, or {}",
                split.pickles().join(", ")
            );
            return Err(known.incomplete(from, problem));
        };
        let Some(meta) = meta else {
            let problem = "there is no `meta`, which names the classes".to_owned();
            return Err(known.incomplete(from, problem));
        };
        add_official(&mut found, split, [train, test], meta, &scratch)?;
    }
    known.write(from, output, found, options)
}

/// Class names by label.
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
    split: CifarSplit,
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
        let pixels = array.stored.mapped(scratch);
        let pixels = Arc::new(PixelArray {
            pixels: pixels.map_err(DataError::io("unpack", Path::new(&file.display())))?,
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
            let above = numbers.first().and_then(|&number| coarse.get(number));
            let above = above.and_then(|&label| names.coarse.get(usize::try_from(label).ok()?));
            let part = above.and_then(|above| split.part(&name, above));
            let Some(part) = part else {
                return Err(file.bad(format!(
                    "has the class `{name}` below the superclass `{}`, which the split does not have",
                    above.map_or("none", String::as_str)
                )));
            };
            let class = classes.entry(name.clone()).or_insert_with(|| Class {
                part,
                name,
                pictures: Vec::new(),
            });
            let of_file = numbers.into_iter();
            class
                .pictures
                .extend(of_file.map(|number| Picture::Pixels(Arc::clone(&pixels), number)));
        }
    }
    found.classes.extend(classes.into_values());
    Ok(())
}

//! Caltech-UCSD Birds-200-2011 (Wah et al. 2011): 200 classes, 11,788 photographs.
use std::path::{Path, PathBuf};

use crate::import::read::files::{FoundFile, find, has_extension};
use crate::import::read::mapped::Scratch;
use crate::import::write::known::{Found, Images, Known, KnownOptions, listed_classes};
use crate::pack::error::DataError;

pub(crate) const KNOWN: Known = Known {
    name: "cub",
    title: "CUB-200-2011",
    split: "easyfsl",
    classes: [140, 30, 30],
    images: Images::All(11_788),
    list: CLASSES,
    source: "Caltech-UCSD Birds-200-2011, Wah et al. (2011); classes as easyfsl splits them",
    licence: "non-commercial research and education; the photographs belong to their authors",
};
/// `part NNN.Class`, the lists of easyfsl.
const CLASSES: &str = include_str!("cub_easyfsl.txt");

/// Imports `CUB_200_2011.tgz` or what was unpacked from it: `images/NNN.Class/*.jpg`.
///
/// # Errors
/// If the size is not possible, a file cannot be used, or anything is missing; then no pack is left behind.
pub fn import_cub(
    from: &[PathBuf],
    output: &Path,
    options: KnownOptions<'_>,
) -> Result<(), DataError> {
    let scratch = Scratch::beside(output, options.watch);
    // Segmentation masks lie in folders of the same names, as PNG.
    let files = find(from, &scratch, &|inner| has_extension(inner, &["jpg"]))?;
    let found = Found {
        classes: listed_classes(CLASSES, files, FoundFile::folder_name, |_| ()),
        faults: Vec::new(),
    };
    KNOWN.write(from, output, found, options)
}

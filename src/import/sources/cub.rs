//! Caltech-UCSD Birds-200-2011 (Wah et al. 2011): 200 classes, 11,788 photographs.

use crate::import::data_set::ImportRequest;
use crate::import::read::files::{FoundFile, has_extension};
use crate::import::read::mapped::Scratch;
use crate::import::read::search::find;
use crate::import::write::known::{Found, KnownSplit, listed_classes, write_known};
use crate::pack::error::DataError;

const SPLIT: KnownSplit = KnownSplit {
    name: "easyfsl",
    classes: include_str!("cub_easyfsl.txt"),
};

/// Imports `CUB_200_2011.tgz` or its unpacked files `images/NNN.Class/*.jpg`.
pub(crate) fn import(request: &ImportRequest<'_>, scratch: &Scratch<'_>) -> Result<(), DataError> {
    // Segmentation masks are PNG files in folders of the same names.
    let files = find(request.from, scratch, &|inner, _| {
        has_extension(inner, &["jpg"])
    })?;
    let found = Found {
        classes: listed_classes(SPLIT.classes, files, FoundFile::folder_name, |_| ()),
        faults: Vec::new(),
    };
    write_known(request, SPLIT, found)
}

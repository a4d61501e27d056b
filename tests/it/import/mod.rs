//! Imports: archives as they come, whole, damaged or incomplete.

mod catalog_table;
pub(crate) mod embeddings;
mod folders;
mod idx;
mod layouts;
mod omniglot;
mod searching;

use std::path::{Path, PathBuf};

use hypertransformer::import::catalog;
use hypertransformer::import::data_set::ImportRequest;
use hypertransformer::pack::pack::Pack;
use hypertransformer::pack::part::Part;

/// A request with the defaults of the data set.
pub(crate) fn request<'a>(name: &str, from: &'a [PathBuf], output: &'a Path) -> ImportRequest<'a> {
    ImportRequest::new(catalog::by_name(name).unwrap(), from, output, &|_| true)
}

/// Names of the classes of a part in the default split.
fn class_names(pack: &Pack, part: Part) -> Vec<&str> {
    let scheme = &pack.metadata().default_split;
    let classes = pack.split(scheme, part).unwrap();
    let name = |&class: &usize| pack.metadata().class_names[class].as_str();
    classes.iter().map(name).collect()
}

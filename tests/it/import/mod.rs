//! Imports: archives as they come, whole, damaged or incomplete.

mod embeddings;
mod folders;
mod idx;
mod omniglot;
use hypertransformer::pack::pack::Pack;
use hypertransformer::pack::part::Part;

/// Of a part in the default split.
fn class_names(pack: &Pack, part: Part) -> Vec<&str> {
    let scheme = &pack.metadata().default_split;
    let classes = pack.split(scheme, part).unwrap();
    let name = |&class: &usize| pack.metadata().class_names[class].as_str();
    classes.iter().map(name).collect()
}

//! Checks a whole pack: content hash, completeness, identical images.

use std::collections::HashMap;

use crate::import::catalog::DATA_SETS;
use crate::import::data_set::DataSet;
use crate::pack::error::DataError;
use crate::pack::intact::check_contents;
use crate::pack::pack::{PARTIAL, Pack};
use crate::pack::part::Part;
use crate::pack::shape::Element;
use crate::pictures::blank::is_blank;

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// Number of images.
    pub images: usize,
    /// Pairs of byte-identical images.
    pub duplicates: Duplicates,
    /// Number of such pairs whose classes are in different parts of the default split. Classes in no part do not count.
    pub duplicates_across_parts: usize,
    /// Images of bytes that show nothing, by index.
    pub blank: Vec<usize>,
}

/// Pairs of images, by index. All are counted but only the first are stored: 2,000 blank images make 2 million pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicates {
    count: usize,
    first: Vec<(usize, usize)>,
}

/// How many pairs are stored.
const STORED_PAIRS: usize = 1000;

impl Duplicates {
    /// Number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first 1000 pairs.
    pub fn iter(&self) -> std::slice::Iter<'_, (usize, usize)> {
        self.first.iter()
    }
}

/// Reads all of a pack and checks it against its content hash and the catalogue.
///
/// # Errors
/// If the content differs from its hash, or a data set of known contents is incomplete and its notes do not say so.
pub fn verify(pack: &Pack) -> Result<VerifyReport, DataError> {
    check_contents(pack)?;
    let (path, metadata) = (pack.path().to_path_buf(), pack.metadata());
    let found = (pack.class_count(), pack.image_count());
    let named = DATA_SETS
        .iter()
        .find(|data_set| data_set.name == metadata.name);
    let known = named.and_then(DataSet::counts);
    if let Some((classes, images)) = known.filter(|_| !metadata.notes.contains_key(PARTIAL))
        && found != (classes, images)
    {
        return Err(DataError::NotTheKnownDataSet {
            path,
            name: metadata.name.clone(),
            found: format!("{} classes, {} images", found.0, found.1),
            expected: format!("{classes} classes, {images} images"),
        });
    }
    let part_of = |image: usize| {
        let split = metadata.splits.get(&metadata.default_split)?;
        let class = pack.class_of(image);
        let mut parts = Part::ALL.into_iter();
        parts.find(|&part| split.part(part).contains(&class))
    };
    let (groups, blank) = identical_and_blank(pack);
    let across = |group: &Vec<usize>| {
        let mut per_part = [0; 3];
        for part in group.iter().filter_map(|&image| part_of(image)) {
            per_part[part as usize] += 1;
        }
        let within: usize = per_part.into_iter().map(pairs).sum();
        pairs(per_part.into_iter().sum()) - within
    };
    let all = groups.iter().flat_map(|group| pairs_of(group));
    Ok(VerifyReport {
        images: pack.image_count(),
        duplicates: Duplicates {
            count: groups.iter().map(|group| pairs(group.len())).sum(),
            first: all.take(STORED_PAIRS).collect(),
        },
        duplicates_across_parts: groups.iter().map(across).sum(),
        blank,
    })
}

/// Groups of identical images, each in ascending order, and the blank ones.
fn identical_and_blank(pack: &Pack) -> (Vec<Vec<usize>>, Vec<usize>) {
    let mut by_hash: HashMap<[u8; 32], Vec<usize>> = HashMap::new();
    let mut blank = Vec::new();
    for image in 0..pack.image_count() {
        let values = pack.image(image);
        let hash = blake3::hash(values);
        by_hash.entry(*hash.as_bytes()).or_default().push(image);
        if pack.shape().element == Element::Byte && is_blank(values) {
            blank.push(image);
        }
    }
    let mut groups: Vec<_> = by_hash.into_values().collect();
    groups.retain(|group| group.len() > 1);
    groups.sort_unstable();
    (groups, blank)
}

/// Number of pairs among `images` images.
fn pairs(images: usize) -> usize {
    images * images.saturating_sub(1) / 2
}

fn pairs_of(group: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    group.iter().enumerate().flat_map(move |(place, &one)| {
        let later = group[place + 1..].iter();
        later.map(move |&other| (one, other))
    })
}

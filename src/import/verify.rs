//! Reads a whole pack and says whether it is what it claims to be.
use std::collections::HashMap;

use crate::import::known_counts;
use crate::pack::error::DataError;
use crate::pack::pack::Pack;
use crate::pack::part::Part;

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// Images read.
    pub images: usize,
    /// Byte-identical pairs of images, all of them.
    pub twins: Twins,
    /// Of these, pairs whose classes lie in different parts of the default split. A class in no part is in no other.
    pub twins_across_parts: usize,
}

/// Pairs of images, by index. Two thousand blank ones are two million pairs: all are counted, the first are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twins {
    count: usize,
    first: Vec<(usize, usize)>,
}

/// Pairs that are held: more than anyone reads.
const MOST_HELD: usize = 1000;

impl Twins {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no two images are alike.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first 1000 of them.
    pub fn iter(&self) -> std::slice::Iter<'_, (usize, usize)> {
        self.first.iter()
    }
}

/// # Errors
/// If the content differs from its hash, or a known data set is not complete.
pub fn verify(pack: &Pack) -> Result<VerifyReport, DataError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(pack.image_bytes());
    hasher.update(&0i64.to_le_bytes());
    for class in 0..pack.class_count() {
        hasher.update(&(pack.class_range(class).end as i64).to_le_bytes());
    }
    let (path, metadata) = (pack.path().to_path_buf(), pack.metadata());
    let found = hasher.finalize().to_hex().to_string();
    if found != metadata.content_hash {
        return Err(DataError::HashMismatch {
            path,
            expected: metadata.content_hash.clone(),
            found,
        });
    }
    let found = (pack.class_count(), pack.image_count());
    let known = known_counts(&metadata.name);
    if let Some((classes, images)) = known.filter(|_| !metadata.notes.contains_key("partial"))
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
    let groups = identical(pack);
    let across = |group: &Vec<usize>| {
        let mut of_parts = [0; 3];
        for part in group.iter().filter_map(|&image| part_of(image)) {
            of_parts[part as usize] += 1;
        }
        let within: usize = of_parts.into_iter().map(pairs).sum();
        pairs(of_parts.into_iter().sum()) - within
    };
    let all = groups.iter().flat_map(|group| pairs_of(group));
    Ok(VerifyReport {
        images: pack.image_count(),
        twins: Twins {
            count: groups.iter().map(|group| pairs(group.len())).sum(),
            first: all.take(MOST_HELD).collect(),
        },
        twins_across_parts: groups.iter().map(across).sum(),
    })
}

/// Images of which there are several alike, each group in order.
fn identical(pack: &Pack) -> Vec<Vec<usize>> {
    let mut by_hash: HashMap<[u8; 32], Vec<usize>> = HashMap::new();
    for image in 0..pack.image_count() {
        let hash = blake3::hash(pack.image(image));
        by_hash.entry(*hash.as_bytes()).or_default().push(image);
    }
    let mut groups: Vec<_> = by_hash.into_values().collect();
    groups.retain(|group| group.len() > 1);
    groups.sort_unstable();
    groups
}

/// How many pairs so many images make.
fn pairs(images: usize) -> usize {
    images * images.saturating_sub(1) / 2
}

fn pairs_of(group: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    group.iter().enumerate().flat_map(move |(place, &one)| {
        let later = group[place + 1..].iter();
        later.map(move |&other| (one, other))
    })
}

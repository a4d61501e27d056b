//! Reads a whole pack and says whether it is what it claims to be.

use std::collections::HashMap;

use super::error::DataError;
use super::import::known_counts;
use super::pack::{Pack, Part};

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// Images read.
    pub images: usize,
    /// Byte-identical pairs of images, by index.
    pub twins: Vec<(usize, usize)>,
    /// Of these, pairs whose classes lie in different parts of the default split.
    pub twins_across_parts: usize,
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
    let twins = twins(pack);
    let part_of = |image: usize| {
        let split = metadata.splits.get(&metadata.default_split)?;
        let class = pack.class_of(image);
        let mut parts = Part::ALL.into_iter();
        parts.find(|&part| split.part(part).contains(&class))
    };
    let twins_across_parts = twins
        .iter()
        .filter(|&&(left, right)| part_of(left) != part_of(right))
        .count();
    Ok(VerifyReport {
        images: pack.image_count(),
        twins,
        twins_across_parts,
    })
}

fn twins(pack: &Pack) -> Vec<(usize, usize)> {
    let mut seen = HashMap::new();
    (0..pack.image_count())
        .filter_map(|image| {
            let earlier = seen.insert(*blake3::hash(pack.image(image)).as_bytes(), image)?;
            Some((earlier, image))
        })
        .collect()
}

//! Episodes by their image indices, as one safetensors file that any language reads: for rivals on the same episodes.
//!
//! `classes` i64 `[E, n]` (pack class of each slot, distractors last), `support` and `query` i64 `[E, N]` and `[E, Q]`
//! (image indices in the pack), `support_labels` and `query_labels` i64 alike (class slots; n for an unlabelled image),
//! and in the file's metadata under `episodes` a JSON object that says how they were drawn.
use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use crate::base::atomic;
use crate::episode::episode::{EpisodePlan, Sample};
use crate::episode::sampler::EpisodeSampler;
use crate::pack::error::DataError;

/// Key of the JSON object in the file's metadata.
const METADATA_KEY: &str = "episodes";

/// Writes episodes 0 … `episodes` of `sampler`, whole or not at all.
///
/// # Errors
/// What the operating system says.
pub fn write_episode_list(
    path: &Path,
    sampler: &EpisodeSampler,
    episodes: u64,
) -> Result<(), DataError> {
    let plans: Vec<EpisodePlan> = (0..episodes).map(|index| sampler.plan(index)).collect();
    let way = sampler.shape().way;
    let image = |sample: &Sample| sample.image;
    let label = |sample: &Sample| if sample.labeled { sample.slot } else { way };
    let columns = [
        ("classes", rows(&plans, |plan| plan.classes.clone())),
        (
            "support",
            rows(&plans, |plan| plan.support.iter().map(image).collect()),
        ),
        (
            "support_labels",
            rows(&plans, |plan| plan.support.iter().map(label).collect()),
        ),
        (
            "query",
            rows(&plans, |plan| plan.query.iter().map(image).collect()),
        ),
        (
            "query_labels",
            rows(&plans, |plan| plan.query.iter().map(label).collect()),
        ),
    ];
    let count = plans.len();
    let views = columns.iter().map(|(name, bytes)| {
        let shape = vec![count, bytes.len() / 8 / count.max(1)];
        let view = TensorView::new(Dtype::I64, shape, bytes).expect("whole rows of i64");
        (*name, view)
    });
    let metadata = HashMap::from([(METADATA_KEY.to_owned(), facts(sampler, count).to_string())]);
    let bytes = safetensors::serialize(views, Some(metadata)).expect("names differ");
    atomic::write(path, &bytes).map_err(DataError::io("write", path))
}

/// The same of each episode, little-endian, one row after the other.
fn rows(plans: &[EpisodePlan], of: impl Fn(&EpisodePlan) -> Vec<usize>) -> Vec<u8> {
    plans
        .iter()
        .flat_map(of)
        .flat_map(|value| (value as i64).to_le_bytes())
        .collect()
}

fn facts(sampler: &EpisodeSampler, episodes: usize) -> serde_json::Value {
    let (shape, metadata) = (sampler.shape(), sampler.pack().metadata());
    json!({
        "pack": metadata.name,
        "pack_content_hash": metadata.content_hash,
        "scheme": sampler.scheme(),
        "split": sampler.part(),
        "seed": sampler.seed(),
        "episodes": episodes,
        "way": shape.way,
        "shot": shape.shot,
        "unlabeled": shape.unlabeled,
        "distractors": shape.distractors,
        "query": shape.query,
        "query_sampling": sampler.draw().query_sampling,
    })
}

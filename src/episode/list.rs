//! Exports episodes as image indices in one safetensors file, so that other programs can use the very same episodes.
//!
//! The tensors are `classes` i64 `[E, n + distractors]` (class in the pack for each slot, distractors last), `support`
//! i64 `[E, N]` and `query` i64 `[E, Q]` (image indices in the pack), `support_labels` i64 `[E, N]` and `query_labels`
//! i64 `[E, Q]` (class slots; n for an unlabelled image). The file's metadata holds under `episodes` a JSON object that
//! describes how the episodes were drawn.

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

/// Writes the first `episodes` episodes of `sampler` to `path` atomically.
///
/// # Errors
/// [`DataError::Io`] if the file cannot be written.
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
    let metadata = HashMap::from([(
        METADATA_KEY.to_owned(),
        description(sampler, count).to_string(),
    )]);
    let bytes = safetensors::serialize(views, Some(metadata)).expect("names differ");
    atomic::write(path, &bytes).map_err(DataError::io("write", path))
}

/// Applies `row` to each plan and concatenates the results as little-endian i64.
fn rows(plans: &[EpisodePlan], row: impl Fn(&EpisodePlan) -> Vec<usize>) -> Vec<u8> {
    plans
        .iter()
        .flat_map(row)
        .flat_map(|value| (value as i64).to_le_bytes())
        .collect()
}

/// Describes how the episodes were drawn.
fn description(sampler: &EpisodeSampler, episodes: usize) -> serde_json::Value {
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

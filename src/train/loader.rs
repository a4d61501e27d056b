//! Training episodes, drawn in the background.

use std::ops::Range;
use std::sync::Arc;

use crate::base::compute::Compute;
use crate::episode::loader::EpisodeLoader;
use crate::episode::sampler::EpisodeSampler;
use crate::train::error::TrainError;
use crate::train::gradient::Prepared;

/// Draws training steps of `tasks` consecutive episodes in the background and prepares them for the device.
///
/// # Errors
/// If the threads for drawing cannot be started.
pub fn training_loader(
    compute: &Compute,
    sampler: Arc<EpisodeSampler>,
    episodes: Range<u64>,
    tasks: usize,
) -> Result<EpisodeLoader<Prepared>, TrainError> {
    let (pool, device) = (compute.loader_pool()?, compute.device);
    let prepare = move |episodes| Prepared::new(episodes, device);
    Ok(EpisodeLoader::new(sampler, episodes, tasks, pool, prepare))
}

//! Evaluation of a model on a fixed list of episodes.

use rayon::prelude::*;
use tch::Device;

use crate::base::compute::{BatchSize, Compute};
use crate::episode::sampler::EpisodeSampler;
use crate::evaluate::summary::EpisodeRecord;
use crate::model::batch::EpisodeBatch;
use crate::model::pass::{Hooks, Mode};
use crate::model::trained::Trained;
use crate::settings::cnn::BatchNormMode;

/// Number of episodes between two reports of progress.
const ROUND: u64 = 64;

/// Number of episodes in one batch.
const BATCH_SIZE: BatchSize = BatchSize { cpu: 4, gpu: 16 };

/// Evaluates episodes 0 … `episodes` − 1 of `sampler` and returns one record each, in order. `advance` gets the records so
/// far after every 64 episodes; if it returns false, evaluation stops and these records are returned.
///
/// Episodes may have fewer classes than the model has slots, as CNNs written by `generate` may: they use the first slots,
/// and the logits of the others do not count.
pub fn evaluate(
    compute: &Compute,
    trained: &Trained,
    sampler: &EpisodeSampler,
    episodes: u64,
    batch_norm: BatchNormMode,
    mut advance: impl FnMut(&[EpisodeRecord]) -> bool,
) -> Vec<EpisodeRecord> {
    let mut records = Vec::with_capacity(episodes as usize);
    let model = trained.model;
    let device = compute.device;
    let (slots, classes) = (model.way(), sampler.shape().way as i64);
    let episode = |index: &u64| sampler.episode(*index).for_slots(slots);
    for start in (0..episodes).step_by(ROUND as usize) {
        let indices: Vec<u64> = (start..(start + ROUND).min(episodes)).collect();
        let state = || trained.state.shallow_clone();
        let found = compute.map(&indices, BATCH_SIZE, state, |group, state| {
            tch::no_grad(|| {
                // For a GPU all cores draw episodes; on a CPU each worker draws its own.
                let drawn: Vec<_> = match device {
                    Device::Cpu => group.iter().map(episode).collect(),
                    _ => compute.in_parallel(|| group.par_iter().map(episode).collect()),
                };
                let batch = EpisodeBatch::new(&drawn, device);
                let views = model.views(&state);
                let logits = model
                    .forward(&views, &batch, batch_norm, Mode::Infer, Hooks::default())
                    .logits;
                let logits = logits.narrow(-1, 0, classes);
                EpisodeRecord::of(group, &logits, &batch.query_labels)
            })
        });
        records.extend(found.into_iter().flatten());
        if !advance(&records) {
            break;
        }
    }
    records
}

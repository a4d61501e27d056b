//! The evaluation protocol: a fixed list of episodes, one record each.
use rayon::prelude::*;
use tch::Device;

use crate::base::compute::{Compute, Together};
use crate::episode::sampler::EpisodeSampler;
use crate::evaluate::summary::EpisodeRecord;
use crate::model::batch::EpisodeBatch;
use crate::model::pass::Hooks;
use crate::model::trained::Trained;
use crate::settings::cnn::BatchNormMode;

/// Episodes computed between two reports of progress.
const ROUND: u64 = 64;

/// Episodes in one batch.
const TOGETHER: Together = Together { cpu: 4, gpu: 16 };

/// Episodes 0 … `episodes` of `sampler`, one record each, in order. `advance` is told how many are done after each
/// round and says whether to go on; if not, the records so far are returned.
pub fn evaluate(
    compute: &Compute,
    trained: &Trained,
    sampler: &EpisodeSampler,
    episodes: u64,
    batch_norm: BatchNormMode,
    mut advance: impl FnMut(&[EpisodeRecord]) -> bool,
) -> Vec<EpisodeRecord> {
    let mut records = Vec::with_capacity(episodes as usize);
    // φ and the buffers travel as handles: tensors may be sent to a thread but not shared.
    let model = trained.model;
    let device = compute.device;
    for start in (0..episodes).step_by(ROUND as usize) {
        let indices: Vec<u64> = (start..(start + ROUND).min(episodes)).collect();
        let shared = [trained.phi, trained.buffers];
        let found = compute.map(&indices, TOGETHER, shared, |group, [phi, buffers]| {
            tch::no_grad(|| {
                // Beside a GPU all cores draw; on a CPU each worker draws its own.
                let drawn: Vec<_> = match device {
                    Device::Cpu => group.iter().map(|&index| sampler.episode(index)).collect(),
                    _ => compute.in_parallel(|| {
                        let indices = group.par_iter();
                        indices.map(|&index| sampler.episode(index)).collect()
                    }),
                };
                let batch = EpisodeBatch::new(&drawn, device);
                let views = model.views(&phi, &buffers);
                let logits = model
                    .forward(&views, &batch, batch_norm, false, Hooks::default())
                    .logits;
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

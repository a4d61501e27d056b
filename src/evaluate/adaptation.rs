//! How much generated convolutions vary between tasks, and how much accuracy that gains. A generator can converge to
//! kernels that ignore the support set and are effectively constant, which accuracy alone does not show.

use serde::Serialize;
use tch::{Kind, Tensor};

use crate::episode::sampler::EpisodeSampler;
use crate::evaluate::summary::EpisodeRecord;
use crate::model::batch::EpisodeBatch;
use crate::model::pass::{Hooks, Mode};
use crate::model::trained::Trained;
use crate::model::weights::LayerWeights;
use crate::settings::cnn::BatchNormMode;

/// How much one generated convolution varies between tasks, its learned base included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LayerDeviation {
    /// Number of the layer, counted from 1.
    pub layer: usize,
    /// Norm of the mean of the kernels over tasks.
    pub norm: f64,
    /// Root mean square, over tasks, of the distance between the kernel of a task and the mean kernel.
    pub deviation: f64,
}

impl LayerDeviation {
    /// Deviation as a fraction of the norm.
    pub fn share(&self) -> f64 {
        self.deviation / self.norm
    }
}

/// Weights of generated convolutions, averaged over tasks.
#[derive(Debug)]
pub struct MeanWeights {
    /// One entry per generated convolution.
    pub deviations: Vec<LayerDeviation>,
    /// One entry per convolution: the mean of its weights if it is generated.
    weights: Vec<Option<LayerWeights>>,
}

impl MeanWeights {
    /// Averages over episodes 0 … `episodes` − 1 of `sampler`.
    pub fn over_tasks(
        trained: &Trained,
        sampler: &EpisodeSampler,
        episodes: u64,
        batch_norm: BatchNormMode,
    ) -> MeanWeights {
        let views = trained.views();
        let depth = trained.model.cnn().shapes().len();
        let mut sums: Vec<Option<(LayerWeights, f64)>> = (0..depth).map(|_| None).collect();
        let some = (0..depth).any(|layer| trained.model.is_generated(layer));
        let episodes = if some { episodes } else { 0 };
        for index in 0..episodes {
            // One task per batch, so that generated weights have the shapes of learned ones.
            let batch = EpisodeBatch::new(&[sampler.episode(index)], trained.device());
            let theta = tch::no_grad(|| trained.model.theta(&views, &batch, batch_norm));
            for (layer, (weights, _)) in theta.layers.iter().enumerate() {
                if trained.model.is_generated(layer) {
                    let weights = weights.map(|values| values.to_kind(Kind::Double));
                    let square = weights.kernel.square().sum(None).double_value(&[]);
                    sums[layer] = Some(match sums[layer].take() {
                        Some((sum, squares)) => (sum.plus(&weights), squares + square),
                        None => (weights, square),
                    });
                }
            }
        }
        let count = episodes as f64;
        let mut deviations = Vec::new();
        let mut means = Vec::new();
        for (layer, sum) in sums.into_iter().enumerate() {
            means.push(sum.map(|(sum, squares)| {
                let mean = sum.map(|values| values / count);
                let square = mean.kernel.square().sum(None).double_value(&[]);
                deviations.push(LayerDeviation {
                    layer: layer + 1,
                    norm: square.sqrt(),
                    deviation: (squares / count - square).max(0.0).sqrt(),
                });
                mean.map(|values| values.to_kind(Kind::Float))
            }));
        }
        MeanWeights {
            deviations,
            weights: means,
        }
    }

    /// Evaluates episodes 0 … `episodes` − 1 of `sampler` with these means in place of the convolutions generated for each
    /// task. The logits layer is generated per task as usual.
    pub fn evaluate(
        &self,
        trained: &Trained,
        sampler: &EpisodeSampler,
        episodes: u64,
        batch_norm: BatchNormMode,
    ) -> Vec<EpisodeRecord> {
        let views = trained.views();
        let record = |index: u64| {
            let batch = EpisodeBatch::new(&[sampler.episode(index)], trained.device());
            let hooks = Hooks {
                replaced: Some(&self.weights),
                ..Hooks::default()
            };
            let forward = || {
                let model = trained.model;
                model.forward(&views, &batch, batch_norm, Mode::Infer, hooks)
            };
            let logits: Tensor = tch::no_grad(forward).logits;
            EpisodeRecord::of(&[index], &logits, &batch.query_labels)
        };
        (0..episodes).flat_map(record).collect()
    }
}

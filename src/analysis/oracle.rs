//! The oracle of Figure 3: the target CNN, trained with gradient descent on all images of the classes of an episode.
//! Its accuracy on these training images bounds what a weight generator can reach.

use serde::Serialize;
use tch::Tensor;

use crate::base::compute::{BatchSize, Compute};
use crate::episode::sampler::EpisodeSampler;
use crate::evaluate::summary::EpisodeRecord;
use crate::model::batch::tensor_of_images;
use crate::model::cnn::plain::PlainCnn;
use crate::model::error::ModelError;
use crate::model::parameters::leaf;
use crate::settings::cnn::CnnOptions;
use crate::settings::train::{OptimizerKind, ScheduleKind, TrainConfig};
use crate::train::optimizer::Optimizer;
use crate::train::schedule::learning_rate;

/// Training of an oracle: AdamW on all images in one batch, with warm-up and a cosine schedule.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct OracleOptions {
    /// Number of training steps.
    pub steps: u64,
    /// Highest learning rate.
    pub learning_rate: f64,
}

/// Trains an oracle for the classes of each of `episodes` and returns its accuracy on its own training images.
///
/// # Errors
/// If the images are too small for `cnn`, or it would have too many weights.
pub fn oracle(
    compute: &Compute,
    cnn: &CnnOptions,
    sampler: &EpisodeSampler,
    episodes: &[u64],
    options: OracleOptions,
) -> Result<Vec<EpisodeRecord>, ModelError> {
    let image = sampler.pack().shape().into();
    let model = PlainCnn::new(cnn, image, sampler.shape().way)?;
    let train = |batch: &[u64], ()| -> Vec<EpisodeRecord> {
        let one = |&episode: &u64| train_one(compute, &model, sampler, episode, options);
        batch.iter().map(one).collect()
    };
    let records = compute.map(episodes, BatchSize::ONE, || (), train);
    Ok(records.into_iter().flatten().collect())
}

/// Trains the oracle of one episode.
fn train_one(
    compute: &Compute,
    model: &PlainCnn,
    sampler: &EpisodeSampler,
    episode: u64,
    options: OracleOptions,
) -> EpisodeRecord {
    let all = sampler.all_class_images(episode);
    let images = tensor_of_images(&all, compute.device);
    let labels = Tensor::from_slice(&all.labels).to_device(compute.device);
    let config = TrainConfig {
        optimizer: OptimizerKind::Adamw,
        schedule: ScheduleKind::Cosine,
        steps: options.steps,
        warmup_steps: options.steps / 20,
        learning_rate: options.learning_rate,
        ..TrainConfig::default()
    };
    let start = model.layout().initial_values(episode);
    let mut weights = Tensor::from_slice(&start).to_device(compute.device);
    let mut optimizer = Optimizer::new(&config, model.layout(), &weights);
    for step in 0..options.steps {
        let at = leaf(&weights);
        let loss = model
            .forward(&at, &images)
            .cross_entropy_for_logits(&labels);
        let gradient = Tensor::run_backward(&[&loss], &[&at], false, false).swap_remove(0);
        optimizer.step(&mut weights, &gradient, learning_rate(&config, step));
    }
    let logits = tch::no_grad(|| model.forward(&weights, &images));
    EpisodeRecord::of(&[episode], &logits.unsqueeze(0), &labels.unsqueeze(0)).swap_remove(0)
}

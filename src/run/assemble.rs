//! Builds the model and the samplers of an experiment from its pack.

use std::sync::Arc;

use thiserror::Error;

use crate::episode::episode::{EpisodeDraw, EpisodeShape};
use crate::episode::sampler::EpisodeSampler;
use crate::model::error::ModelError;
use crate::model::hypertransformer::HyperTransformer;
use crate::pack::error::DataError;
use crate::pack::pack::Pack;
use crate::pack::part::Part;
use crate::pack::shape::Element;
use crate::settings::episode::QuerySampling;
use crate::settings::experiment::Experiment;
use crate::settings::model::ModelOptions;

/// An experiment that does not fit its pack.
#[derive(Debug, Error)]
pub enum AssembleError {
    /// The experiment asks for an image embedding s_φ, which is a CNN, but the pack holds embeddings.
    #[error(
        "generator.image_embedding: {width}: expected 0, because `{pack}` holds embeddings, not images"
    )]
    EmbeddingOfEmbeddings {
        /// `generator.image_embedding` of the experiment.
        width: usize,
        /// Path of the pack.
        pack: String,
    },
    /// The model cannot be built for the images.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Builds the model of an experiment for the images of a pack.
///
/// # Errors
/// If the images are too small for the CNN, or if the pack holds embeddings and the experiment asks for an image
/// embedding.
pub fn build_model(
    experiment: &Experiment,
    pack: &Pack,
) -> Result<HyperTransformer, AssembleError> {
    let shape = pack.shape();
    let width = experiment.generator.image_embedding;
    if shape.element == Element::Float && width > 0 {
        return Err(AssembleError::EmbeddingOfEmbeddings {
            width,
            pack: pack.path().display().to_string(),
        });
    }
    let options = ModelOptions::from(experiment);
    Ok(HyperTransformer::new(&options, shape.into())?)
}

/// Name of the class split that an experiment uses: its own choice, or else the default of the pack.
pub(crate) fn split_scheme<'a>(experiment: &'a Experiment, pack: &'a Pack) -> &'a str {
    experiment
        .data
        .split
        .as_deref()
        .unwrap_or(&pack.metadata().default_split)
}

/// Sampler of validation and test episodes under `seed`: `episode.evaluation_query` queries per class, and images that are
/// not augmented unless the experiment sets `episode.augment_evaluation`.
///
/// # Errors
/// If the part holds too few classes or images.
pub fn evaluation_sampler(
    experiment: &Experiment,
    pack: &Arc<Pack>,
    part: Part,
    seed: u64,
) -> Result<EpisodeSampler, DataError> {
    evaluation_sampler_with(experiment, pack, part, QuerySampling::Balanced, seed)
}

/// Sampler of validation and test episodes as [`evaluation_sampler`], with another way to draw queries.
///
/// # Errors
/// If the part holds too few classes or images.
pub fn evaluation_sampler_with(
    experiment: &Experiment,
    pack: &Arc<Pack>,
    part: Part,
    query_sampling: QuerySampling,
    seed: u64,
) -> Result<EpisodeSampler, DataError> {
    let episode = &experiment.episode;
    let images = match episode.augment_evaluation {
        true => EpisodeDraw::training(episode),
        false => EpisodeDraw::PLAIN,
    };
    let draw = EpisodeDraw {
        query_sampling,
        ..images
    };
    sampler(experiment, pack, part, episode.evaluation_query, draw, seed)
}

/// Sampler of training episodes, under the seed of the experiment.
///
/// # Errors
/// If the part holds too few classes or images.
pub fn training_sampler(
    experiment: &Experiment,
    pack: &Arc<Pack>,
) -> Result<EpisodeSampler, DataError> {
    let episode = &experiment.episode;
    let draw = EpisodeDraw::training(episode);
    let seed = experiment.train.seed;
    sampler(experiment, pack, Part::Train, episode.query, draw, seed)
}

fn sampler(
    experiment: &Experiment,
    pack: &Arc<Pack>,
    part: Part,
    query: usize,
    draw: EpisodeDraw,
    seed: u64,
) -> Result<EpisodeSampler, DataError> {
    let shape = EpisodeShape {
        way: experiment.episode.way,
        shot: experiment.episode.shot,
        unlabeled: experiment.episode.unlabeled,
        distractors: experiment.episode.distractors,
        query,
    };
    let scheme = split_scheme(experiment, pack);
    EpisodeSampler::new(Arc::clone(pack), scheme, part, shape, draw, seed)
}

//! Model and samplers of an experiment on a pack.
use std::sync::Arc;

use thiserror::Error;

use crate::episode::episode::{EpisodeDraw, EpisodeShape};
use crate::episode::sampler::EpisodeSampler;
use crate::model::cnn::shapes::ImagesTooSmall;
use crate::model::hypertransformer::HyperTransformer;
use crate::pack::error::DataError;
use crate::pack::pack::{Element, Pack};
use crate::pack::part::Part;
use crate::settings::episode::QuerySampling;
use crate::settings::experiment::Experiment;

/// An experiment and a pack do not fit together.
#[derive(Debug, Error)]
pub enum AssembleError {
    /// s_φ is a CNN, and the pack does not hold images.
    #[error(
        "generator.image_embedding: {width}: expected 0, for `{pack}` holds embeddings, not images"
    )]
    EmbeddingOfEmbeddings {
        /// What the experiment says.
        width: usize,
        /// The pack.
        pack: String,
    },
    /// Images are too small for the CNN.
    #[error(transparent)]
    Images(#[from] ImagesTooSmall),
}

/// The model of an experiment on the images of a pack.
///
/// # Errors
/// If the images are too small for the CNN, or are embeddings and there is to be an embedding of these.
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
    let image = (shape.channels, shape.height, shape.width);
    Ok(HyperTransformer::new(experiment, image)?)
}

/// Name of the class split an experiment uses.
pub(crate) fn split_scheme<'a>(experiment: &'a Experiment, pack: &'a Pack) -> &'a str {
    experiment
        .data
        .split
        .as_deref()
        .unwrap_or(&pack.metadata().default_split)
}

/// Episodes of validation and test: `evaluation_query` balanced queries, images as they are unless the experiment says
/// `augment_evaluation`.
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

/// The same with queries drawn otherwise.
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
        true => EpisodeDraw::of(episode),
        false => EpisodeDraw::PLAIN,
    };
    let draw = EpisodeDraw {
        query_sampling,
        ..images
    };
    sampler(experiment, pack, part, episode.evaluation_query, draw, seed)
}

/// Episodes of training.
///
/// # Errors
/// If the part holds too few classes or images.
pub fn training_sampler(
    experiment: &Experiment,
    pack: &Arc<Pack>,
) -> Result<EpisodeSampler, DataError> {
    let episode = &experiment.episode;
    let draw = EpisodeDraw::of(episode);
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

//! The HyperTransformer: support set → θ → logits of the queries (Fig. 1).

use tch::{Kind, Tensor};

use super::allocation::LogitsWeights;
use super::batch_norm::{BatchNormMode, Observed, Pass};
use super::cnn::{Cnn, CnnConfig};
use super::embedding::ImageEmbedding;
use super::episode_batch::EpisodeBatch;
use super::generator::{LogitsGenerator, LogitsTarget};
use super::initialization::start_as_gradient_step;
use super::parameters::{ParameterLayout, Parameters};
use crate::config::experiment::{Experiment, Initialization};

/// What one forward pass gives.
#[derive(Debug)]
pub struct Prediction {
    /// `[T, Q, n]`
    pub logits: Tensor,
    /// Generated θ of the logits layer.
    pub theta: LogitsWeights,
    /// Flattened final activations of the support images, `[T, N, length]`.
    pub support_features: Tensor,
    /// Flattened final activations of the query images, `[T, Q, length]`.
    pub query_features: Tensor,
    /// In training: support statistics in the order of the buffers, for the moving averages.
    pub observed: Option<Tensor>,
}

/// φ's layout and the way through the model; φ itself comes in as an argument.
#[derive(Clone, Debug)]
pub struct HyperTransformer {
    layout: ParameterLayout,
    buffers: ParameterLayout,
    image_embedding: Option<ImageEmbedding>,
    cnn: Cnn,
    logits: LogitsGenerator,
}

impl HyperTransformer {
    /// For images of `channels` × `height` × `width`. The configuration must be valid.
    pub fn new(experiment: &Experiment, image: (usize, usize, usize)) -> HyperTransformer {
        let (channels, height, width) = image;
        let (mut layout, mut buffers) = (ParameterLayout::default(), ParameterLayout::default());
        let options = &experiment.generator;
        let embedding = options.image_embedding;
        let image_embedding = (embedding > 0)
            .then(|| ImageEmbedding::new(&mut layout, &mut buffers, channels, embedding));
        let config = cnn_config(experiment, image);
        let cnn = Cnn::new(&mut layout, &mut buffers, &config);
        let (final_height, final_width) = config.final_size();
        debug_assert_eq!((config.image_size.0, config.image_size.1), (height, width));
        let target = LogitsTarget {
            way: experiment.episode.way,
            activations: (config.channels, final_height, final_width),
        };
        let initialization = experiment.initialization;
        let logits = LogitsGenerator::new(&mut layout, options, initialization, &target);
        if initialization == Initialization::GradientStep {
            start_as_gradient_step(&mut layout, &logits, experiment.train.seed);
        }
        HyperTransformer {
            layout,
            buffers,
            image_embedding,
            cnn,
            logits,
        }
    }

    /// Layout of φ.
    pub fn layout(&self) -> &ParameterLayout {
        &self.layout
    }

    /// Layout of the moving averages.
    pub fn buffers(&self) -> &ParameterLayout {
        &self.buffers
    }

    /// Splits φ and the moving averages once, for any number of forward passes.
    pub fn views(&self, phi: &Tensor, buffers: &Tensor) -> Views {
        Views {
            parameters: self.layout.split(phi),
            buffers: self.buffers.split(buffers),
        }
    }

    /// Support set → θ → logits of the queries.
    pub fn forward(
        &self,
        views: &Views,
        batch: &EpisodeBatch,
        batch_norm: BatchNormMode,
        training: bool,
    ) -> Prediction {
        let tasks = batch.support.size()[0];
        let pass = Pass {
            parameters: &views.parameters,
            buffers: &views.buffers,
            batch_norm,
            training,
            tasks,
        };
        let mut observed = Observed::default();
        let support = batch.support.flatten(0, 1);
        let embedded = self
            .image_embedding
            .as_ref()
            .map(|embedding| embedding.forward(&pass, &support, &mut observed));
        let activations = self.cnn.support(&pass, &support, &mut observed);
        let theta = self.logits.generate(
            &views.parameters,
            &activations.values,
            embedded.as_ref(),
            &batch.support_labels,
        );
        let query = batch.query.flatten(0, 1);
        let features = self.cnn.query(&pass, &query, &activations.statistics);
        let features = features
            .flatten(1, -1)
            .view([tasks, batch.query.size()[1], -1]);
        Prediction {
            logits: theta.forward(&features),
            query_features: features,
            support_features: activations
                .values
                .view([tasks, batch.support.size()[1], -1]),
            theta,
            observed: training.then(|| observed.flat()),
        }
    }

    /// Σ w² over the learned kernels and, averaged over tasks, the generated logits weights.
    pub fn squared_weights(&self, views: &Views, theta: &LogitsWeights) -> Tensor {
        let generated = theta.squared_norm() / theta.weight.size()[0] as f64;
        self.cnn.kernels().fold(generated, |sum, kernel| {
            sum + views.parameters.get(kernel).square().sum(Kind::Float)
        })
    }
}

/// The views of φ and of the moving averages.
#[derive(Debug)]
pub struct Views {
    parameters: Parameters,
    buffers: Parameters,
}

/// The target CNN of an experiment on images of `channels` × `height` × `width`.
pub fn cnn_config(
    experiment: &Experiment,
    (channels, height, width): (usize, usize, usize),
) -> CnnConfig {
    let options = &experiment.cnn;
    CnnConfig {
        image_channels: channels,
        image_size: (height, width),
        channels: options.channels,
        layers: options.layers,
        kernel_size: options.kernel_size,
        block: options.block.clone(),
    }
}

//! The HyperTransformer: support set → θ, layer by layer → logits of the queries (Fig. 1).
use tch::{Device, Tensor};

use crate::model::batch::EpisodeBatch;
use crate::model::cnn::cnn::{Cnn, LearnedParts};
use crate::model::cnn::shapes::{CnnConfig, ImagesTooSmall};
use crate::model::generator::embedding::ImageEmbedding;
use crate::model::generator::generator::{SupportView, Target, WeightGenerator};
use crate::model::generator::gradient_step::start_as_gradient_step;
use crate::model::generator::slices::{ConvolutionSlices, logits_from_slices, mean_squared_norm};
use crate::model::generator::targets::{
    convolution_slices, convolution_target, learned_parts, logits_target,
};
use crate::model::kernels::tape::Tape;
use crate::model::parameters::{ParameterLayout, Parameters};
use crate::model::pass::{AttentionRecord, Hooks, Observed, Pass};
use crate::model::statistics::Statistics;
use crate::model::training_heads::{HeadLogits, TrainingHeads};
use crate::model::weights::{LayerWeights, LogitsWeights};
use crate::settings::cnn::BatchNormMode;
use crate::settings::experiment::Experiment;
use crate::settings::generator::{GeneratorOptions, Initialization};

/// What one forward pass gives.
#[derive(Debug)]
pub struct Prediction {
    /// `[T, Q, n]`
    pub logits: Tensor,
    /// θ
    pub theta: Theta,
    /// Features of the support images that the logits layer reads, `[T, N, length]`.
    pub support_features: Tensor,
    /// Features of the query images, `[T, Q, length]`.
    pub query_features: Tensor,
    /// In training: support statistics in the order of the buffers, for the moving averages.
    pub observed: Option<Tensor>,
    /// What the training heads say, where they are asked for.
    pub heads: Option<HeadLogits>,
}

/// θ: the weights of the target CNN.
#[derive(Debug)]
pub struct Theta {
    /// Weights of each convolution and the support statistics that follow it.
    pub layers: Vec<(LayerWeights, Statistics)>,
    /// The logits layer, always generated.
    pub logits: LogitsWeights,
    /// Σ over layers of Σ generated² / Σ learned², for kernels that are the sum of both; averaged over tasks.
    pub variation: Option<Tensor>,
}

impl Theta {
    /// Σ w² over kernels and logits weights, averaged over tasks.
    pub fn squared_norm(&self) -> Tensor {
        self.layers.iter().fold(
            mean_squared_norm(&self.logits.weight),
            |sum, (weights, _)| {
                let kernel = &weights.kernel;
                sum + match kernel.dim() {
                    5 => mean_squared_norm(kernel),
                    _ => kernel.square().sum(None),
                }
            },
        )
    }
}

/// φ's layout and the way through the model; φ itself comes in as an argument.
#[derive(Clone, Debug)]
pub struct HyperTransformer {
    layout: ParameterLayout,
    buffers: ParameterLayout,
    pub(crate) image_embedding: Option<ImageEmbedding>,
    pub(crate) cnn: Cnn,
    pub(crate) convolutions: Vec<Option<(WeightGenerator, ConvolutionSlices)>>,
    pub(crate) logits: WeightGenerator,
    training_heads: TrainingHeads,
}

impl HyperTransformer {
    /// For images of channels × height × width. The configuration must be valid.
    ///
    /// # Errors
    /// If the images are too small for the CNN.
    pub fn new(
        experiment: &Experiment,
        image: (usize, usize, usize),
    ) -> Result<HyperTransformer, ImagesTooSmall> {
        let (mut layout, mut buffers) = (ParameterLayout::default(), ParameterLayout::default());
        let (options, initialization) = (&experiment.generator, experiment.initialization);
        let config = CnnConfig {
            image,
            options: experiment.cnn.clone(),
        };
        let depth = experiment.cnn.layers;
        let shapes = config.shapes_of_images()?;
        let image_embedding = (options.image_embedding > 0).then(|| {
            ImageEmbedding::new(
                &mut layout,
                &mut buffers,
                image.0,
                options.image_embedding,
                options.image_embedding_batch_norm,
            )
        });
        let generated: Vec<bool> = (0..depth)
            .map(|layer| options.generates.convolution(layer, depth))
            .collect();
        let learned: Vec<LearnedParts> = generated
            .iter()
            .enumerate()
            .map(|(layer, &generated)| {
                learned_parts(&options.of_layer(&(layer + 1).to_string()), generated)
            })
            .collect();
        let cnn = Cnn::new(&mut layout, &mut buffers, &config, &shapes, &learned);
        let labels = experiment.episode.way + usize::from(experiment.episode.unlabeled > 0);
        let mut generator = |options: &GeneratorOptions, target: &Target| {
            WeightGenerator::new(&mut layout, options, initialization, target)
        };
        let convolutions = shapes
            .iter()
            .zip(generated)
            .enumerate()
            .map(|(layer, (shape, generated))| {
                generated.then(|| {
                    let options = options.of_layer(&(layer + 1).to_string());
                    let slices = convolution_slices(&options, &experiment.cnn, shape);
                    let target = convolution_target(&options, layer, shape, &slices, labels);
                    (generator(&options, &target), slices)
                })
            })
            .collect();
        let last = shapes.last().map_or(image, |shape| shape.output);
        let length = config.feature_length(&shapes);
        let way = experiment.episode.way;
        let options = options.of_layer("logits");
        let logits = generator(
            &options,
            &logits_target("generator.logits", &options, last, (way, length), labels),
        );
        let training_heads = TrainingHeads::new(&mut layout, experiment, &shapes, labels);
        if initialization == Initialization::GradientStep {
            start_as_gradient_step(&mut layout, &logits, experiment.train.seed);
        }
        Ok(HyperTransformer {
            layout,
            buffers,
            image_embedding,
            cnn,
            convolutions,
            logits,
            training_heads,
        })
    }

    /// Layout of φ.
    pub fn layout(&self) -> &ParameterLayout {
        &self.layout
    }

    /// Layout of the moving averages.
    pub fn buffers(&self) -> &ParameterLayout {
        &self.buffers
    }

    /// The heads that only training has.
    pub fn training_heads(&self) -> &TrainingHeads {
        &self.training_heads
    }

    /// Splits φ and the moving averages once, for any number of forward passes.
    pub fn views(&self, phi: &Tensor, buffers: &Tensor) -> Views {
        Views {
            parameters: self.layout.split(phi),
            buffers: self.buffers.split(buffers),
        }
    }

    /// The same with each parameter a leaf that gradients can be asked for.
    pub fn leaves(&self, phi: &Tensor, buffers: &Tensor) -> Views {
        Views {
            parameters: self.layout.leaves(phi),
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
        hooks: Hooks,
    ) -> Prediction {
        let pass = views.pass(batch, batch_norm, training, hooks);
        let tasks = pass.tasks;
        let mut observed = Observed::default();
        let Generated {
            theta,
            image_embeddings,
            activations,
            support_features,
        } = self.generate(&pass, batch, &mut observed);
        let query = batch.query.flatten(0, 1);
        let query = self.cnn.query(&pass, query, &theta.layers);
        let features =
            self.cnn
                .features(&query[query.len() - 1])
                .view([tasks, batch.query.size()[1], -1]);
        let heads = hooks.heads.then(|| {
            let embedded = image_embeddings.as_ref();
            let (support, query) = (&activations[1..], &query[1..]);
            self.training_heads
                .forward(&pass, batch, embedded, support, query)
        });
        Prediction {
            logits: theta.logits.forward(&features),
            query_features: features,
            support_features: support_features.view([tasks, batch.support.size()[1], -1]),
            theta,
            observed: training.then(|| observed.flat(batch.query.device())),
            heads,
        }
    }

    /// θ alone; the queries of `batch` are not looked at.
    pub fn theta(&self, views: &Views, batch: &EpisodeBatch, batch_norm: BatchNormMode) -> Theta {
        let pass = views.pass(batch, batch_norm, false, Hooks::default());
        self.generate(&pass, batch, &mut Observed::default()).theta
    }

    /// Whether weights of this convolution are generated.
    pub fn is_generated(&self, layer: usize) -> bool {
        self.convolutions[layer].is_some()
    }

    /// The target CNN, without weights.
    pub fn cnn(&self) -> &Cnn {
        &self.cnn
    }

    /// Who attends to whom while θ is made: name of each attention's parameters and its weights,
    /// `[T, heads, asking, attended]`.
    pub fn attention(
        &self,
        views: &Views,
        batch: &EpisodeBatch,
        batch_norm: BatchNormMode,
    ) -> Vec<(String, Tensor)> {
        let record = AttentionRecord::default();
        let hooks = Hooks {
            attention: Some(&record),
            ..Hooks::default()
        };
        let pass = views.pass(batch, batch_norm, false, hooks);
        let _ = self.generate(&pass, batch, &mut Observed::default());
        let named = |(query, weights)| {
            let name = &self.layout.spec(query).name;
            let name = name.strip_suffix(".query.weight").unwrap_or(name);
            (name.to_owned(), weights)
        };
        record.into_maps().into_iter().map(named).collect()
    }

    /// θ from the support set, each layer from what the layers before it made of it.
    fn generate(&self, pass: &Pass, batch: &EpisodeBatch, observed: &mut Observed) -> Generated {
        let parameters = pass.parameters;
        let support = batch.support.flatten(0, 1);
        let embedded = self
            .image_embedding
            .as_ref()
            .map(|embedding| embedding.forward(pass, &support, observed))
            // Both the loss and the kernel of the first layer lead back to it.
            .map(
                |embedded| match (pass.hooks.tape, self.convolutions.first()) {
                    (Some(tape), Some(Some(_))) => tape.meet(embedded),
                    _ => embedded,
                },
            );
        let beginnings = self.support_gradients(pass, batch);
        let mut activations = vec![support];
        let mut layers = Vec::with_capacity(self.convolutions.len());
        let mut variation: Option<Tensor> = None;
        for layer in 0..self.convolutions.len() {
            let values = &activations[layer];
            let view = SupportView {
                beginnings: beginnings[layer].as_ref(),
                ..SupportView::new(pass, batch, embedded.as_ref(), values, None)
            };
            let (weights, ratio) = self.layer_weights(pass, layer, &view);
            variation = variation.into_iter().chain(ratio).reduce(|a, b| a + b);
            let (output, statistics) = self.cnn.support(pass, layer, &weights, values, observed);
            layers.push((weights, statistics));
            activations.push(output);
        }
        let last = &activations[layers.len()];
        let features = self.cnn.features(last);
        let slices = self.logits.generate(
            parameters,
            &SupportView::new(pass, batch, embedded.as_ref(), last, Some(&features)),
        );
        let theta = Theta {
            layers,
            logits: logits_from_slices(&slices),
            variation,
        };
        Generated {
            theta,
            image_embeddings: embedded,
            activations,
            support_features: features,
        }
    }

    /// Weights of a convolution; where its kernel is learned plus generated, also Σ generated² / Σ learned².
    fn layer_weights(
        &self,
        pass: &Pass,
        layer: usize,
        support: &SupportView,
    ) -> (LayerWeights, Option<Tensor>) {
        let instead = pass.hooks.instead.and_then(|all| all[layer].as_ref());
        if let Some(weights) = instead {
            return (weights.map(Tensor::shallow_clone), None);
        }
        let parameters = pass.parameters;
        let generated = self.convolutions[layer]
            .as_ref()
            .map(|(generator, slices)| slices.weights(&generator.generate(parameters, support)));
        let learned = self.cnn.learned_kernel(parameters, layer);
        let ratio = generated.as_ref().zip(learned).map(|(generated, learned)| {
            mean_squared_norm(&generated.kernel) / (learned.square().sum(None) + 1e-8)
        });
        (self.cnn.weights(parameters, layer, generated), ratio)
    }
}

/// What the support set gives.
struct Generated {
    theta: Theta,
    /// `[T·N, e]`
    image_embeddings: Option<Tensor>,
    /// The support images, then what each convolution makes of them, `[T·N, C, H, W]`.
    activations: Vec<Tensor>,
    /// `[T·N, length]`
    support_features: Tensor,
}

/// The views of φ and of the moving averages.
#[derive(Debug)]
pub struct Views {
    parameters: Parameters,
    buffers: Parameters,
}

impl Views {
    /// ∂loss/∂φ, `[φ]`, of views that are leaves.
    pub fn gradient(&self, tape: Tape, loss: &Tensor) -> Tensor {
        let parameters = &self.parameters;
        parameters.flat(&tape.gradients(loss, parameters.all()))
    }

    /// Where φ lies.
    pub fn device(&self) -> Device {
        self.parameters.device()
    }

    fn pass<'a>(
        &'a self,
        batch: &'a EpisodeBatch,
        batch_norm: BatchNormMode,
        training: bool,
        hooks: Hooks<'a>,
    ) -> Pass<'a> {
        Pass {
            parameters: &self.parameters,
            buffers: &self.buffers,
            batch_norm,
            support_mask: batch.support_mask.as_ref(),
            training,
            tasks: batch.support.size()[0],
            hooks,
        }
    }
}

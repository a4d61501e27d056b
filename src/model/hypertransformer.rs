//! The HyperTransformer: support set → θ, layer by layer → logits of the queries (Fig. 1).

use tch::Tensor;

use crate::model::batch::EpisodeBatch;
use crate::model::cnn::cnn::Cnn;
use crate::model::cnn::learned::LearnedConvolution;
use crate::model::cnn::shapes::{CnnConfig, LayerShape};
use crate::model::error::ModelError;
use crate::model::generator::attention::attention_name;
use crate::model::generator::convolution::{Convolution, GeneratedConvolution, GeneratedWeights};
use crate::model::generator::embedding::ImageEmbedding;
use crate::model::generator::generator::{SupportView, WeightGenerator};
use crate::model::generator::gradient_step::initialize_as_gradient_step;
use crate::model::generator::targets::{convolution_target, logits_target};
use crate::model::map_size::MapSize;
use crate::model::parameter_group::ParameterGroup;
use crate::model::parameters::ParameterLayout;
use crate::model::pass::{AttentionRecord, Hooks, Mode, Normalization, Observed, Pass};
use crate::model::state::{ModelState, Views};
use crate::model::statistics::Statistics;
use crate::model::support_gradient::support_gradients;
use crate::model::training_heads::{HeadLogits, TrainingHeads};
use crate::model::weights::{LayerWeights, LogitsWeights, mean_squared_norm};
use crate::settings::cnn::BatchNormMode;
use crate::settings::generator::Initialization;
use crate::settings::model::ModelOptions;

/// The result of one forward pass.
#[derive(Debug)]
pub struct Prediction {
    /// Logits of the queries, `[T, Q, n]`.
    pub logits: Tensor,
    /// θ.
    pub theta: Theta,
    /// Features of the support images that the logits layer reads, `[T, N, length]`.
    pub support_features: Tensor,
    /// Features of the query images, `[T, Q, length]`.
    pub query_features: Tensor,
    /// In training: support statistics in the order of the buffers, for the moving averages.
    pub observed: Option<Tensor>,
    /// Logits of the training heads, if they were computed.
    pub heads: Option<HeadLogits>,
}

/// θ: the weights of the target CNN.
#[derive(Debug)]
pub struct Theta {
    /// Weights of each convolution block and the support statistics that it was normalised with.
    pub layers: Vec<(LayerWeights, Statistics)>,
    /// The logits layer, which is always generated.
    pub logits: LogitsWeights,
    /// Σ over layers of Σ generated² / Σ learned², averaged over tasks, for kernels that are the sum of both; none if
    /// there are no such kernels.
    pub variation: Option<Tensor>,
}

impl Theta {
    /// Σ w² over kernels and weights of the logits layer, averaged over tasks.
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

/// The layout of φ and the computation of θ and logits; φ itself is an argument.
#[derive(Clone, Debug)]
pub struct HyperTransformer {
    layout: ParameterLayout,
    buffers: ParameterLayout,
    pub(crate) image_embedding: Option<ImageEmbedding>,
    pub(crate) cnn: Cnn,
    pub(crate) convolutions: Vec<Convolution>,
    pub(crate) logits: WeightGenerator,
    training_heads: TrainingHeads,
}

impl HyperTransformer {
    /// A model for images of this size. The options must be valid.
    ///
    /// # Errors
    /// If the images are too small for the CNN, or the model would have too many parameters.
    pub fn new(options: &ModelOptions, image: MapSize) -> Result<HyperTransformer, ModelError> {
        // The order of registration is the order of φ, and decides which random numbers a parameter starts from.
        let (mut layout, mut buffers) = (ParameterLayout::default(), ParameterLayout::default());
        let config = CnnConfig {
            image,
            options: options.cnn.clone(),
        };
        let shapes = config.shapes()?;
        let embedding = &options.generator;
        let image_embedding = (embedding.image_embedding > 0).then(|| {
            ImageEmbedding::new(
                &mut layout,
                &mut buffers,
                image.channels,
                embedding.image_embedding,
                embedding.image_embedding_batch_norm,
            )
        });
        let cnn = Cnn::new(&mut buffers, &config, &shapes);
        let convolutions = convolutions(&mut layout, options, &config, &shapes);
        let generator = options.generator.of_logits();
        let target = logits_target(
            ParameterGroup::LogitsGenerator,
            &generator,
            config.last_size(&shapes),
            (options.way, cnn.feature_length()),
            options.labels(),
        );
        let initialization = options.initialization;
        let logits = WeightGenerator::new(&mut layout, &generator, initialization, &target);
        layout.ensure_possible()?;
        if initialization == Initialization::GradientStep {
            initialize_as_gradient_step(&mut layout, &logits, options.seed);
        }
        let training_heads = TrainingHeads::new(&mut layout, options, &shapes);
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

    /// The initial φ, a pure function of model and seed, and the initial moving averages, on the CPU.
    pub fn initial_state(&self, seed: u64) -> ModelState {
        let initial = |layout: &ParameterLayout| Tensor::from_slice(&layout.initial_values(seed));
        ModelState {
            phi: initial(&self.layout),
            buffers: initial(&self.buffers),
        }
    }

    /// The heads that exist only for training.
    pub fn training_heads(&self) -> &TrainingHeads {
        &self.training_heads
    }

    /// Named views of φ and the moving averages.
    pub fn views(&self, state: &ModelState) -> Views {
        Views {
            parameters: self.layout.split(&state.phi),
            buffers: self.buffers.split(&state.buffers),
        }
    }

    /// Named views in which each parameter is a leaf that requires a gradient, for [`Views::gradient`].
    pub fn leaves(&self, state: &ModelState) -> Views {
        Views {
            parameters: self.layout.leaves(&state.phi),
            buffers: self.buffers.split(&state.buffers),
        }
    }

    /// Support set → θ → logits of the queries.
    pub fn forward(
        &self,
        views: &Views,
        batch: &EpisodeBatch,
        batch_norm: BatchNormMode,
        mode: Mode,
        hooks: Hooks,
    ) -> Prediction {
        let pass = Pass::new(views, batch, Normalization::new(batch_norm, mode), hooks);
        let tasks = pass.tasks;
        let mut observed = Observed::new(mode);
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
            observed: observed.flat(batch.query.device()),
            heads,
        }
    }

    /// Support set → θ, at inference. The queries of `batch` are not used.
    pub fn theta(&self, views: &Views, batch: &EpisodeBatch, batch_norm: BatchNormMode) -> Theta {
        self.infer(views, batch, batch_norm, Hooks::default())
    }

    /// The attention maps of all weight generators at inference: name of each attention, such as
    /// `generator.logits.encoder.layer1.attention`, and its weights, `[T, heads, queries, keys]`.
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
        let _ = self.infer(views, batch, batch_norm, hooks);
        let named = |(query, weights)| (attention_name(&self.layout, query).to_owned(), weights);
        record.into_maps().into_iter().map(named).collect()
    }

    /// Whether weights of convolution `layer` are generated.
    pub fn is_generated(&self, layer: usize) -> bool {
        self.convolutions[layer].generated().is_some()
    }

    /// Number of class slots: the largest number of classes.
    pub fn way(&self) -> usize {
        self.logits.tokens.slices
    }

    /// The target CNN, without weights.
    pub fn cnn(&self) -> &Cnn {
        &self.cnn
    }

    /// θ at inference.
    fn infer(
        &self,
        views: &Views,
        batch: &EpisodeBatch,
        batch_norm: BatchNormMode,
        hooks: Hooks,
    ) -> Theta {
        let normalization = Normalization::new(batch_norm, Mode::Infer);
        let pass = Pass::new(views, batch, normalization, hooks);
        self.generate(&pass, batch, &mut Observed::new(Mode::Infer))
            .theta
    }

    /// θ from the support set, layer by layer: each generator reads the output of the layers before it.
    fn generate(&self, pass: &Pass, batch: &EpisodeBatch, observed: &mut Observed) -> Generated {
        let support = batch.support.flatten(0, 1);
        let embedded = self.embed_images(pass, &support, observed);
        let way = self.way();
        let gradients = support_gradients(pass, batch, &self.cnn, &self.convolutions, way);
        let mut activations = vec![support];
        let mut layers = Vec::with_capacity(self.convolutions.len());
        let mut variation: Option<Tensor> = None;
        for (layer, gradient) in gradients.iter().enumerate() {
            let values = &activations[layer];
            let view = SupportView {
                support_gradient: gradient.as_ref(),
                ..SupportView::new(pass, batch, embedded.as_ref(), values, None)
            };
            let (weights, of_layer) = self.layer_weights(pass, layer, &view);
            variation = variation.into_iter().chain(of_layer).reduce(|a, b| a + b);
            let (output, statistics) = self.cnn.support(pass, layer, &weights, values, observed);
            layers.push((weights, statistics));
            activations.push(output);
        }
        let last = &activations[layers.len()];
        let features = self.cnn.features(last);
        let slices = self.logits.generate(
            pass.parameters,
            &SupportView::new(pass, batch, embedded.as_ref(), last, Some(&features)),
        );
        let theta = Theta {
            layers,
            logits: LogitsWeights::from_slices(&slices),
            variation,
        };
        Generated {
            theta,
            image_embeddings: embedded,
            activations,
            support_features: features,
        }
    }

    /// s_φ of the support images, `[T·N, e]`, if the model has it.
    fn embed_images(
        &self,
        pass: &Pass,
        support: &Tensor,
        observed: &mut Observed,
    ) -> Option<Tensor> {
        let embedding = self.image_embedding.as_ref()?;
        let embedded = embedding.forward(pass, support, observed);
        // Gradients of the loss and of the first layer's kernel meet here; they are summed and back-propagated once.
        match (pass.hooks.tape, self.convolutions.first()) {
            (Some(tape), Some(Convolution::Generated(_))) => Some(tape.share(embedded)),
            _ => Some(embedded),
        }
    }

    /// Weights of convolution `layer` and, if its kernel is learned plus generated, Σ generated² / Σ learned².
    fn layer_weights(
        &self,
        pass: &Pass,
        layer: usize,
        support: &SupportView,
    ) -> (LayerWeights, Option<Tensor>) {
        let replaced = pass.hooks.replaced.and_then(|all| all[layer].as_ref());
        if let Some(weights) = replaced {
            return (weights.map(Tensor::shallow_clone), None);
        }
        match &self.convolutions[layer] {
            Convolution::Learned(learned) => (learned.weights(pass.parameters), None),
            Convolution::Generated(convolution) => {
                let slices = convolution.generator.generate(pass.parameters, support);
                convolution
                    .weights
                    .weights_and_variation(pass.parameters, &slices)
            }
        }
    }
}

/// Registers the learned weights of all convolutions, then their generators.
fn convolutions(
    layout: &mut ParameterLayout,
    options: &ModelOptions,
    config: &CnnConfig,
    shapes: &[LayerShape],
) -> Vec<Convolution> {
    enum Weights {
        Learned(LearnedConvolution),
        Generated(GeneratedWeights),
    }
    let mut all_weights = Vec::with_capacity(shapes.len());
    for (layer, shape) in shapes.iter().enumerate() {
        let size = config.kernel_size(shape);
        let generates = &options.generator.generates;
        all_weights.push(match generates.convolution(layer, shapes.len()) {
            false => Weights::Learned(LearnedConvolution::new(layout, layer, size)),
            true => {
                let options = options.generator.of_convolution(layer);
                Weights::Generated(GeneratedWeights::new(layout, &options, layer, size))
            }
        });
    }
    let with_generator = |(layer, (weights, shape)): (usize, (Weights, &LayerShape))| match weights
    {
        Weights::Learned(learned) => Convolution::Learned(learned),
        Weights::Generated(weights) => {
            let generator = options.generator.of_convolution(layer);
            let labels = options.labels();
            let target = convolution_target(&generator, layer, shape, &weights.slices, labels);
            let initialization = options.initialization;
            let generator = WeightGenerator::new(layout, &generator, initialization, &target);
            Convolution::Generated(Box::new(GeneratedConvolution { generator, weights }))
        }
    };
    let all_weights = all_weights.into_iter().zip(shapes).enumerate();
    all_weights.map(with_generator).collect()
}

/// The results of the support pass.
struct Generated {
    theta: Theta,
    /// `[T·N, e]`.
    image_embeddings: Option<Tensor>,
    /// The support images and the output of each convolution block, `[T·N, C, H, W]`.
    activations: Vec<Tensor>,
    /// `[T·N, length]`.
    support_features: Tensor,
}

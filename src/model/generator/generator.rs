//! The weight generator a_φ: support set → tokens → Transformer → weight slices of one layer.

use tch::Tensor;

use crate::model::batch::EpisodeBatch;
use crate::model::generator::arrangement::{Transformer, TransformerInput};
use crate::model::generator::embedding::{ActivationEmbedding, ActivationEmbeddingConfig};
use crate::model::generator::tokens::Tokens;
use crate::model::generator::transformer::Stack;
use crate::model::layers::LayerNorm;
use crate::model::map_size::MapSize;
use crate::model::parameter_group::ParameterGroup;
use crate::model::parameters::{Initial, ParameterId, ParameterKind, ParameterLayout, Parameters};
use crate::model::part_cost::PartCost;
use crate::model::pass::{Hooks, Pass};
use crate::model::tensor_sizes::sizes;
use crate::settings::generator::{GeneratorOptions, Initialization};

/// What a generator is built for.
#[derive(Clone, Debug)]
pub struct Target {
    /// The group of its parameters.
    pub group: ParameterGroup,
    /// Rows of ξ: n, plus one for unlabelled samples.
    pub labels: usize,
    /// Number and length of the weight slices.
    pub slices: (usize, usize),
    /// Size of the activations before the layer.
    pub activations: MapSize,
    /// Length of the flat features in sample tokens; 0 leaves them out.
    pub flat_length: usize,
    /// The activation embedding h_φl; none leaves it out.
    pub embedding: Option<ActivationEmbeddingConfig>,
    /// Factors of the slices.
    pub output_scale: OutputScale,
}

/// A learned factor for each element of a slice, times a fixed factor.
#[derive(Clone, Copy, Debug)]
pub struct OutputScale {
    /// Initial value of the learned factors.
    pub start: f32,
    /// The fixed factor.
    pub fixed: f64,
    /// Whether slices are scaled with any initialisation, not only with `gradient_step`.
    pub always: bool,
}

/// The support set as a generator reads it.
#[derive(Debug)]
pub struct SupportView<'a> {
    /// Activations before the layer, `[T·N, C, H, W]`.
    pub activations: &'a Tensor,
    /// Features that the logits layer will read, `[T·N, length]`; only its generator uses them.
    pub flat: Option<&'a Tensor>,
    /// Image embeddings, `[T·N, e]`.
    pub image_embeddings: Option<&'a Tensor>,
    /// Support gradients of the slices, `[T, slices, slice length]`; only for generators with `support_gradient`.
    pub support_gradient: Option<&'a Tensor>,
    /// `[T, N]`; n for an unlabelled sample.
    pub labels: &'a Tensor,
    /// `[T, N]`, 0 for hidden samples, 1 for others; none if no sample is hidden.
    pub mask: Option<&'a Tensor>,
    /// Optional parts of the forward pass.
    pub hooks: Hooks<'a>,
}

impl<'a> SupportView<'a> {
    /// The support set of `batch` before a layer, without support gradients.
    pub fn new(
        pass: &Pass<'a>,
        batch: &'a EpisodeBatch,
        image_embeddings: Option<&'a Tensor>,
        activations: &'a Tensor,
        flat: Option<&'a Tensor>,
    ) -> SupportView<'a> {
        SupportView {
            activations,
            flat,
            image_embeddings,
            support_gradient: None,
            labels: &batch.support_labels,
            mask: pass.support_mask,
            hooks: pass.hooks,
        }
    }
}

/// The weight generator of one layer.
#[derive(Clone, Debug)]
pub struct WeightGenerator {
    /// Token layout with ξ and μ.
    pub tokens: Tokens,
    /// Whether weight tokens hold the support gradient of their slice after μ.
    pub(crate) reads_support_gradient: bool,
    transformer: Transformer,
    flat_length: usize,
    feature_dropout: f64,
    activation_embedding: Option<ActivationEmbedding>,
    feature_norm: Option<LayerNorm>,
    /// The learned factors and the fixed one.
    output_scale: Option<(ParameterId, f64)>,
}

impl WeightGenerator {
    /// Registers a generator. With `initialization: gradient_step` sample features pass a LayerNorm and slices are
    /// scaled; with `paper` only slices that are added to learned weights are scaled.
    pub fn new(
        layout: &mut ParameterLayout,
        options: &GeneratorOptions,
        initialization: Initialization,
        target: &Target,
    ) -> WeightGenerator {
        let name = target.group.to_string();
        let activation_embedding = target.embedding.map(|config| {
            let name = format!("{name}.activation_embedding");
            ActivationEmbedding::new(layout, &name, target.activations, config)
        });
        let embedded = activation_embedding
            .as_ref()
            .map_or(0, ActivationEmbedding::width);
        let features = target.flat_length + embedded + options.image_embedding;
        let label_dim = options.label_dim;
        let tokens = Tokens::new(
            layout,
            &name,
            target.labels,
            label_dim,
            target.slices,
            features,
        );
        let transformer = Transformer::new(layout, &name, options, &tokens);
        let gradient_step = initialization == Initialization::GradientStep;
        let feature_norm = gradient_step
            .then(|| LayerNorm::new(layout, &format!("{name}.feature_norm"), features));
        let output_scale = (gradient_step || target.output_scale.always).then(|| {
            let shape = [target.slices.1 as i64];
            let OutputScale { start, fixed, .. } = target.output_scale;
            let start = Initial::Constant(start);
            (
                layout.add(
                    format!("{name}.output_scale"),
                    &shape,
                    ParameterKind::Gain,
                    start,
                ),
                fixed,
            )
        });
        WeightGenerator {
            tokens,
            reads_support_gradient: options.support_gradient,
            transformer,
            flat_length: target.flat_length,
            feature_dropout: options.feature_dropout,
            activation_embedding,
            feature_norm,
            output_scale,
        }
    }

    /// The encoder over weight and sample tokens, if the generator consists of one.
    pub fn joint_encoder(&self) -> Option<&Stack> {
        match &self.transformer {
            Transformer::Joint(encoder) => Some(encoder),
            _ => None,
        }
    }

    /// Widths of weight and sample tokens.
    pub fn token_widths(&self) -> (usize, usize) {
        self.transformer.token_widths(&self.tokens)
    }

    /// Cost per task with this many support samples, whose activations have this size.
    pub fn cost(&self, layout: &ParameterLayout, samples: usize, size: MapSize) -> PartCost {
        let embedded = self.activation_embedding.as_ref();
        let embedding = embedded.map_or_else(PartCost::default, |one| one.cost(layout, size));
        let slices = self.tokens.slices;
        embedding * samples + self.transformer.cost(layout, slices, samples)
    }

    /// Number of Transformer layers of each stack, and of heads.
    pub fn transformer_size(&self) -> (Vec<usize>, usize) {
        self.transformer.size()
    }

    /// Support set → slices, `[T, slices, slice length]`.
    pub fn generate(&self, parameters: &Parameters, support: &SupportView) -> Tensor {
        let [tasks, samples] = sizes(support.labels, "support labels");
        let features = self
            .features(parameters, support)
            .view([tasks, samples, -1]);
        let features = support.hooks.drop(self.feature_dropout, features);
        let mask = support.mask.map(|mask| {
            let shape = [tasks, 1, 1, samples];
            mask.log().view(shape)
        });
        let input = TransformerInput {
            features: &features,
            labels: support.labels,
            support_gradient: support.support_gradient,
            mask: mask.as_ref(),
            hooks: support.hooks,
        };
        let outputs = self.transformer.forward(parameters, &self.tokens, input);
        let slices = self.tokens.slices_of(&outputs);
        match self.output_scale {
            Some((learned, 1.0)) => slices * parameters.get(learned),
            Some((learned, fixed)) => slices * (parameters.get(learned) * fixed),
            None => slices,
        }
    }

    /// Features of the sample tokens, `[T·N, f]`: flat features, activation embedding and image embedding, in this
    /// order, as far as they are used.
    fn features(&self, parameters: &Parameters, support: &SupportView) -> Tensor {
        let activations = support.activations;
        let flat = support.flat.filter(|_| self.flat_length > 0);
        let embedded = self
            .activation_embedding
            .as_ref()
            .map(|embedding| embedding.forward(parameters, activations));
        let groups = [flat, embedded.as_ref(), support.image_embeddings];
        let groups: Vec<&Tensor> = groups.into_iter().flatten().collect();
        let features = Tensor::cat(&groups, 1);
        match &self.feature_norm {
            Some(norm) => norm.forward(parameters, &features),
            None => features,
        }
    }
}

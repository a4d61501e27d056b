//! a_φ: what is known of the support set → tokens → Transformer → the weight slices of one layer.
use tch::Tensor;

use crate::model::batch::EpisodeBatch;
use crate::model::generator::arrangement::Transformer;
use crate::model::generator::embedding::ActivationEmbedding;
use crate::model::generator::tokens::Tokens;
use crate::model::generator::transformer::Stack;
use crate::model::parameters::{
    Initial, LayerNorm, ParameterId, ParameterKind, ParameterLayout, Parameters,
};
use crate::model::part_cost::PartCost;
use crate::model::pass::{Hooks, Pass};
use crate::settings::generator::{GeneratorOptions, Initialization};

/// What one generator is built for.
#[derive(Clone, Debug)]
pub struct Target {
    /// Dotted name of its parameters.
    pub name: String,
    /// Rows of ξ: n, and one more where there are unlabelled samples.
    pub labels: usize,
    /// Number and length of the weight slices.
    pub slices: (usize, usize),
    /// Channels, height and width of the activations before the layer.
    pub activations: (usize, usize, usize),
    /// Length of the flat features that sample tokens hold; 0 leaves them out.
    pub flat_length: usize,
    /// Features of each convolution of h_φl, its kernel size and its strides; none leaves it out.
    pub embedding: Option<(usize, usize, &'static [usize])>,
    /// What slices are multiplied by, with `gradient_step` or always.
    pub output_scale: OutputScale,
}

/// A learned scale for each element of a slice, times a fixed one.
#[derive(Clone, Copy, Debug)]
pub struct OutputScale {
    /// Start of the learned scale.
    pub start: f32,
    /// The fixed one.
    pub fixed: f64,
    /// Whether with any initialisation.
    pub always: bool,
}

/// What a generator sees of the support set.
#[derive(Debug)]
pub struct SupportView<'a> {
    /// Activations before the layer, `[T·N, C, H, W]`.
    pub activations: &'a Tensor,
    /// What the logits layer will read of them, `[T·N, length]`; only its generator asks for it.
    pub flat: Option<&'a Tensor>,
    /// Image embeddings, `[T·N, e]`.
    pub image_embeddings: Option<&'a Tensor>,
    /// What weight tokens hold after μ, `[T, slices, slice length]`; only generators that ask for it.
    pub beginnings: Option<&'a Tensor>,
    /// `[T, N]`, n for an unlabelled sample.
    pub labels: &'a Tensor,
    /// `[T, N]`, 1 for a sample that counts, 0 for one that is masked.
    pub mask: Option<&'a Tensor>,
    /// What goes along.
    pub hooks: Hooks<'a>,
}

impl<'a> SupportView<'a> {
    /// The support set of `batch` before a layer.
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
            beginnings: None,
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
    /// Whether weight tokens hold, after μ, the direction in which a loss on the support set would move their slices.
    pub(crate) begins_with_gradient: bool,
    transformer: Transformer,
    flat_length: usize,
    feature_dropout: f64,
    activation_embedding: Option<ActivationEmbedding>,
    /// None with the paper's initialisation.
    feature_norm: Option<LayerNorm>,
    /// The learned scale and the fixed one.
    output_scale: Option<(ParameterId, f64)>,
}

impl WeightGenerator {
    /// With `gradient_step` sample features pass a LayerNorm, and slices a learned scale; with `paper` neither is
    /// there, but for the scale of slices that are added to learned weights.
    pub fn new(
        layout: &mut ParameterLayout,
        options: &GeneratorOptions,
        initialization: Initialization,
        target: &Target,
    ) -> WeightGenerator {
        let name = target.name.as_str();
        let activation_embedding = target.embedding.map(|(features, kernel_size, strides)| {
            ActivationEmbedding::new(
                layout,
                &format!("{name}.activation_embedding"),
                target.activations,
                features,
                kernel_size,
                strides,
            )
        });
        let embedded = activation_embedding
            .as_ref()
            .map_or(0, ActivationEmbedding::width);
        let features = target.flat_length + embedded + options.image_embedding;
        let label_dim = options.label_dim;
        let tokens = Tokens::new(
            layout,
            name,
            target.labels,
            label_dim,
            target.slices,
            features,
        );
        let transformer = Transformer::new(layout, name, options, &tokens);
        let prepared = initialization == Initialization::GradientStep;
        let feature_norm =
            prepared.then(|| LayerNorm::new(layout, &format!("{name}.feature_norm"), features));
        let output_scale = (prepared || target.output_scale.always).then(|| {
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
            begins_with_gradient: options.support_gradient,
            transformer,
            flat_length: target.flat_length,
            feature_dropout: options.feature_dropout,
            activation_embedding,
            feature_norm,
            output_scale,
        }
    }

    /// The joint encoder, if this generator has one.
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

    /// Of one task with this many support samples, whose activations have this size.
    pub fn cost(&self, layout: &ParameterLayout, samples: usize, size: (usize, usize)) -> PartCost {
        let embedded = self.activation_embedding.as_ref();
        let embedding = embedded.map_or_else(PartCost::default, |one| one.cost(layout, size));
        let slices = self.tokens.slices;
        embedding * samples + self.transformer.cost(layout, slices, samples)
    }

    /// Layers of its Transformer, one number a stack, and heads.
    pub fn transformer_size(&self) -> (Vec<usize>, usize) {
        self.transformer.size()
    }

    /// Support set → slices, `[T, slices, slice length]`.
    pub fn generate(&self, parameters: &Parameters, support: &SupportView) -> Tensor {
        let (tasks, samples) = support.labels.size2().unwrap_or_default();
        let features = self
            .features(parameters, support)
            .view([tasks, samples, -1]);
        let features = support.hooks.drop(self.feature_dropout, features);
        let seen = support.mask.map(|mask| {
            let shape = [tasks, 1, 1, samples];
            mask.log().view(shape)
        });
        let outputs = self.transformer.forward(
            parameters,
            &self.tokens,
            (&features, support.labels),
            support.beginnings,
            seen.as_ref(),
            support.hooks,
        );
        let slices = self.tokens.read(&outputs);
        match self.output_scale {
            Some((learned, 1.0)) => slices * parameters.get(learned),
            Some((learned, fixed)) => slices * (parameters.get(learned) * fixed),
            None => slices,
        }
    }

    /// Features of the sample tokens, `[T·N, f]`: flat, embedded, image, those that are there, in this order.
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

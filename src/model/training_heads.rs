//! Classifiers that exist only for training: their losses train φ, and they are not part of θ.

use tch::Tensor;

use crate::model::batch::EpisodeBatch;
use crate::model::cnn::shapes::LayerShape;
use crate::model::generator::generator::{SupportView, WeightGenerator};
use crate::model::generator::gradient_step::initialize_as_gradient_step;
use crate::model::generator::targets::logits_target;
use crate::model::layers::Dense;
use crate::model::parameter_group::ParameterGroup;
use crate::model::parameters::ParameterLayout;
use crate::model::pass::Pass;
use crate::model::weights::LogitsWeights;
use crate::settings::generator::Initialization;
use crate::settings::model::ModelOptions;

/// The training heads of a model.
#[derive(Clone, Debug, Default)]
pub struct TrainingHeads {
    /// A generated logits layer after each convolution except the last, on the means of its channels.
    warm_up: Vec<WeightGenerator>,
    /// Classifies the real classes of the training part by s_φ.
    real_classes: Option<Dense>,
}

/// Logits of the training heads.
#[derive(Debug)]
pub struct HeadLogits {
    /// Query logits of each warm-up head, `[T, Q, n]`.
    pub warm_up: Vec<Tensor>,
    /// Real-class logits of the support images, `[T·N, real classes]`.
    pub real_classes: Option<Tensor>,
}

impl TrainingHeads {
    /// Registers the heads that `options` ask for, after convolutions of these shapes.
    pub(crate) fn new(
        layout: &mut ParameterLayout,
        options: &ModelOptions,
        shapes: &[LayerShape],
    ) -> TrainingHeads {
        let generator = options.generator.of_logits();
        let count = match options.training_heads.warm_up {
            true => shapes.len().saturating_sub(1),
            false => 0,
        };
        let mut warm_up = Vec::with_capacity(count);
        for (layer, shape) in shapes[..count].iter().enumerate() {
            let sizes = (options.way, shape.output.channels);
            let target = logits_target(
                ParameterGroup::WarmUpHead(layer),
                &generator,
                shape.output,
                sizes,
                options.labels(),
            );
            let head = WeightGenerator::new(layout, &generator, options.initialization, &target);
            if options.initialization == Initialization::GradientStep {
                initialize_as_gradient_step(layout, &head, options.seed);
            }
            warm_up.push(head);
        }
        let real_classes = options.training_heads.real_classes.map(|classes| {
            let name = ParameterGroup::RealClassHead.to_string();
            Dense::new(layout, &name, generator.image_embedding, classes)
        });
        TrainingHeads {
            warm_up,
            real_classes,
        }
    }

    /// Number of warm-up heads.
    pub fn warm_up_count(&self) -> usize {
        self.warm_up.len()
    }

    /// Logits of all heads. `support` and `query`: outputs of each convolution, `[T·N, C, H, W]` and `[T·Q, C, H, W]`.
    pub(crate) fn forward(
        &self,
        pass: &Pass,
        batch: &EpisodeBatch,
        image_embeddings: Option<&Tensor>,
        support: &[Tensor],
        query: &[Tensor],
    ) -> HeadLogits {
        let parameters = pass.parameters;
        let queries = batch.query.size()[1];
        let logits = |((generator, support), query): ((&WeightGenerator, &Tensor), &Tensor)| {
            let features = channel_means(support);
            let view = SupportView::new(pass, batch, image_embeddings, support, Some(&features));
            let query = channel_means(query).view([pass.tasks, queries, -1]);
            LogitsWeights::from_slices(&generator.generate(parameters, &view)).forward(&query)
        };
        HeadLogits {
            warm_up: self
                .warm_up
                .iter()
                .zip(support)
                .zip(query)
                .map(logits)
                .collect(),
            real_classes: self
                .real_classes
                .as_ref()
                .zip(image_embeddings)
                .map(|(head, embeddings)| head.forward(parameters, embeddings)),
        }
    }
}

/// `[N, C, H, W]` → `[N, C]`.
fn channel_means(activations: &Tensor) -> Tensor {
    activations.mean_dim(&[2i64, 3][..], false, None)
}

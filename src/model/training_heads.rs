//! Classifiers that only training has: they pull on φ by further losses and are no part of what it generates.
use tch::Tensor;

use crate::model::batch::EpisodeBatch;
use crate::model::cnn::shapes::LayerShape;
use crate::model::generator::generator::{SupportView, WeightGenerator};
use crate::model::generator::gradient_step::start_as_gradient_step;
use crate::model::generator::slices::logits_from_slices;
use crate::model::generator::targets::logits_target;
use crate::model::parameters::{Dense, ParameterLayout};
use crate::model::pass::Pass;
use crate::settings::experiment::Experiment;
use crate::settings::generator::Initialization;

const WARM_UP_HEAD: &str = "warm_up_head";
const REAL_CLASS_HEAD: &str = "real_class_head";
/// What names of their parameters begin with.
pub(crate) const TRAINING_HEADS: [&str; 2] = [WARM_UP_HEAD, REAL_CLASS_HEAD];

/// The heads that an experiment asks for.
#[derive(Clone, Debug, Default)]
pub struct TrainingHeads {
    /// One after each convolution but the last, generated as the logits layer is, on the means of its channels.
    warm_up: Vec<WeightGenerator>,
    /// Tells the real classes of the training part by s_φ.
    real_classes: Option<Dense>,
}

/// What the heads say of an episode.
#[derive(Debug)]
pub struct HeadLogits {
    /// Of the warm-up heads, each `[T, Q, n]`.
    pub warm_up: Vec<Tensor>,
    /// Of the support images, `[T·N, real classes]`.
    pub real_classes: Option<Tensor>,
}

impl TrainingHeads {
    /// Registers what `experiment` asks for; `shapes` are those of the convolutions.
    pub(crate) fn new(
        layout: &mut ParameterLayout,
        experiment: &Experiment,
        shapes: &[LayerShape],
        labels: usize,
    ) -> TrainingHeads {
        let train = &experiment.train;
        let options = experiment.generator.of_layer("logits");
        let warmed = match train.warmup_head_steps {
            0 => 0,
            _ => shapes.len().saturating_sub(1),
        };
        let mut warm_up = Vec::with_capacity(warmed);
        for (layer, shape) in shapes[..warmed].iter().enumerate() {
            let name = format!("{WARM_UP_HEAD}{}", layer + 1);
            let sizes = (experiment.episode.way, shape.output.0);
            let target = logits_target(&name, &options, shape.output, sizes, labels);
            let head = WeightGenerator::new(layout, &options, experiment.initialization, &target);
            if experiment.initialization == Initialization::GradientStep {
                start_as_gradient_step(layout, &head, train.seed);
            }
            warm_up.push(head);
        }
        let head = &train.real_class_head;
        let real_classes = (head.weight > 0.0).then(|| {
            Dense::new(
                layout,
                REAL_CLASS_HEAD,
                options.image_embedding,
                head.classes,
            )
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

    /// `support` and `query`: activations after each convolution, `[T·N, C, H, W]`.
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
            let seen = means(support);
            let view = SupportView::new(pass, batch, image_embeddings, support, Some(&seen));
            logits_from_slices(&generator.generate(parameters, &view))
                .forward(&means(query).view([pass.tasks, queries, -1]))
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

/// `[N, C, H, W]` → `[N, C]`
fn means(activations: &Tensor) -> Tensor {
    activations.mean_dim(&[2i64, 3][..], false, None)
}

//! The target CNN with every weight learned, its logits layer too: what a weight generator stands in for.
use tch::Tensor;

use crate::model::cnn::cnn::{Cnn, LearnedParts};
use crate::model::cnn::shapes::{CnnConfig, ImagesTooSmall};
use crate::model::parameters::{Dense, ParameterLayout};
use crate::model::pass::{Hooks, Observed, Pass};
use crate::settings::cnn::{BatchNormMode, CnnOptions};

/// The layout of its weights and the way through it.
#[derive(Clone, Debug)]
pub struct PlainCnn {
    layout: ParameterLayout,
    buffers: ParameterLayout,
    cnn: Cnn,
    logits: Dense,
}

impl PlainCnn {
    /// For `way` classes of images of channels × height × width.
    ///
    /// # Errors
    /// If the images are too small for it.
    pub fn new(
        options: &CnnOptions,
        image: (usize, usize, usize),
        way: usize,
    ) -> Result<PlainCnn, ImagesTooSmall> {
        let (mut layout, mut buffers) = (ParameterLayout::default(), ParameterLayout::default());
        let config = CnnConfig {
            image,
            options: options.clone(),
        };
        let shapes = config.shapes_of_images()?;
        let learned = LearnedParts {
            kernel: true,
            bias: false,
            batch_norm: true,
        };
        let learned = vec![learned; shapes.len()];
        let cnn = Cnn::new(&mut layout, &mut buffers, &config, &shapes, &learned);
        let logits = Dense::new(&mut layout, "logits", cnn.feature_length(), way);
        Ok(PlainCnn {
            layout,
            buffers,
            cnn,
            logits,
        })
    }

    /// Layout of its weights.
    pub fn layout(&self) -> &ParameterLayout {
        &self.layout
    }

    /// Images `[N, C, H, W]`, normalised by their own statistics → logits `[N, n]`.
    pub fn forward(&self, weights: &Tensor, images: &Tensor) -> Tensor {
        let buffers = Tensor::from_slice(&self.buffers.initial_values(0));
        let (parameters, buffers) = (self.layout.split(weights), self.buffers.split(&buffers));
        let pass = Pass {
            parameters: &parameters,
            buffers: &buffers,
            batch_norm: BatchNormMode::Support,
            support_mask: None,
            training: true,
            tasks: 1,
            hooks: Hooks::default(),
        };
        let mut observed = Observed::default();
        let mut values = images.shallow_clone();
        for layer in 0..self.cnn.shapes().len() {
            let weights = self.cnn.weights(&parameters, layer, None);
            (values, _) = self
                .cnn
                .support(&pass, layer, &weights, &values, &mut observed);
        }
        self.logits
            .forward(&parameters, &self.cnn.features(&values))
    }
}

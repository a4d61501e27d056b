//! The target CNN with all weights learned, as a classifier without a weight generator.

use tch::Tensor;

use crate::model::cnn::cnn::Cnn;
use crate::model::cnn::learned::LearnedConvolution;
use crate::model::cnn::shapes::CnnConfig;
use crate::model::error::ModelError;
use crate::model::layers::Dense;
use crate::model::map_size::MapSize;
use crate::model::parameters::ParameterLayout;
use crate::model::pass::{Hooks, Mode, Normalization, Observed, Pass};
use crate::settings::cnn::CnnOptions;

/// The target CNN with learned convolutions and a learned logits layer.
#[derive(Clone, Debug)]
pub struct PlainCnn {
    layout: ParameterLayout,
    buffers: ParameterLayout,
    cnn: Cnn,
    convolutions: Vec<LearnedConvolution>,
    logits: Dense,
}

impl PlainCnn {
    /// A CNN for `way` classes of images of this size.
    ///
    /// # Errors
    /// If the images are too small for the CNN, or it would have too many weights.
    pub fn new(options: &CnnOptions, image: MapSize, way: usize) -> Result<PlainCnn, ModelError> {
        let (mut layout, mut buffers) = (ParameterLayout::default(), ParameterLayout::default());
        let config = CnnConfig {
            image,
            options: options.clone(),
        };
        let shapes = config.shapes()?;
        let convolutions = shapes.iter().enumerate().map(|(layer, shape)| {
            LearnedConvolution::new(&mut layout, layer, config.kernel_size(shape))
        });
        let convolutions = convolutions.collect();
        let cnn = Cnn::new(&mut buffers, &config, &shapes);
        let logits = Dense::new(&mut layout, "logits", cnn.feature_length(), way);
        layout.ensure_possible()?;
        Ok(PlainCnn {
            layout,
            buffers,
            cnn,
            convolutions,
            logits,
        })
    }

    /// Layout of the weights.
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
            normalization: Normalization::OwnBatch,
            support_mask: None,
            tasks: 1,
            hooks: Hooks::default(),
        };
        let mut observed = Observed::new(Mode::Infer);
        let mut values = images.shallow_clone();
        for (layer, convolution) in self.convolutions.iter().enumerate() {
            let weights = convolution.weights(&parameters);
            (values, _) = self
                .cnn
                .support(&pass, layer, &weights, &values, &mut observed);
        }
        self.logits
            .forward(&parameters, &self.cnn.features(&values))
    }
}

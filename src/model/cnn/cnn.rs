//! The target CNN f(x; θ). It is purely functional: its weights are arguments.

use tch::Tensor;

use crate::model::cnn::block::Block;
use crate::model::cnn::shapes::{CnnConfig, LayerShape};
use crate::model::parameters::ParameterLayout;
use crate::model::pass::{Normalization, Observed, Pass};
use crate::model::statistics::{Source, Statistics};
use crate::model::weights::LayerWeights;
use crate::settings::cnn::Head;

/// The convolution blocks of the target CNN and the features after them.
#[derive(Clone, Debug)]
pub struct Cnn {
    blocks: Vec<Block>,
    config: CnnConfig,
    shapes: Vec<LayerShape>,
}

impl Cnn {
    /// Registers the moving averages of a CNN whose blocks have these shapes.
    pub fn new(buffers: &mut ParameterLayout, config: &CnnConfig, shapes: &[LayerShape]) -> Cnn {
        let blocks = (0..shapes.len()).map(|layer| Block::new(buffers, config, layer));
        Cnn {
            blocks: blocks.collect(),
            config: config.clone(),
            shapes: shapes.to_vec(),
        }
    }

    /// Options and image size.
    pub fn config(&self) -> &CnnConfig {
        &self.config
    }

    /// Sizes of each block.
    pub fn shapes(&self) -> &[LayerShape] {
        &self.shapes
    }

    /// Length of the features that the logits layer reads.
    pub fn feature_length(&self) -> usize {
        self.config.feature_length(&self.shapes)
    }

    /// Applies block `layer` to support activations, `[T·N, C, H, W]`. Returns the output and the statistics that it
    /// was normalised with, which are also recorded for the moving averages.
    pub fn support(
        &self,
        pass: &Pass,
        layer: usize,
        weights: &LayerWeights,
        values: &Tensor,
        observed: &mut Observed,
    ) -> (Tensor, Statistics) {
        let block = &self.blocks[layer];
        let averages;
        let source = match pass.normalization {
            Normalization::MovingAverages => {
                averages = block.averages.statistics(pass.buffers);
                Source::Given(&averages)
            }
            Normalization::OwnBatch | Normalization::Support => Source::Own(pass.support_mask),
        };
        let (output, used) = block.forward(pass, weights, values, source);
        observed.record(&used);
        (output, used)
    }

    /// Applies all blocks to query images, `[T·Q, C, H, W]`. Returns the images and the output of each block. `support`
    /// holds the weights and the support statistics of each block.
    pub fn query(
        &self,
        pass: &Pass,
        images: Tensor,
        support: &[(LayerWeights, Statistics)],
    ) -> Vec<Tensor> {
        let mut activations = vec![images];
        for (layer, (weights, statistics)) in support.iter().enumerate() {
            let source = match pass.normalization {
                Normalization::OwnBatch => Source::Own(None),
                Normalization::Support | Normalization::MovingAverages => Source::Given(statistics),
            };
            let (output, _) =
                self.blocks[layer].forward(pass, weights, &activations[layer], source);
            activations.push(output);
        }
        activations
    }

    /// Output of the last block, `[N, C, H, W]` → features of the logits layer, `[N, length]`.
    pub fn features(&self, activations: &Tensor) -> Tensor {
        match self.config.options.head {
            Head::Flatten => activations.flatten(1, -1),
            Head::Average => activations.mean_dim(&[2i64, 3][..], false, None),
        }
    }
}

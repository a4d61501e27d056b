//! Sizes and operations of the target CNN's layers.

use crate::model::error::ModelError;
use crate::model::map_size::MapSize;
use crate::settings::cnn::{BlockOperation, CnnOptions, Head, Padding, Pooling};

/// Sizes of one convolution block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerShape {
    /// Input of the block.
    pub input: MapSize,
    /// Output of the convolution.
    pub convolved: MapSize,
    /// Output of the block.
    pub output: MapSize,
}

/// Size of a square convolution kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelSize {
    /// O, output channels.
    pub outputs: usize,
    /// I, input channels.
    pub inputs: usize,
    /// k, height and width.
    pub side: usize,
}

impl KernelSize {
    /// Number of weights, O · I · k².
    pub fn weights(self) -> usize {
        self.outputs * self.inputs * self.side * self.side
    }
}

/// The target CNN without its weights.
#[derive(Clone, Debug)]
pub struct CnnConfig {
    /// Size of the images.
    pub image: MapSize,
    /// The CNN's options.
    pub options: CnnOptions,
}

impl CnnConfig {
    /// Sizes of all blocks.
    ///
    /// # Errors
    /// If the activations of a block would have no positions left.
    pub fn shapes(&self) -> Result<Vec<LayerShape>, ModelError> {
        let mut input = self.image;
        let shape_of = |layer| -> Option<LayerShape> {
            let shape = self.shape(layer, input)?;
            input = shape.output;
            Some(shape)
        };
        let shapes: Option<Vec<LayerShape>> = (0..self.options.layers).map(shape_of).collect();
        shapes.ok_or(ModelError::ImagesTooSmall {
            layers: self.options.layers,
            height: self.image.height,
            width: self.image.width,
        })
    }

    /// Sizes of a block; none if its output has no positions.
    fn shape(&self, layer: usize, input: MapSize) -> Option<LayerShape> {
        let options = &self.options;
        let convolved = |size: usize| match options.padding {
            Padding::Same => Some(size.div_ceil(options.stride)),
            Padding::Valid => Some(size.checked_sub(options.kernel_size)? / options.stride + 1),
        };
        let (height, width) = (convolved(input.height)?, convolved(input.width)?);
        let pooling = if self.pools(layer) { 2 } else { 1 };
        let channels = options.channels;
        let shape = LayerShape {
            input,
            convolved: [channels, height, width].into(),
            output: [channels, height / pooling, width / pooling].into(),
        };
        (shape.output.area() > 0).then_some(shape)
    }

    /// Size of the kernel of a block of this shape.
    pub fn kernel_size(&self, shape: &LayerShape) -> KernelSize {
        KernelSize {
            outputs: self.options.channels,
            inputs: shape.input.channels,
            side: self.options.kernel_size,
        }
    }

    /// Operations of a block before and after its batch normalisation, without the convolution.
    pub fn sides(&self, layer: usize) -> (Vec<BlockOperation>, Vec<BlockOperation>) {
        let mut sides = self
            .options
            .block
            .splitn(2, |operation| *operation == BlockOperation::BatchNorm)
            .map(|side| {
                let mut side = side.to_vec();
                side.retain(|operation| match operation {
                    BlockOperation::Convolution => false,
                    BlockOperation::Pool => self.pools(layer),
                    _ => true,
                });
                // Max-pooling and ReLU commute: pooling first leaves a quarter of the data for ReLU.
                if self.options.pooling == Pooling::Max {
                    side.sort_by_key(|operation| *operation != BlockOperation::Pool);
                }
                side
            });
        let before = sides.next().unwrap_or_default();
        (before, sides.next().unwrap_or_default())
    }

    fn pools(&self, layer: usize) -> bool {
        self.options.pooled_layers.is_none_or(|count| layer < count)
            && self.options.block.contains(&BlockOperation::Pool)
    }

    /// Size of the last block's output; of the images if there is no block.
    pub fn last_size(&self, shapes: &[LayerShape]) -> MapSize {
        shapes.last().map_or(self.image, |shape| shape.output)
    }

    /// Length of the features that the logits layer reads, after blocks of these shapes.
    pub fn feature_length(&self, shapes: &[LayerShape]) -> usize {
        let last = self.last_size(shapes);
        match self.options.head {
            Head::Flatten => last.volume(),
            Head::Average => last.channels,
        }
    }
}

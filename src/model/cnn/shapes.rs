//! The target CNN's layers and sizes, without weights.
use thiserror::Error;

use crate::settings::cnn::{BlockOperation, CnnOptions, Head, Padding, Pooling};

/// An image shrinks to nothing on its way through the CNN.
#[derive(Debug, Error)]
#[error(
    "cnn.layers: {layers}: {height}×{width} images shrink to nothing on the way; expected fewer layers, less stride and pooling, or larger images"
)]
pub struct ImagesTooSmall {
    layers: usize,
    height: usize,
    width: usize,
}

/// Sizes of one convolution block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerShape {
    /// Channels, height and width before.
    pub input: (usize, usize, usize),
    /// Channels, height and width of the convolution's output.
    pub convolved: (usize, usize, usize),
    /// Channels, height and width after.
    pub output: (usize, usize, usize),
}

/// The target CNN without its weights.
#[derive(Clone, Debug)]
pub struct CnnConfig {
    /// Channels, height and width of the images.
    pub image: (usize, usize, usize),
    /// Everything else.
    pub options: CnnOptions,
}

impl CnnConfig {
    /// Sizes of each block; none where an image shrinks to nothing.
    pub fn shapes(&self) -> Option<Vec<LayerShape>> {
        let mut input = self.image;
        (0..self.options.layers)
            .map(|layer| {
                let convolved = |size: usize| match self.options.padding {
                    Padding::Same => Some(size.div_ceil(self.options.stride)),
                    Padding::Valid => {
                        Some(size.checked_sub(self.options.kernel_size)? / self.options.stride + 1)
                    }
                };
                let (height, width) = (convolved(input.1)?, convolved(input.2)?);
                let by = if self.pools(layer) { 2 } else { 1 };
                let shape = LayerShape {
                    input,
                    convolved: (self.options.channels, height, width),
                    output: (self.options.channels, height / by, width / by),
                };
                input = shape.output;
                (input.1 > 0 && input.2 > 0).then_some(shape)
            })
            .collect()
    }

    /// The same, or what to tell the user.
    ///
    /// # Errors
    /// If the images are too small.
    pub fn shapes_of_images(&self) -> Result<Vec<LayerShape>, ImagesTooSmall> {
        self.shapes().ok_or(ImagesTooSmall {
            layers: self.options.layers,
            height: self.image.1,
            width: self.image.2,
        })
    }

    /// Operations of a block before and after its batch-norm, the convolution left out.
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
                // Max-pooling and ReLU may change places: pooling first leaves ReLU a quarter of the data.
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

    /// Length of the features that the logits layer reads, after blocks of these shapes.
    pub fn feature_length(&self, shapes: &[LayerShape]) -> usize {
        let (channels, height, width) = shapes.last().map_or(self.image, |shape| shape.output);
        match self.options.head {
            Head::Flatten => channels * height * width,
            Head::Average => channels,
        }
    }
}

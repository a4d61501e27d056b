//! Models that cannot be built.

use thiserror::Error;

/// Largest number of learned parameters: 8 GiB of φ. What a larger model would need is known before any of it is
/// allocated.
pub(crate) const MOST_PARAMETERS: u128 = 1 << 31;

/// A model that cannot be built for images of the given size.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The activations of the CNN would have no positions left.
    #[error(
        "cnn.layers: {layers}: too many for {height}×{width} images, whose activations would have no positions left; \
         expected fewer layers, a smaller stride, less pooling or larger images"
    )]
    ImagesTooSmall {
        /// Number of convolutions.
        layers: usize,
        /// Rows of an image.
        height: usize,
        /// Columns of an image.
        width: usize,
    },
    /// The model would have too many parameters.
    #[error(
        "the model would have {0} learned parameters, expected at most {MOST_PARAMETERS}; choose fewer channels, smaller \
         kernels or smaller tokens"
    )]
    TooManyParameters(u128),
}

//! A trained model: what is learned and how it is used, as one thing.
use tch::Tensor;

use crate::model::hypertransformer::HyperTransformer;

/// A trained model: its layout, φ and moving averages.
pub struct Trained<'a> {
    /// The model.
    pub model: &'a HyperTransformer,
    /// φ, on the device of the computation.
    pub phi: &'a Tensor,
    /// Moving averages, likewise.
    pub buffers: &'a Tensor,
}

//! Operations on tensors that are faster than a plain call of libtorch, some with a custom backward pass.

pub mod convolution;
mod elements;
pub(crate) mod lanes;
pub mod pooled_convolution;
pub mod tape;
pub(crate) mod tasks_as_channels;

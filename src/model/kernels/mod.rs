//! Operations with a forward and a backward pass of their own where libtorch's are slower.

pub mod convolution;
mod numbers;
pub mod pooled_convolution;
pub mod tape;
pub(crate) mod tasks_as_channels;

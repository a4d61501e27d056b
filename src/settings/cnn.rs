//! The `cnn` section of an experiment, the target CNN, and the `batch_norm` key.

use serde::{Deserialize, Serialize};

/// The target CNN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CnnOptions {
    /// Channels of every convolution.
    pub channels: usize,
    /// Number of convolution blocks.
    pub layers: usize,
    /// Kernel size, odd.
    pub kernel_size: usize,
    /// Stride of every convolution.
    pub stride: usize,
    /// Treatment of image borders by convolutions.
    pub padding: Padding,
    /// Operations of a block, in order; the first is `convolution`.
    pub block: Vec<BlockOperation>,
    /// How `pool` combines 2×2 positions.
    pub pooling: Pooling,
    /// Number of blocks, from the first, that pool; null: all.
    pub pooled_layers: Option<usize>,
    /// The nonlinearity.
    pub activation: Activation,
    /// How the output of the last block becomes the features of the logits layer.
    pub head: Head,
}

impl CnnOptions {
    /// Largest number of convolution blocks.
    pub const MOST_LAYERS: usize = 64;
}

/// An operation of a CNN block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockOperation {
    /// Convolution.
    Convolution,
    /// Batch normalisation.
    BatchNorm,
    /// ReLU or leaky ReLU.
    Activation,
    /// 2×2 pooling with stride 2.
    Pool,
}

/// The nonlinearity of the CNN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// max(x, 0.1 x).
    LeakyRelu,
}

/// How a `pool` operation combines 2×2 positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Maximum.
    Max,
    /// Mean.
    Average,
}

/// Treatment of image borders by a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// Zero padding: the output size is the input size / stride, rounded up.
    Same,
    /// No padding: the kernel stays inside the input.
    Valid,
}

/// How the output of the last block becomes the features of the logits layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// All activations, flattened.
    Flatten,
    /// The mean over positions of each channel.
    Average,
}

/// The statistics that batch normalisation uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum BatchNormMode {
    /// Support and query images each by the statistics of their own batch, as in the authors' program: transductive,
    /// because queries influence each other
    #[default]
    Query,
    /// Support and query images by the statistics of the support set: inductive
    Support,
    /// Own batch in training, moving averages at inference: inductive
    Running,
}

impl std::fmt::Display for BatchNormMode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            BatchNormMode::Query => "query",
            BatchNormMode::Support => "support",
            BatchNormMode::Running => "running",
        })
    }
}

impl Default for CnnOptions {
    fn default() -> Self {
        CnnOptions {
            channels: 8,
            layers: 4,
            kernel_size: 3,
            stride: 1,
            padding: Padding::Same,
            block: vec![
                BlockOperation::Convolution,
                BlockOperation::BatchNorm,
                BlockOperation::Activation,
                BlockOperation::Pool,
            ],
            pooling: Pooling::Max,
            pooled_layers: None,
            activation: Activation::Relu,
            head: Head::Flatten,
        }
    }
}

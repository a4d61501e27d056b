//! The target CNN, and whose statistics normalise its activations.
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
    /// What convolutions do at the border.
    pub padding: Padding,
    /// Order of a block's operations; the first is `convolution`.
    pub block: Vec<BlockOperation>,
    /// What `pool` keeps of 2×2 places.
    pub pooling: Pooling,
    /// How many blocks, from the first, pool; null: all.
    pub pooled_layers: Option<usize>,
    /// The nonlinearity.
    pub activation: Activation,
    /// How the last activations become the features of the logits layer.
    pub head: Head,
}

/// One operation of a CNN block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockOperation {
    /// Convolution.
    Convolution,
    /// Batch normalisation.
    BatchNorm,
    /// ReLU or leaky ReLU.
    Activation,
    /// 2×2 pooling, stride 2.
    Pool,
}

/// The nonlinearity of the CNN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// max(x, 0)
    Relu,
    /// max(x, 0.1 x)
    LeakyRelu,
}

/// What a `pool` operation keeps of 2×2 places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The largest.
    Max,
    /// The mean.
    Average,
}

/// What a convolution does at the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// Zeros around the image: size / stride, rounded up, comes out.
    Same,
    /// Nothing: only whole patches count.
    Valid,
}

/// How the last activations become the features of the logits layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// All of them, in a row.
    Flatten,
    /// The mean over places.
    Average,
}

/// Which statistics batch normalisation uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum BatchNormMode {
    /// Each image set by its own batch, as the paper's program does: transductive, queries influence each other.
    #[default]
    Query,
    /// Support and queries alike by the statistics of the support set: inductive.
    Support,
    /// Own batch while training, moving averages afterwards: inductive.
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

//! The target CNN f(x; θ): purely functional, its weights come in as arguments.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::batch_norm::{Affine, BatchNorm, Observed, Pass, Source, Statistics};
use super::parameters::{Initial, ParameterId, ParameterLayout};

/// One operation of a CNN block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockOperation {
    /// 3×3 convolution with zero padding that keeps the size; no bias.
    Convolution,
    /// Batch normalisation.
    BatchNorm,
    /// ReLU.
    Activation,
    /// 2×2 max-pooling, stride 2.
    Pool,
}

/// Sizes of the target CNN.
#[derive(Clone, Debug)]
pub struct CnnConfig {
    /// Channels of the images.
    pub image_channels: usize,
    /// Height and width of the images, in pixels.
    pub image_size: (usize, usize),
    /// Output channels of every convolution.
    pub channels: usize,
    /// Number of convolution blocks.
    pub layers: usize,
    /// Kernel size k (odd).
    pub kernel_size: usize,
    /// Operations of a block, in order; the first is the convolution.
    pub block: Vec<BlockOperation>,
}

impl CnnConfig {
    /// Height and width after `layers` blocks.
    pub fn final_size(&self) -> (usize, usize) {
        let halvings = if self.block.contains(&BlockOperation::Pool) {
            self.layers
        } else {
            0
        };
        let halve = |size: usize| (0..halvings).fold(size, |size, _| size / 2);
        (halve(self.image_size.0), halve(self.image_size.1))
    }

    /// Length of the flattened final activations.
    pub fn flat_length(&self) -> usize {
        let (height, width) = self.final_size();
        self.channels * height * width
    }
}

/// One block: a learned convolution with its normalisation.
#[derive(Clone, Debug)]
struct Block {
    kernel: ParameterId,
    batch_norm: BatchNorm,
}

/// The convolution blocks of the target CNN.
#[derive(Clone, Debug)]
pub struct Cnn {
    blocks: Vec<Block>,
    operations: Vec<BlockOperation>,
    padding: i64,
}

/// Activations of an image set after the last block and the statistics of each block.
#[derive(Debug)]
pub struct Activations {
    /// `[T·N, C, H, W]`
    pub values: Tensor,
    /// One entry a block.
    pub statistics: Vec<Statistics>,
}

impl Cnn {
    /// Registers the learned kernels and normalisations.
    pub fn new(
        layout: &mut ParameterLayout,
        buffers: &mut ParameterLayout,
        config: &CnnConfig,
    ) -> Cnn {
        let (size, channels) = (config.kernel_size, config.channels);
        let blocks = (0..config.layers)
            .map(|layer| {
                let inputs = if layer == 0 {
                    config.image_channels
                } else {
                    channels
                };
                let name = format!("cnn.layer{}", layer + 1);
                let (fan_in, fan_out) = (inputs * size * size, channels * size * size);
                let shape = [channels, inputs, size, size].map(|length| length as i64);
                Block {
                    kernel: layout.add(
                        format!("{name}.kernel"),
                        &shape,
                        Initial::Glorot { fan_in, fan_out },
                    ),
                    batch_norm: BatchNorm::new(
                        layout,
                        buffers,
                        &format!("{name}.batch_norm"),
                        channels,
                    ),
                }
            })
            .collect();
        Cnn {
            blocks,
            operations: config.block.clone(),
            padding: (size / 2) as i64,
        }
    }

    /// The learned kernels, for the L2 penalty.
    pub fn kernels(&self) -> impl Iterator<Item = ParameterId> + '_ {
        self.blocks.iter().map(|block| block.kernel)
    }

    /// Support images `[T·N, C, H, W]` through all blocks; their statistics are noted for the moving averages.
    pub fn support(&self, pass: &Pass, images: &Tensor, observed: &mut Observed) -> Activations {
        let mut statistics = Vec::with_capacity(self.blocks.len());
        let mut values = images.shallow_clone();
        for block in &self.blocks {
            let running = pass
                .uses_running()
                .then(|| block.batch_norm.running(pass.buffers));
            let source = running.as_ref().map_or(Source::Own, Source::Given);
            let (output, own) = self.block(pass, block, &values, source);
            let used = running
                .or(own)
                .expect("statistics are either given or found");
            if pass.training {
                observed.note(&used);
            }
            statistics.push(used);
            values = output;
        }
        Activations { values, statistics }
    }

    /// Query images `[T·Q, C, H, W]` through all blocks; `support` holds the statistics of the support set, where
    /// the mode uses them.
    pub fn query(&self, pass: &Pass, images: &Tensor, support: &[Statistics]) -> Tensor {
        let given = match pass.batch_norm {
            super::batch_norm::BatchNormMode::Support => true,
            _ => pass.uses_running(),
        };
        self.blocks
            .iter()
            .zip(support)
            .fold(images.shallow_clone(), |values, (block, support)| {
                let source = if given {
                    Source::Given(support)
                } else {
                    Source::Own
                };
                self.block(pass, block, &values, source).0
            })
    }

    /// One block, and the statistics it found if the source is [`Source::Own`].
    fn block(
        &self,
        pass: &Pass,
        block: &Block,
        input: &Tensor,
        source: Source,
    ) -> (Tensor, Option<Statistics>) {
        if self.operations.get(1) == Some(&BlockOperation::BatchNorm) {
            self.normalised_convolution(pass, block, input, source)
        } else {
            self.operation_by_operation(pass, block, input, source)
        }
    }

    /// Convolution and batch-norm next to each other, then activation and pooling in either order.
    ///
    /// Max-pooling commutes with maps that do not fall, so with the kernel's sign turned where γ < 0 pooling comes
    /// first and scale, shift and ReLU touch a quarter of the data. Given statistics fold into the kernel.
    fn normalised_convolution(
        &self,
        pass: &Pass,
        block: &Block,
        input: &Tensor,
        source: Source,
    ) -> (Tensor, Option<Statistics>) {
        let (kernel, norm) = (pass.parameters.get(block.kernel), &block.batch_norm);
        if let Source::Given(statistics) = source
            && statistics.mean.size()[0] == 1
        {
            let Affine { scale, shift } = norm.affine(pass.parameters, statistics);
            let folded = kernel * scale.view([-1, 1, 1, 1]);
            let output = self.convolve(input, &folded, Some(&shift.view([-1])));
            return (self.finish(output), None);
        }
        let sign = norm.sign(pass.parameters);
        let turned = kernel * sign.view([-1, 1, 1, 1]);
        let output = self.convolve(input, &turned, None);
        let found = match source {
            Source::Own => {
                let turned = Statistics::of(&output, pass.tasks);
                Some(Statistics {
                    mean: turned.mean * &sign,
                    variance: turned.variance,
                })
            }
            Source::Given(_) => None,
        };
        let affine = match (source, &found) {
            (Source::Given(statistics), _) | (Source::Own, Some(statistics)) => {
                norm.affine(pass.parameters, statistics)
            }
            (Source::Own, None) => unreachable!("own statistics were just found"),
        };
        let pooled = self.pool(output);
        let turned = Affine {
            scale: affine.scale * sign,
            shift: affine.shift,
        };
        (self.activate(turned.apply(&pooled, pass.tasks)), found)
    }

    /// Any other order, as listed.
    fn operation_by_operation(
        &self,
        pass: &Pass,
        block: &Block,
        input: &Tensor,
        source: Source,
    ) -> (Tensor, Option<Statistics>) {
        let mut values = input.shallow_clone();
        let mut found = None;
        for operation in &self.operations {
            values = match operation {
                BlockOperation::Convolution => {
                    self.convolve(&values, pass.parameters.get(block.kernel), None)
                }
                BlockOperation::Activation => values.relu(),
                BlockOperation::Pool => values.max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false),
                BlockOperation::BatchNorm => {
                    let own = match source {
                        Source::Own => Some(Statistics::of(&values, pass.tasks)),
                        Source::Given(_) => None,
                    };
                    let statistics = match (&own, source) {
                        (Some(own), _) => own,
                        (None, Source::Given(statistics)) => statistics,
                        (None, Source::Own) => unreachable!("own statistics were just found"),
                    };
                    let normalised = block
                        .batch_norm
                        .affine(pass.parameters, statistics)
                        .apply(&values, pass.tasks);
                    found = own;
                    normalised
                }
            };
        }
        (values, found)
    }

    fn convolve(&self, input: &Tensor, kernel: &Tensor, bias: Option<&Tensor>) -> Tensor {
        let padding = [self.padding, self.padding];
        input.conv2d(&channels_last(kernel), bias, [1, 1], padding, [1, 1], 1)
    }

    /// Pooling and activation, whichever of them the block has, the cheaper order.
    fn finish(&self, values: Tensor) -> Tensor {
        let pooled = self.pool(values);
        self.activate(pooled)
    }

    fn pool(&self, values: Tensor) -> Tensor {
        if self.operations.contains(&BlockOperation::Pool) {
            values.max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)
        } else {
            values
        }
    }

    fn activate(&self, values: Tensor) -> Tensor {
        if self.operations.contains(&BlockOperation::Activation) {
            values.relu()
        } else {
            values
        }
    }
}

/// The same tensor with channels innermost in memory: a kernel laid out so makes libtorch's CPU convolutions answer
/// in kind, and pooling is then several times faster.
pub(super) fn channels_last(tensor: &Tensor) -> Tensor {
    tensor
        .permute([0, 2, 3, 1])
        .contiguous()
        .permute([0, 3, 1, 2])
}

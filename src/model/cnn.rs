//! The target CNN f(x; θ): purely functional, its weights come in as arguments.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::batch_norm::{Affine, BatchNorm, Observed, Pass, Source, Statistics};
use super::convolution::convolve;
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
    before_norm: Vec<BlockOperation>,
    after_norm: Vec<BlockOperation>,
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
        let mut sides = config
            .block
            .splitn(2, |operation| *operation == BlockOperation::BatchNorm)
            .map(|side| {
                let mut side = side.to_vec();
                side.retain(|operation| *operation != BlockOperation::Convolution);
                // Max-pooling and ReLU may change places: pooling first leaves ReLU a quarter of the data.
                side.sort_by_key(|operation| *operation != BlockOperation::Pool);
                side
            });
        Cnn {
            blocks,
            before_norm: sides.next().unwrap_or_default(),
            after_norm: sides.next().unwrap_or_default(),
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
            let (output, used) = self.block(pass, block, &values, source);
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

    /// One block, and the statistics that it was normalised with.
    fn block(
        &self,
        pass: &Pass,
        block: &Block,
        input: &Tensor,
        source: Source,
    ) -> (Tensor, Statistics) {
        if self.before_norm.is_empty() {
            return self.normalised_convolution(pass, block, input, source);
        }
        let convolved = self.convolve(input, pass.parameters.get(block.kernel));
        let values = operations(&self.before_norm, convolved);
        let statistics = source.statistics(&values, pass.tasks);
        let affine = block.batch_norm.affine(pass.parameters, &statistics);
        let normalised = affine.apply(&values, pass.tasks);
        (operations(&self.after_norm, normalised), statistics)
    }

    /// Convolution and batch-norm next to each other, then activation and pooling in either order.
    ///
    /// Max-pooling commutes with maps that do not fall, so with the kernel's sign turned where γ < 0 pooling comes
    /// first and scale, shift and ReLU touch a quarter of the data. The scale of given statistics folds into the
    /// kernel.
    fn normalised_convolution(
        &self,
        pass: &Pass,
        block: &Block,
        input: &Tensor,
        source: Source,
    ) -> (Tensor, Statistics) {
        let (kernel, norm) = (pass.parameters.get(block.kernel), &block.batch_norm);
        let pools = self.after_norm.first() == Some(&BlockOperation::Pool);
        let (pool, rest) = self.after_norm.split_at(usize::from(pools));
        if let Source::Given(statistics) = source
            && statistics.mean.size()[0] == 1
        {
            let Affine { scale, shift } = norm.affine(pass.parameters, statistics);
            let folded = kernel * scale.view([-1, 1, 1, 1]);
            let pooled = operations(pool, self.convolve(input, &folded));
            let shifted = pooled + shift.view([1, -1, 1, 1]);
            return (operations(rest, shifted), statistics.shallow_clone());
        }
        let sign = norm.sign(pass.parameters);
        let turned = kernel * sign.view([-1, 1, 1, 1]);
        let output = self.convolve(input, &turned);
        let statistics = match source {
            Source::Given(statistics) => statistics.shallow_clone(),
            Source::Own => {
                let turned = Statistics::of(&output, pass.tasks);
                Statistics {
                    mean: turned.mean * &sign,
                    variance: turned.variance,
                }
            }
        };
        let affine = norm.affine(pass.parameters, &statistics);
        let turned = Affine {
            scale: affine.scale * sign,
            shift: affine.shift,
        };
        let pooled = operations(pool, output);
        let normalised = turned.apply(&pooled, pass.tasks);
        (operations(rest, normalised), statistics)
    }

    fn convolve(&self, input: &Tensor, kernel: &Tensor) -> Tensor {
        convolve(input, kernel, 1, self.padding)
    }
}

/// Operations without weights, in order.
fn operations(list: &[BlockOperation], values: Tensor) -> Tensor {
    list.iter()
        .fold(values, |values, operation| match operation {
            BlockOperation::Activation => values.relu(),
            BlockOperation::Pool => values.max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false),
            BlockOperation::Convolution | BlockOperation::BatchNorm => values,
        })
}

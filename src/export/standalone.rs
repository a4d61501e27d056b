//! A stand-alone CNN: layers with weights, class names, and the preparation of pictures.

use ndarray::ArrayD;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::model::batch::tensor_of_bytes;
use crate::pictures::preparation::Preparation;

/// Version of the format of exported files. Those of version 1 have no checksum.
pub(crate) const FORMAT_VERSION: u32 = 2;

/// Largest number of layers: 64 blocks of a convolution and three more operations, and the logits layer.
pub(crate) const MOST_LAYERS: usize = 512;
/// Largest number of classes, as in training.
const MOST_LABELS: usize = 10_000;
/// Largest stride and padding of a convolution.
const LARGEST_STEP: usize = 64;
/// Largest number of values between two layers: 256 MiB.
const MOST_VALUES: usize = 1 << 26;
/// Largest number of multiply-adds per picture, some seconds of work.
const MOST_MULTIPLY_ADDS: usize = 1 << 38;

/// Operation of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
pub enum Operation {
    /// Convolution with weight `[O, I, k, k]` and bias `[O]`.
    Convolution {
        /// Stride in both directions.
        stride: usize,
        /// Width of the zero padding on each side.
        padding: usize,
    },
    /// Scale and shift per channel, both `[C, 1, 1]`: a batch-norm after a nonlinearity or pooling, which cannot be
    /// folded into the convolution.
    Affine,
    /// max(x, 0)
    Relu,
    /// max(x, slope · x)
    LeakyRelu {
        /// Slope for negative values.
        slope: f32,
    },
    /// Maximum over 2×2 places, stride 2.
    MaxPool,
    /// Mean over 2×2 places, stride 2.
    AveragePool,
    /// Mean over all places, `[C, H, W]` to `[C]`.
    GlobalAverage,
    /// All values as one vector.
    Flatten,
    /// Dense layer with weight `[n, length]` and bias `[n]`.
    Dense,
}

/// One layer of a stand-alone CNN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Name of the layer; its tensors are `NAME.weight` and `NAME.bias`.
    pub name: String,
    /// The operation.
    #[serde(flatten)]
    pub operation: Operation,
    /// Weight (or scale) and bias (or shift), if the operation has them.
    #[serde(skip)]
    pub weights: Option<(ArrayD<f32>, ArrayD<f32>)>,
}

/// The run that generated a CNN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Run folder or bundle.
    pub run: String,
    /// Optimizer steps of the checkpoint.
    pub checkpoint_step: u64,
    /// Source of the batch-norm statistics: `support` or `running`.
    pub batch_norm: String,
    /// Name and version of the program.
    pub program: String,
}

/// A stand-alone CNN. Its serialised form is the description in exported files, without weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StandaloneCnn {
    /// Version of the format, `FORMAT_VERSION`.
    pub format_version: u32,
    /// Name of the class of each logit.
    pub labels: Vec<String>,
    /// How a picture is prepared.
    pub preparation: Preparation,
    /// The layers in order.
    pub layers: Vec<Layer>,
    /// The run that generated it.
    pub origin: Origin,
}

/// Size and computational cost of a CNN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Number of weights, biases, scales and shifts.
    pub parameters: usize,
    /// Number of multiply-adds per picture.
    pub multiply_adds: usize,
}

impl StandaloneCnn {
    /// Computes logits, `[N, n]`, from pictures, `[N, C, H, W]`, with values from 0 to 1.
    pub fn logits(&self, pictures: &Tensor) -> Tensor {
        let mut values = pictures.shallow_clone();
        for layer in &self.layers {
            values = layer.apply(&values);
        }
        values
    }

    /// Computes the probability of each class, `[n]`, for a prepared picture, `[C, H, W]` bytes.
    pub fn probabilities(&self, pixels: &[u8]) -> Vec<f64> {
        let [channels, height, width] = self.preparation.shape();
        let picture = tensor_of_bytes(pixels, [1, channels, height, width], Device::Cpu);
        let logits = tch::no_grad(|| self.logits(&picture));
        let probabilities = logits.to_kind(Kind::Double).softmax(-1, Kind::Double);
        let mut values = vec![0.0; self.labels.len()];
        probabilities.copy_data(&mut values, self.labels.len());
        values
    }

    /// Checks that the layers fit together and are not too large, and counts parameters and multiply-adds.
    ///
    /// # Errors
    /// A description of the first layer that does not fit its input, or of a wrong number of logits.
    pub fn cost(&self) -> Result<Cost, String> {
        if let Some(fault) = self.preparation.fault() {
            return Err(fault);
        }
        for (what, count, most) in [
            ("layers", self.layers.len(), MOST_LAYERS),
            ("labels", self.labels.len(), MOST_LABELS),
        ] {
            if !(1..=most).contains(&count) {
                return Err(format!("it has {count} {what}, expected 1 to {most}"));
            }
        }
        let mut shape = self.preparation.shape().to_vec();
        let (mut parameters, mut multiply_adds) = (0, 0);
        for layer in &self.layers {
            let weights = layer.weights.as_ref();
            let refuse = || {
                let of = weights.map_or_else(String::new, |(weight, bias)| {
                    format!(
                        " with a weight {:?} and a bias {:?}",
                        weight.shape(),
                        bias.shape()
                    )
                });
                format!(
                    "the layer `{}`{of} does not accept an input of shape {shape:?}",
                    layer.name
                )
            };
            let (output, cost) = layer.output_shape_and_cost(&shape).ok_or_else(refuse)?;
            parameters += weights.map_or(0, |(weight, bias)| weight.len() + bias.len());
            multiply_adds += cost;
            let values: usize = output.iter().product();
            if values > MOST_VALUES || multiply_adds > MOST_MULTIPLY_ADDS {
                return Err(format!(
                    "the layer `{}` has {values} outputs after {multiply_adds} multiply-adds, expected at most \
                     {MOST_VALUES} and {MOST_MULTIPLY_ADDS}",
                    layer.name
                ));
            }
            shape = output;
        }
        if shape != [self.labels.len()] {
            return Err(format!(
                "its output has shape {shape:?}, but it has {} labels",
                self.labels.len()
            ));
        }
        Ok(Cost {
            parameters,
            multiply_adds,
        })
    }

    /// Whether all weights are finite numbers.
    pub fn is_finite(&self) -> bool {
        let weights = self
            .layers
            .iter()
            .filter_map(|layer| layer.weights.as_ref());
        weights
            .flat_map(|(weight, bias)| weight.iter().chain(bias))
            .all(|value| value.is_finite())
    }
}

impl Layer {
    /// Creates a layer whose operation has no weights.
    pub(crate) fn without_weights(name: String, operation: Operation) -> Layer {
        Layer {
            name,
            operation,
            weights: None,
        }
    }

    /// Whether the operation has weights.
    pub(crate) fn has_weights(&self) -> bool {
        use Operation::{Affine, Convolution, Dense};
        matches!(self.operation, Convolution { .. } | Affine | Dense)
    }

    fn apply(&self, values: &Tensor) -> Tensor {
        let weights = self.weights.as_ref();
        let weights = weights.map(|(weight, bias)| (tensor(weight), tensor(bias)));
        match (self.operation, weights) {
            (Operation::Convolution { stride, padding }, Some((weight, bias))) => {
                let [stride, padding] = [stride, padding].map(|length| [length as i64; 2]);
                values.conv2d(&weight, Some(&bias), stride, padding, [1, 1], 1)
            }
            (Operation::Affine, Some((scale, shift))) => values * scale + shift,
            (Operation::Dense, Some((weight, bias))) => values.linear(&weight, Some(&bias)),
            (Operation::LeakyRelu { slope }, _) => values.maximum(&(values * f64::from(slope))),
            (Operation::MaxPool, _) => values.max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false),
            (Operation::AveragePool, _) => {
                values.avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None)
            }
            (Operation::GlobalAverage, _) => values.mean_dim(&[2i64, 3][..], false, None),
            (Operation::Flatten, _) => values.flatten(1, -1),
            (Operation::Relu, _) => values.relu(),
            // `StandaloneCnn::cost` rejects layers whose weights are missing.
            (Operation::Convolution { .. } | Operation::Affine | Operation::Dense, None) => {
                values.shallow_clone()
            }
        }
    }

    /// Shape of the output for an input of `shape`, and the number of multiply-adds; `None` if the input does not fit.
    fn output_shape_and_cost(&self, shape: &[usize]) -> Option<(Vec<usize>, usize)> {
        let weights = self.weights.as_ref();
        let weights = weights.map(|(weight, bias)| (weight.shape(), bias.shape()));
        match (self.operation, weights, shape) {
            (
                Operation::Convolution { stride, padding },
                Some((&[outputs, inputs, rows, columns], &[biases])),
                &[channels, height, width],
            ) if inputs == channels
                && biases == outputs
                && [outputs, rows, columns].iter().all(|&length| length > 0)
                && (1..=LARGEST_STEP).contains(&stride)
                && padding <= LARGEST_STEP =>
            {
                let out = |size: usize, kernel: usize| {
                    Some((size + 2 * padding).checked_sub(kernel)? / stride + 1)
                };
                let (height, width) = (out(height, rows)?, out(width, columns)?);
                let cost = [outputs, inputs, rows, columns, height, width]
                    .into_iter()
                    .try_fold(1usize, usize::checked_mul)?;
                Some((vec![outputs, height, width], cost))
            }
            (
                Operation::Affine,
                Some((&[scales, 1, 1], &[shifts, 1, 1])),
                &[channels, height, width],
            ) if scales == channels && shifts == channels => {
                Some((shape.to_vec(), channels * height * width))
            }
            (Operation::Dense, Some((&[outputs, inputs], &[biases])), &[length])
                if inputs == length && biases == outputs =>
            {
                Some((vec![outputs], outputs * inputs))
            }
            (Operation::MaxPool | Operation::AveragePool, None, &[channels, height, width])
                if height > 1 && width > 1 =>
            {
                Some((vec![channels, height / 2, width / 2], 0))
            }
            (Operation::GlobalAverage, None, &[channels, _, _]) => Some((vec![channels], 0)),
            (Operation::Flatten, None, _) => Some((vec![shape.iter().product()], 0)),
            (Operation::Relu | Operation::LeakyRelu { .. }, None, _) => Some((shape.to_vec(), 0)),
            _ => None,
        }
    }
}

fn tensor(values: &ArrayD<f32>) -> Tensor {
    let shape: Vec<i64> = values.shape().iter().map(|&length| length as i64).collect();
    let values = values.as_standard_layout();
    Tensor::from_slice(values.as_slice().unwrap_or_default()).view(&shape[..])
}

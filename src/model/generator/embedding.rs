//! s_φ and h_φl: what the weight generators see of an image and of its activations (§4.1, §5.2).
use tch::Tensor;

use crate::model::cnn::batch_norm::BatchNorm;
use crate::model::kernels::convolution::{convolve_shared, mean_of_convolved};
use crate::model::parameters::{Initial, ParameterId, ParameterKind, ParameterLayout, Parameters};
use crate::model::part_cost::PartCost;
use crate::model::pass::{Observed, Pass};

/// A convolution kernel and, unless a normalisation follows that would take it away, its bias.
#[derive(Clone, Copy, Debug)]
struct Convolution {
    kernel: ParameterId,
    bias: Option<ParameterId>,
    stride: i64,
}

impl Convolution {
    fn without_bias(
        layout: &mut ParameterLayout,
        name: &str,
        [outputs, inputs, height, width]: [usize; 4],
        stride: i64,
    ) -> Convolution {
        let area = height * width;
        let initial = Initial::Glorot {
            fan_in: inputs * area,
            fan_out: outputs * area,
        };
        let shape = [outputs, inputs, height, width].map(|length| length as i64);
        Convolution {
            kernel: layout.add(
                format!("{name}.kernel"),
                &shape,
                ParameterKind::Matrix,
                initial,
            ),
            bias: None,
            stride,
        }
    }

    fn with_bias(
        layout: &mut ParameterLayout,
        name: &str,
        shape: [usize; 4],
        stride: i64,
    ) -> Convolution {
        let convolution = Convolution::without_bias(layout, name, shape, stride);
        let (name, shape) = (format!("{name}.bias"), [shape[0] as i64]);
        let zero = Initial::Constant(0.0);
        Convolution {
            bias: Some(layout.add(name, &shape, ParameterKind::Bias, zero)),
            ..convolution
        }
    }

    /// On an image of this size, a map of its output included, and the size that comes out.
    fn cost(
        &self,
        layout: &ParameterLayout,
        size: (usize, usize),
        padding: usize,
    ) -> (PartCost, (usize, usize)) {
        let kernel = layout.spec(self.kernel);
        let out = |size: usize, kernel: i64| {
            (size + 2 * padding - kernel as usize) / self.stride as usize + 1
        };
        let size = (out(size.0, kernel.shape[2]), out(size.1, kernel.shape[3]));
        let places = size.0 * size.1;
        let cost = PartCost {
            multiply_adds: kernel.len() * places,
            kept: 2 * kernel.shape[0] as usize * places,
        };
        (cost, size)
    }

    fn forward(&self, parameters: &Parameters, input: &Tensor, padding: i64) -> Tensor {
        let (kernel, bias) = self.weights(parameters);
        convolve_shared(input, kernel, bias, self.stride, padding)
    }

    /// The mean over places of the output without padding.
    fn mean(&self, parameters: &Parameters, input: &Tensor) -> Tensor {
        let (kernel, bias) = self.weights(parameters);
        mean_of_convolved(input, kernel, bias, self.stride)
    }

    fn weights<'a>(&self, parameters: &'a Parameters) -> (&'a Tensor, Option<&'a Tensor>) {
        let bias = self.bias.map(|bias| parameters.get(bias));
        (parameters.get(self.kernel), bias)
    }
}

fn cost<'a>(
    layout: &ParameterLayout,
    convolutions: impl Iterator<Item = &'a Convolution>,
    mut size: (usize, usize),
    padding: usize,
) -> PartCost {
    let mut sum = PartCost::default();
    for convolution in convolutions {
        let (cost, after) = convolution.cost(layout, size, padding);
        sum = sum + cost;
        size = after;
    }
    sum
}

/// s_φ(x): four 3×3 convolutions with batch-norm, if so wished, and ReLU, stride 2 but for the last, then the mean
/// over places.
#[derive(Clone, Debug)]
pub struct ImageEmbedding {
    layers: Vec<(Convolution, Option<BatchNorm>)>,
}

impl ImageEmbedding {
    /// `width` features from images of `image_channels` channels.
    pub fn new(
        layout: &mut ParameterLayout,
        buffers: &mut ParameterLayout,
        image_channels: usize,
        width: usize,
        batch_norm: bool,
    ) -> ImageEmbedding {
        let layers = [2, 2, 2, 1]
            .into_iter()
            .enumerate()
            .map(|(index, stride)| {
                let inputs = if index == 0 { image_channels } else { width };
                let name = format!("image_embedding.layer{}", index + 1);
                let shape = [width, inputs, 3, 3];
                if !batch_norm {
                    return (Convolution::with_bias(layout, &name, shape, stride), None);
                }
                let convolution = Convolution::without_bias(layout, &name, shape, stride);
                let name = format!("{name}.batch_norm");
                (
                    convolution,
                    Some(BatchNorm::new(Some(layout), buffers, &name, width)),
                )
            })
            .collect();
        ImageEmbedding { layers }
    }

    /// On an image of this size.
    pub fn cost(&self, layout: &ParameterLayout, size: (usize, usize)) -> PartCost {
        cost(layout, self.layers.iter().map(|(layer, _)| layer), size, 1)
    }

    /// `[T·N, C, H, W]` → `[T·N, width]`; statistics of the support images unless moving averages are in use.
    pub fn forward(&self, pass: &Pass, images: &Tensor, observed: &mut Observed) -> Tensor {
        let mut values = images.shallow_clone();
        for (convolution, norm) in &self.layers {
            let output = convolution.forward(pass.parameters, &values, 1);
            values = match norm {
                Some(norm) => {
                    let (normalised, statistics) = norm.by_own_batch(pass, &output);
                    if pass.training {
                        observed.note(&statistics);
                    }
                    normalised
                }
                None => output,
            }
            .relu();
        }
        values.mean_dim(&[2i64, 3][..], false, None)
    }
}

/// h_φl(z): convolutions without padding; the mean over places of each one's output before its ReLU, concatenated.
#[derive(Clone, Debug)]
pub struct ActivationEmbedding {
    convolutions: Vec<Convolution>,
    width: usize,
}

impl ActivationEmbedding {
    /// `features` channels a convolution, one for each stride, on `channels` × `height` × `width` activations. A
    /// kernel is `kernel_size` wide, or as the whole map where that is smaller; what no longer fits is left out.
    pub fn new(
        layout: &mut ParameterLayout,
        name: &str,
        (channels, height, width): (usize, usize, usize),
        features: usize,
        kernel_size: usize,
        strides: &[usize],
    ) -> ActivationEmbedding {
        let kernel = (height.min(kernel_size), width.min(kernel_size));
        let (mut map, mut inputs) = ((height, width), channels);
        let mut convolutions = Vec::new();
        for (index, &stride) in strides.iter().enumerate() {
            if map.0 < kernel.0 || map.1 < kernel.1 {
                break;
            }
            convolutions.push(Convolution::with_bias(
                layout,
                &format!("{name}.convolution{}", index + 1),
                [features, inputs, kernel.0, kernel.1],
                stride as i64,
            ));
            map = (
                (map.0 - kernel.0) / stride + 1,
                (map.1 - kernel.1) / stride + 1,
            );
            inputs = features;
        }
        ActivationEmbedding {
            width: convolutions.len() * features,
            convolutions,
        }
    }

    /// On activations of this size.
    pub fn cost(&self, layout: &ParameterLayout, size: (usize, usize)) -> PartCost {
        cost(layout, self.convolutions.iter(), size, 0)
    }

    /// Number of features of an image.
    pub fn width(&self) -> usize {
        self.width
    }

    /// `[T·N, C, H, W]` → `[T·N, width]`
    pub fn forward(&self, parameters: &Parameters, activations: &Tensor) -> Tensor {
        let mut values = activations.shallow_clone();
        let mut means = Vec::with_capacity(self.convolutions.len());
        for (index, convolution) in self.convolutions.iter().enumerate() {
            if index > 0 {
                values = values.relu();
            }
            if index + 1 == self.convolutions.len() {
                means.push(convolution.mean(parameters, &values));
            } else {
                values = convolution.forward(parameters, &values, 0);
                means.push(values.mean_dim(&[2i64, 3][..], false, None));
            }
        }
        Tensor::cat(&means, 1)
    }
}

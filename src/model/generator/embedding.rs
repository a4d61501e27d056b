//! s_φ and h_φl: embeddings of images and of activations, the features of sample tokens (§4.1, §5.2).

use tch::Tensor;

use crate::model::cnn::batch_norm::BatchNorm;
use crate::model::kernels::convolution::{convolve_shared, mean_of_convolved};
use crate::model::map_size::MapSize;
use crate::model::parameter_group::ParameterGroup;
use crate::model::parameters::{Initial, ParameterId, ParameterKind, ParameterLayout, Parameters};
use crate::model::part_cost::PartCost;
use crate::model::pass::{Observed, Pass};

/// A learned convolution; it has no bias if a batch normalisation follows, which would cancel it.
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

    /// Cost for an input of this size, with one elementwise operation on the output; and the size of the output.
    fn cost(&self, layout: &ParameterLayout, size: MapSize, padding: usize) -> (PartCost, MapSize) {
        let kernel = layout.spec(self.kernel);
        let out = |size: usize, kernel: i64| {
            (size + 2 * padding - kernel as usize) / self.stride as usize + 1
        };
        let output = MapSize {
            channels: kernel.shape[0] as usize,
            height: out(size.height, kernel.shape[2]),
            width: out(size.width, kernel.shape[3]),
        };
        let cost = PartCost {
            multiply_adds: kernel.len() * output.area(),
            activations: 2 * output.volume(),
        };
        (cost, output)
    }

    fn forward(&self, parameters: &Parameters, input: &Tensor, padding: i64) -> Tensor {
        let (kernel, bias) = self.weights(parameters);
        convolve_shared(input, kernel, bias, self.stride, padding)
    }

    /// The mean over positions of the output without padding.
    fn mean(&self, parameters: &Parameters, input: &Tensor) -> Tensor {
        let (kernel, bias) = self.weights(parameters);
        mean_of_convolved(input, kernel, bias, self.stride)
    }

    fn weights<'a>(&self, parameters: &'a Parameters) -> (&'a Tensor, Option<&'a Tensor>) {
        let bias = self.bias.map(|bias| parameters.get(bias));
        (parameters.get(self.kernel), bias)
    }
}

/// Cost of convolutions in sequence.
fn cost<'a>(
    layout: &ParameterLayout,
    convolutions: impl Iterator<Item = &'a Convolution>,
    mut size: MapSize,
    padding: usize,
) -> PartCost {
    let mut sum = PartCost::default();
    for convolution in convolutions {
        let (cost, output) = convolution.cost(layout, size, padding);
        sum = sum + cost;
        size = output;
    }
    sum
}

/// The image embedding s_φ(x): four 3×3 convolutions, of stride 2 except the last, with optional batch normalisation
/// and ReLU, then the mean over positions.
#[derive(Clone, Debug)]
pub struct ImageEmbedding {
    layers: Vec<(Convolution, Option<BatchNorm>)>,
}

impl ImageEmbedding {
    /// An embedding of images with `image_channels` channels into `width` features.
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
                let name = format!("{}.layer{}", ParameterGroup::ImageEmbedding, index + 1);
                let shape = [width, inputs, 3, 3];
                if !batch_norm {
                    return (Convolution::with_bias(layout, &name, shape, stride), None);
                }
                let convolution = Convolution::without_bias(layout, &name, shape, stride);
                let name = format!("{name}.batch_norm");
                (
                    convolution,
                    Some(BatchNorm::new(layout, buffers, &name, width)),
                )
            })
            .collect();
        ImageEmbedding { layers }
    }

    /// Cost per image of this size.
    pub fn cost(&self, layout: &ParameterLayout, size: MapSize) -> PartCost {
        cost(layout, self.layers.iter().map(|(layer, _)| layer), size, 1)
    }

    /// Support images `[T·N, C, H, W]` → embeddings `[T·N, width]`, normalised by their own statistics or by the moving
    /// averages.
    pub fn forward(&self, pass: &Pass, images: &Tensor, observed: &mut Observed) -> Tensor {
        let mut values = images.shallow_clone();
        for (convolution, norm) in &self.layers {
            let output = convolution.forward(pass.parameters, &values, 1);
            values = match norm {
                Some(norm) => {
                    let (normalised, statistics) = norm.forward(pass, &output);
                    observed.record(&statistics);
                    normalised
                }
                None => output,
            }
            .relu();
        }
        values.mean_dim(&[2i64, 3][..], false, None)
    }
}

/// Sizes of an activation embedding.
#[derive(Clone, Copy, Debug)]
pub struct ActivationEmbeddingConfig {
    /// Output channels of each convolution.
    pub features: usize,
    /// Height and width of the kernels.
    pub kernel_size: usize,
    /// The stride of each convolution.
    pub strides: &'static [usize],
}

/// The activation embedding h_φl(z): convolutions without padding and with ReLU between them; the features are the
/// means over positions of each convolution's output.
#[derive(Clone, Debug)]
pub struct ActivationEmbedding {
    convolutions: Vec<Convolution>,
    width: usize,
}

impl ActivationEmbedding {
    /// An embedding of activations of this size. Kernels are as large as the activations where these are smaller than
    /// the kernel size; convolutions that do not fit the output of the one before are left out.
    pub fn new(
        layout: &mut ParameterLayout,
        name: &str,
        size: MapSize,
        config: ActivationEmbeddingConfig,
    ) -> ActivationEmbedding {
        let ActivationEmbeddingConfig {
            features,
            kernel_size,
            strides,
        } = config;
        let kernel = (size.height.min(kernel_size), size.width.min(kernel_size));
        let (mut map, mut inputs) = ((size.height, size.width), size.channels);
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

    /// Cost per sample with activations of this size.
    pub fn cost(&self, layout: &ParameterLayout, size: MapSize) -> PartCost {
        cost(layout, self.convolutions.iter(), size, 0)
    }

    /// Number of features of a sample.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Activations `[T·N, C, H, W]` → embeddings `[T·N, width]`.
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

//! s_φ and h_φl: what the weight generators see of an image and of its activations (§4.1, §5.2).

use tch::{Kind, Tensor};

use super::batch_norm::{BatchNorm, Observed, Pass};
use super::convolution::convolve;
use super::parameters::{Initial, ParameterId, ParameterLayout, Parameters};

/// A convolution kernel and its bias.
#[derive(Clone, Copy, Debug)]
struct Convolution {
    kernel: ParameterId,
    bias: ParameterId,
    stride: i64,
}

impl Convolution {
    fn new(
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
            kernel: layout.add(format!("{name}.kernel"), &shape, initial),
            bias: layout.add(
                format!("{name}.bias"),
                &[outputs as i64],
                Initial::Constant(0.0),
            ),
            stride,
        }
    }

    fn forward(&self, parameters: &Parameters, input: &Tensor, padding: i64) -> Tensor {
        let (kernel, bias) = (parameters.get(self.kernel), parameters.get(self.bias));
        convolve(input, kernel, self.stride, padding) + bias.view([1, -1, 1, 1])
    }
}

/// s_φ(x): four 3×3 convolutions with batch-norm and ReLU, stride 2 but for the last, then the mean over places.
#[derive(Clone, Debug)]
pub struct ImageEmbedding {
    layers: Vec<(Convolution, BatchNorm)>,
}

impl ImageEmbedding {
    /// `width` features from images of `image_channels` channels.
    pub fn new(
        layout: &mut ParameterLayout,
        buffers: &mut ParameterLayout,
        image_channels: usize,
        width: usize,
    ) -> ImageEmbedding {
        let layers = [2, 2, 2, 1]
            .into_iter()
            .enumerate()
            .map(|(index, stride)| {
                let inputs = if index == 0 { image_channels } else { width };
                let name = format!("image_embedding.layer{}", index + 1);
                let shape = [width, inputs, 3, 3];
                (
                    Convolution::new(layout, &name, shape, stride),
                    BatchNorm::new(layout, buffers, &format!("{name}.batch_norm"), width),
                )
            })
            .collect();
        ImageEmbedding { layers }
    }

    /// `[T·N, C, H, W]` → `[T·N, width]`; statistics of the support images unless moving averages are in use.
    pub fn forward(&self, pass: &Pass, images: &Tensor, observed: &mut Observed) -> Tensor {
        let mut values = images.shallow_clone();
        for (convolution, norm) in &self.layers {
            let output = convolution.forward(pass.parameters, &values, 1);
            let (normalised, statistics) = if pass.uses_running() {
                let running = norm.running(pass.buffers);
                let affine = norm.affine(pass.parameters, &running);
                (affine.apply(&output, pass.tasks), running)
            } else {
                norm.by_own_batch(pass, &output)
            };
            if pass.training {
                observed.note(&statistics);
            }
            values = normalised.relu();
        }
        values.mean_dim(&[2i64, 3][..], false, Kind::Float)
    }
}

/// h_φl(z): convolutions without padding; the mean over places of each one's output before its ReLU, concatenated.
#[derive(Clone, Debug)]
pub struct ActivationEmbedding {
    convolutions: Vec<Convolution>,
}

impl ActivationEmbedding {
    /// `features` channels a convolution, one for each stride, on `channels` × `height` × `width` activations. A
    /// kernel is 3×3, or the whole map where that is smaller; what no longer fits is left out.
    pub fn new(
        layout: &mut ParameterLayout,
        name: &str,
        channels: usize,
        (height, width): (usize, usize),
        features: usize,
        strides: &[usize],
    ) -> ActivationEmbedding {
        let kernel = (height.min(3), width.min(3));
        let (mut map, mut inputs) = ((height, width), channels);
        let mut convolutions = Vec::new();
        for (index, &stride) in strides.iter().enumerate() {
            if map.0 < kernel.0 || map.1 < kernel.1 {
                break;
            }
            convolutions.push(Convolution::new(
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
        ActivationEmbedding { convolutions }
    }

    /// Number of convolutions that fitted.
    pub fn depth(&self) -> usize {
        self.convolutions.len()
    }

    /// `[T·N, C, H, W]` → `[T·N, depth · features]`
    pub fn forward(&self, parameters: &Parameters, activations: &Tensor) -> Tensor {
        let mut values = activations.shallow_clone();
        let mut means = Vec::with_capacity(self.convolutions.len());
        for (index, convolution) in self.convolutions.iter().enumerate() {
            if index > 0 {
                values = values.relu();
            }
            values = convolution.forward(parameters, &values, 0);
            means.push(values.mean_dim(&[2i64, 3][..], false, Kind::Float));
        }
        Tensor::cat(&means, 1)
    }
}

//! Converts θ to the layers of a stand-alone CNN and folds batch-norm into the convolutions that it directly follows.

use ndarray::ArrayD;
use tch::Tensor;

use crate::base::device::elements;
use crate::export::standalone::{Layer, Operation};
use crate::model::cnn::batch_norm::Affine;
use crate::model::cnn::block::LEAK;
use crate::model::cnn::shapes::CnnConfig;
use crate::model::hypertransformer::Theta;
use crate::settings::cnn::{Activation, BlockOperation, Head, Padding, Pooling};

/// Converts the θ of a single task to layers. The logits layer keeps the first `classes` class slots.
pub(crate) fn layers(config: &CnnConfig, theta: &Theta, classes: usize) -> Vec<Layer> {
    let options = &config.options;
    let mut layers = Vec::new();
    for (index, (weights, statistics)) in theta.layers.iter().enumerate() {
        let name = format!("layer{}", index + 1);
        let (before, after) = config.sides(index);
        let Affine { scale, shift } = Affine::normalising(&weights.batch_norm, statistics);
        let (scale, shift) = (scale.view([-1]), shift.view([-1]));
        let kernel = weights.kernel.reshape(last_four(&weights.kernel));
        let bias = weights.bias.as_ref().map(|bias| bias.view([-1]));
        // Directly after the convolution, batch-norm becomes part of it: scale · (K ∗ x + b) + shift.
        let folds = before.is_empty();
        let (kernel, bias) = match (folds, bias) {
            (true, None) => (kernel * scale.view([-1, 1, 1, 1]), shift.shallow_clone()),
            (true, Some(bias)) => (kernel * scale.view([-1, 1, 1, 1]), bias * &scale + &shift),
            (false, bias) => (kernel, bias.unwrap_or_else(|| shift.zeros_like())),
        };
        layers.push(Layer {
            name: name.clone(),
            operation: Operation::Convolution {
                stride: options.stride,
                padding: match options.padding {
                    Padding::Same => options.kernel_size / 2,
                    Padding::Valid => 0,
                },
            },
            weights: Some((array(&kernel), array(&bias))),
        });
        let plain = |operation: &BlockOperation| {
            let (suffix, operation) = match operation {
                BlockOperation::Pool => match options.pooling {
                    Pooling::Max => ("pool", Operation::MaxPool),
                    Pooling::Average => ("pool", Operation::AveragePool),
                },
                BlockOperation::Activation => match options.activation {
                    Activation::Relu => ("activation", Operation::Relu),
                    Activation::LeakyRelu => {
                        let slope = LEAK as f32;
                        ("activation", Operation::LeakyRelu { slope })
                    }
                },
                BlockOperation::Convolution | BlockOperation::BatchNorm => return None,
            };
            Some(Layer::without_weights(
                format!("{name}.{suffix}"),
                operation,
            ))
        };
        layers.extend(before.iter().filter_map(plain));
        if !folds {
            layers.push(Layer {
                name: format!("{name}.batch_norm"),
                operation: Operation::Affine,
                weights: Some((
                    array(&scale.view([-1, 1, 1])),
                    array(&shift.view([-1, 1, 1])),
                )),
            });
        }
        layers.extend(after.iter().filter_map(plain));
    }
    layers.push(match options.head {
        Head::Flatten => Layer::without_weights("features".to_owned(), Operation::Flatten),
        Head::Average => Layer::without_weights("features".to_owned(), Operation::GlobalAverage),
    });
    let first = |values: &Tensor| values.get(0).narrow(0, 0, classes as i64);
    layers.push(Layer {
        name: "logits".to_owned(),
        operation: Operation::Dense,
        weights: Some((
            array(&first(&theta.logits.weight)),
            array(&first(&theta.logits.bias)),
        )),
    });
    layers
}

/// The shape `[O, I, k, k]` of a kernel that all tasks share, or of the kernel of a single task, `[1, O, I, k, k]`.
fn last_four(kernel: &Tensor) -> Vec<i64> {
    let size = kernel.size();
    size[size.len() - 4..].to_vec()
}

fn array(values: &Tensor) -> ArrayD<f32> {
    let shape: Vec<usize> = values
        .size()
        .iter()
        .map(|&length| length as usize)
        .collect();
    ArrayD::from_shape_vec(shape, elements(values)).expect("as many numbers as the shape says")
}

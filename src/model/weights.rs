//! θ_l: the weights of single layers of the target CNN.

use tch::Tensor;

/// The weights θ_l of one convolution block.
#[derive(Debug)]
pub struct LayerWeights {
    /// `[O, I, k, k]` if all tasks share it, else `[T, O, I, k, k]`.
    pub kernel: Tensor,
    /// `[O]` or `[T, O]`.
    pub bias: Option<Tensor>,
    /// γ and β of the batch normalisation, both `[O]` or `[T, O]`.
    pub batch_norm: (Tensor, Tensor),
}

impl LayerWeights {
    /// Applies `change` to each tensor.
    pub fn map(&self, change: impl Fn(&Tensor) -> Tensor) -> LayerWeights {
        LayerWeights {
            kernel: change(&self.kernel),
            bias: self.bias.as_ref().map(&change),
            batch_norm: (change(&self.batch_norm.0), change(&self.batch_norm.1)),
        }
    }

    /// Adds the tensors of two layers of the same shapes.
    pub fn plus(&self, other: &LayerWeights) -> LayerWeights {
        let biases = self.bias.as_ref().zip(other.bias.as_ref());
        LayerWeights {
            kernel: &self.kernel + &other.kernel,
            bias: biases.map(|(one, other)| one + other),
            batch_norm: (
                &self.batch_norm.0 + &other.batch_norm.0,
                &self.batch_norm.1 + &other.batch_norm.1,
            ),
        }
    }
}

/// The weights of a generated logits layer.
#[derive(Debug)]
pub struct LogitsWeights {
    /// W, `[T, n, length]`.
    pub weight: Tensor,
    /// b, `[T, n]`.
    pub bias: Tensor,
}

impl LogitsWeights {
    /// Splits slices `[T, n, length + 1]`, the bias last, into weight and bias.
    pub fn from_slices(slices: &Tensor) -> LogitsWeights {
        let length = slices.size()[2] - 1;
        LogitsWeights {
            weight: slices.narrow(2, 0, length),
            bias: slices.select(2, length),
        }
    }

    /// Joins weight and bias to slices, `[T, n, length + 1]`.
    pub fn to_slices(&self) -> Tensor {
        Tensor::cat(&[&self.weight, &self.bias.unsqueeze(2)], 2)
    }

    /// Features `[T, Q, length]` → logits `[T, Q, n]`.
    pub fn forward(&self, features: &Tensor) -> Tensor {
        self.bias
            .unsqueeze(1)
            .baddbmm(features, &self.weight.transpose(1, 2), 1.0, 1.0)
    }
}

/// Σ w² of per-task weights `[T, …]`, averaged over tasks.
pub(crate) fn mean_squared_norm(weights: &Tensor) -> Tensor {
    weights.square().sum(None) / weights.size()[0] as f64
}

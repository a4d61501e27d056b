//! Weight slices ⇄ layer weights (§4.1). Output allocation: one slice an output channel.

use tch::Tensor;

/// Weights of a generated logits layer.
#[derive(Debug)]
pub struct LogitsWeights {
    /// W, `[T, n, length]`
    pub weight: Tensor,
    /// b, `[T, n]`
    pub bias: Tensor,
}

/// Slices `[T, n, length + 1]`, the bias last, as a logits layer.
pub fn logits_from_slices(slices: &Tensor) -> LogitsWeights {
    let length = slices.size()[2] - 1;
    LogitsWeights {
        weight: slices.narrow(2, 0, length),
        bias: slices.select(2, length),
    }
}

impl LogitsWeights {
    /// The slices that these weights were cut from, `[T, n, length + 1]`.
    pub fn to_slices(&self) -> Tensor {
        Tensor::cat(&[&self.weight, &self.bias.unsqueeze(2)], 2)
    }

    /// Features `[T, Q, length]` → logits `[T, Q, n]`.
    pub fn forward(&self, features: &Tensor) -> Tensor {
        self.bias
            .unsqueeze(1)
            .baddbmm(features, &self.weight.transpose(1, 2), 1.0, 1.0)
    }

    /// Σ w² over slices' weights, biases left out.
    pub fn squared_norm(&self) -> Tensor {
        self.weight.square().sum(self.weight.kind())
    }
}

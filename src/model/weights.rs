//! θ_l: weights of the layers of the target CNN, as generators write them and as the CNN takes them.
use tch::Tensor;

/// The weights θ_l of one block.
#[derive(Debug)]
pub struct LayerWeights {
    /// `[O, I, k, k]` where all tasks share it, else `[T, O, I, k, k]`
    pub kernel: Tensor,
    /// `[O]` or `[T, O]`
    pub bias: Option<Tensor>,
    /// γ and β, `[O]` or `[T, O]`
    pub batch_norm: (Tensor, Tensor),
}

impl LayerWeights {
    /// Each tensor by `change`.
    pub fn map(&self, change: impl Fn(&Tensor) -> Tensor) -> LayerWeights {
        LayerWeights {
            kernel: change(&self.kernel),
            bias: self.bias.as_ref().map(&change),
            batch_norm: (change(&self.batch_norm.0), change(&self.batch_norm.1)),
        }
    }

    /// Each tensor plus its counterpart.
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

/// Weights generated for a convolution.
#[derive(Debug)]
pub struct ConvolutionWeights {
    /// `[T, O, I, k, k]`
    pub kernel: Tensor,
    /// `[T, O]`
    pub bias: Option<Tensor>,
    /// γ and β of the normalisation, both `[T, O]`.
    pub batch_norm: Option<(Tensor, Tensor)>,
}

/// Weights of a generated logits layer.
#[derive(Debug)]
pub struct LogitsWeights {
    /// W, `[T, n, length]`
    pub weight: Tensor,
    /// b, `[T, n]`
    pub bias: Tensor,
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
}

//! Sample tokens and slice placeholders in one sequence (Fig. 2).
//!
//! Token width D = d + max(slice length, feature length). A weight token is `[μ(i) | 0]`, a sample token
//! `[ξ(c) | features | 0]`; the generated slice is read from the weight token at the places after μ.

use tch::Tensor;

use super::parameters::{Initial, ParameterId, ParameterLayout, Parameters};

/// ξ and μ, and where they lie in a token.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// ξ(c), `[n, d]`
    pub labels: ParameterId,
    /// μ(i), `[slices, d]`
    pub placeholders: ParameterId,
    /// d
    pub label_dim: usize,
    /// Number of weight slices.
    pub slices: usize,
    /// Length of a slice.
    pub slice_length: usize,
    /// D
    pub width: usize,
}

impl Tokens {
    /// ξ and μ start from N(0, 1).
    pub fn new(
        layout: &mut ParameterLayout,
        name: &str,
        way: usize,
        label_dim: usize,
        (slices, slice_length): (usize, usize),
        features: usize,
    ) -> Tokens {
        let shape = |rows: usize| [rows as i64, label_dim as i64];
        let normal = Initial::Normal(1.0);
        Tokens {
            labels: layout.add(format!("{name}.labels"), &shape(way), normal.clone()),
            placeholders: layout.add(format!("{name}.placeholders"), &shape(slices), normal),
            label_dim,
            slices,
            slice_length,
            width: label_dim + slice_length.max(features),
        }
    }

    /// Features `[T, N, f]` and labels `[T, N]` → sequence `[T, slices + N, D]`, weight tokens first.
    pub fn sequence(&self, parameters: &Parameters, features: &Tensor, labels: &Tensor) -> Tensor {
        let (tasks, samples, length) = features.size3().unwrap_or_default();
        let (width, label_dim) = (self.width as i64, self.label_dim as i64);
        let labels = parameters
            .get(self.labels)
            .index_select(0, &labels.view([-1]))
            .view([tasks, samples, label_dim]);
        let samples =
            Tensor::cat(&[&labels, features], 2).constant_pad_nd([0, width - label_dim - length]);
        let weights = parameters
            .get(self.placeholders)
            .constant_pad_nd([0, width - label_dim])
            .unsqueeze(0)
            .expand([tasks, -1, -1], false);
        Tensor::cat(&[weights, samples], 1)
    }

    /// Output tokens `[T, slices, D]` → slices `[T, slices, slice length]`.
    pub fn read(&self, outputs: &Tensor) -> Tensor {
        outputs.narrow(2, self.label_dim as i64, self.slice_length as i64)
    }
}

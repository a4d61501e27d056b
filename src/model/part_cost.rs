//! Work and memory of a part of the model, computed from its sizes.

use std::iter::Sum;
use std::ops::{Add, Mul};

/// Work and memory of a part of the model for one image, token or task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartCost {
    /// Multiply-adds of the forward pass.
    pub multiply_adds: usize,
    /// Approximate number of values that the forward pass keeps for the backward pass: outputs of layers and of
    /// elementwise operations.
    pub activations: usize,
}

impl PartCost {
    /// The cost of an elementwise operation with this many outputs: no multiply-adds.
    pub fn elementwise(activations: usize) -> PartCost {
        PartCost {
            multiply_adds: 0,
            activations,
        }
    }
}

impl Add for PartCost {
    type Output = PartCost;

    fn add(self, other: PartCost) -> PartCost {
        PartCost {
            multiply_adds: self.multiply_adds + other.multiply_adds,
            activations: self.activations + other.activations,
        }
    }
}

impl Mul<usize> for PartCost {
    type Output = PartCost;

    fn mul(self, count: usize) -> PartCost {
        PartCost {
            multiply_adds: self.multiply_adds * count,
            activations: self.activations * count,
        }
    }
}

impl Sum for PartCost {
    fn sum<I: Iterator<Item = PartCost>>(parts: I) -> PartCost {
        parts.fold(PartCost::default(), PartCost::add)
    }
}

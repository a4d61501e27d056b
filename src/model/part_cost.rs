//! What a part of a model costs, counted from its sizes.
use std::iter::Sum;
use std::ops::{Add, Mul};

/// Work and memory of a part, for one image, token or task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartCost {
    /// Multiply-adds forward.
    pub multiply_adds: usize,
    /// Numbers that a forward pass keeps for its gradient, about: outputs of the layers and of the maps between them.
    pub kept: usize,
}

impl PartCost {
    /// Numbers kept and nothing multiplied, as of a map.
    pub fn of_map(kept: usize) -> PartCost {
        PartCost {
            multiply_adds: 0,
            kept,
        }
    }
}

impl Add for PartCost {
    type Output = PartCost;

    fn add(self, other: PartCost) -> PartCost {
        PartCost {
            multiply_adds: self.multiply_adds + other.multiply_adds,
            kept: self.kept + other.kept,
        }
    }
}

impl Mul<usize> for PartCost {
    type Output = PartCost;

    fn mul(self, count: usize) -> PartCost {
        PartCost {
            multiply_adds: self.multiply_adds * count,
            kept: self.kept * count,
        }
    }
}

impl Sum for PartCost {
    fn sum<I: Iterator<Item = PartCost>>(parts: I) -> PartCost {
        parts.fold(PartCost::default(), PartCost::add)
    }
}

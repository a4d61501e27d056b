//! A model together with its tensors.

use tch::Device;

use crate::model::hypertransformer::HyperTransformer;
use crate::model::state::{ModelState, Views};

/// A model together with its φ and moving averages.
#[derive(Clone, Copy)]
pub struct Trained<'a> {
    /// The model.
    pub model: &'a HyperTransformer,
    /// φ and the moving averages, on the device of the computation.
    pub state: &'a ModelState,
}

impl Trained<'_> {
    /// Named views of φ and the moving averages.
    pub fn views(&self) -> Views {
        self.model.views(self.state)
    }

    /// The device of φ.
    pub fn device(&self) -> Device {
        self.state.device()
    }
}

//! The tensors of a model: φ and the moving averages, flat and as named views.

use tch::{Device, Tensor};

use crate::model::kernels::tape::Tape;
use crate::model::parameters::Parameters;

/// φ and the moving averages of batch normalisation, both flat, on one device.
#[derive(Debug, PartialEq)]
pub struct ModelState {
    /// φ, `[φ]`.
    pub phi: Tensor,
    /// Moving averages, in the order of [`HyperTransformer::buffers`].
    ///
    /// [`HyperTransformer::buffers`]: crate::model::hypertransformer::HyperTransformer::buffers
    pub buffers: Tensor,
}

impl ModelState {
    /// Handles of the same tensors.
    #[must_use]
    pub fn shallow_clone(&self) -> ModelState {
        self.map(Tensor::shallow_clone)
    }

    /// The same values on a device.
    #[must_use]
    pub fn to_device(&self, device: Device) -> ModelState {
        self.map(|values| values.to_device(device))
    }

    /// Applies `change` to both vectors.
    #[must_use]
    pub fn map(&self, change: impl Fn(&Tensor) -> Tensor) -> ModelState {
        ModelState {
            phi: change(&self.phi),
            buffers: change(&self.buffers),
        }
    }

    /// The device of φ.
    pub fn device(&self) -> Device {
        self.phi.device()
    }
}

/// Named views of φ and of the moving averages, for any number of forward passes.
#[derive(Debug)]
pub struct Views {
    pub(crate) parameters: Parameters,
    pub(crate) buffers: Parameters,
}

impl Views {
    /// ∂loss/∂φ, `[φ]`, if the views of φ are leaves.
    pub fn gradient(&self, tape: Tape, loss: &Tensor) -> Tensor {
        let parameters = &self.parameters;
        parameters.flat(&tape.gradients(loss, parameters.all()))
    }

    /// The device of φ.
    pub fn device(&self) -> Device {
        self.parameters.device()
    }
}

//! Small models with noise on φ, and what they predict.

use std::sync::{Mutex, PoisonError};

use hypertransformer::base::compute::{Compute, DeviceChoice};
use hypertransformer::episode::episode::Episode;
use hypertransformer::model::batch::EpisodeBatch;
use hypertransformer::model::hypertransformer::{HyperTransformer, Prediction};
use hypertransformer::model::parameters::leaf;
use hypertransformer::model::pass::{Hooks, Mode};
use hypertransformer::model::state::ModelState;
use hypertransformer::settings::cnn::BatchNormMode;
use hypertransformer::train::gradient::{Objective, Prepared, StepGradient, step_gradient};
use tch::{Device, Kind, Tensor};

use crate::common::experiment;

/// All kinds of statistics that batch-norm can use.
pub(crate) const MODES: [BatchNormMode; 3] = [
    BatchNormMode::Support,
    BatchNormMode::Query,
    BatchNormMode::Running,
];

/// A model, its φ and its buffers.
pub(crate) struct Setup {
    pub(crate) model: HyperTransformer,
    pub(crate) phi: Tensor,
    pub(crate) buffers: Tensor,
}

/// Seeding libtorch's generator and drawing from it must not be torn apart: all tests of the program share it.
static GENERATOR: Mutex<()> = Mutex::new(());

/// A model with noise on φ, so that nothing holds by an accident of initialisation.
pub(crate) fn setup(overrides: &[&str], noise: f64) -> Setup {
    tch::set_num_threads(1);
    let model = HyperTransformer::new(&(&experiment(overrides)).into(), [1, 28, 28].into());
    let model = model.unwrap();
    let ModelState { phi, buffers } = model.initial_state(0);
    let drawing = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    tch::manual_seed(1);
    let phi = &phi + phi.randn_like() * noise;
    drop(drawing);
    Setup {
        model,
        phi,
        buffers,
    }
}

impl Setup {
    /// The prediction for episodes in inference.
    pub(crate) fn predict(&self, episodes: &[Episode], mode: BatchNormMode) -> Prediction {
        self.predict_batch(&EpisodeBatch::new(episodes, Device::Cpu), mode)
    }

    /// The prediction for a batch in inference, in the precision of the batch.
    pub(crate) fn predict_batch(&self, batch: &EpisodeBatch, mode: BatchNormMode) -> Prediction {
        let phi = self.phi.to_kind(batch.query.kind());
        self.forward(&phi, batch, (mode, Mode::Infer), Hooks::default())
    }

    /// One forward pass with `phi` in place of its own φ, in the precision and on the device of the batch.
    pub(crate) fn forward(
        &self,
        phi: &Tensor,
        batch: &EpisodeBatch,
        (batch_norm, mode): (BatchNormMode, Mode),
        hooks: Hooks,
    ) -> Prediction {
        let buffers = self.buffers.to_kind(batch.query.kind());
        let buffers = buffers.to_device(batch.query.device());
        let phi = phi.shallow_clone();
        let views = self.model.views(&ModelState { phi, buffers });
        self.model.forward(&views, batch, batch_norm, mode, hooks)
    }

    /// Logits and the gradient of their mean cross-entropy with respect to φ, in the precision of the batch.
    pub(crate) fn gradient(
        &self,
        batch: &EpisodeBatch,
        mode: (BatchNormMode, Mode),
        hooks: Hooks,
    ) -> (Tensor, Tensor) {
        let phi = leaf(&self.phi.to_kind(batch.query.kind()));
        let logits = self.forward(&phi, batch, mode, hooks).logits;
        let loss = logits
            .flatten(0, 1)
            .log_softmax(-1, None)
            .nll_loss(&batch.query_labels.flatten(0, 1));
        let gradient = Tensor::run_backward(&[&loss], &[&phi], false, false).swap_remove(0);
        (logits.detach(), gradient)
    }

    /// Loss and gradient of a step of training on these episodes.
    pub(crate) fn step(
        &self,
        compute: &Compute,
        episodes: Vec<Episode>,
        objective: Objective,
    ) -> StepGradient {
        let state = self.state().to_device(compute.device);
        let prepared = Prepared::new(episodes, compute.device);
        step_gradient(compute, &self.model, &state, &prepared, objective)
    }

    /// Its φ and buffers as the model takes them.
    pub(crate) fn state(&self) -> ModelState {
        ModelState {
            phi: self.phi.shallow_clone(),
            buffers: self.buffers.shallow_clone(),
        }
    }

    /// The part of a flat vector like φ that holds this parameter.
    pub(crate) fn named(&self, flat: &Tensor, name: &str) -> Tensor {
        let specs = self.model.layout().specs();
        let index = specs.iter().position(|spec| spec.name == name).unwrap();
        let start: usize = specs[..index].iter().map(|spec| spec.len()).sum();
        let spec = &specs[index];
        flat.narrow(0, start as i64, spec.len() as i64)
            .view(&spec.shape[..])
    }
}

/// Episodes as a batch in double precision: where two ways of computing differ by rounding alone, hardly a ReLU or a
/// pooling tips over to its other side.
pub(crate) fn double_batch(episodes: &[Episode]) -> EpisodeBatch {
    let mut batch = EpisodeBatch::new(episodes, Device::Cpu);
    for images in [&mut batch.support, &mut batch.query] {
        *images = double(images);
    }
    batch
}

/// Hides samples of a batch in double precision: `seen` holds, for each task, 1 or 0 for each sample.
pub(crate) fn hide_in_double(batch: &mut EpisodeBatch, seen: &[Vec<f32>]) {
    batch.hide(seen);
    let mask = batch.support_mask.take().map(|mask| double(&mask));
    batch.support_mask = mask;
}

/// The same values in double precision.
pub(crate) fn double(values: &Tensor) -> Tensor {
    values.to_kind(Kind::Double)
}

/// The largest absolute difference between elements.
pub(crate) fn largest_difference(left: &Tensor, right: &Tensor) -> f64 {
    (left - right).abs().max().double_value(&[])
}

/// The norm of the difference, as a share of the norm of `expected`.
pub(crate) fn relative_difference(expected: &Tensor, found: &Tensor) -> f64 {
    let norm = |values: &Tensor| values.square().sum(Kind::Double).sqrt().double_value(&[]);
    norm(&(expected - found)) / norm(expected)
}

/// Computing on the CPU with this many threads.
pub(crate) fn cpu(threads: usize) -> Compute {
    Compute::new(DeviceChoice::Cpu, Some(threads)).unwrap()
}

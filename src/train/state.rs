//! What training changes from step to step.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use super::checkpoint::{self, Checkpoint, CheckpointError};
use super::error::TrainError;
use super::optimizer::Optimizer;
use super::run_folder::{CheckpointChoice, RunError, RunFolder};
use crate::config::experiment::Experiment;
use crate::config::to_yaml;
use crate::config::train_options::TrainConfig;
use crate::model::hypertransformer::HyperTransformer;
use crate::model::parameters::ParameterLayout;

/// Factors of the learning rate, where generators have their own.
fn rates(config: &TrainConfig, layout: &ParameterLayout, device: Device) -> Option<Tensor> {
    let all = config.generator_rate as f32;
    let of_convolutions = config.convolution_generator_rate() as f32;
    let of = |name: &str| {
        if name.starts_with("generator.layer") {
            of_convolutions
        } else if name.starts_with("generator.") {
            all
        } else {
            1.0
        }
    };
    let differ = all != 1.0 || of_convolutions != 1.0;
    differ.then(|| Tensor::from_slice(&layout.by_name(of)).to_device(device))
}

fn optimizer(config: &TrainConfig, model: &HyperTransformer, phi: &Tensor) -> Optimizer {
    Optimizer::new(config, phi).with_rates(rates(config, model.layout(), phi.device()))
}

/// What changes from step to step, and what a checkpoint holds.
pub(super) struct State {
    /// Steps done.
    pub(super) step: u64,
    /// Step and accuracy of the best validation.
    pub(super) best: Option<(u64, f64)>,
    /// Parameters that `train.start_from` did not have.
    pub(super) fresh: Vec<String>,
    /// φ
    pub(super) phi: Tensor,
    /// Moving averages.
    pub(super) buffers: Tensor,
    /// With its moments.
    pub(super) optimizer: Optimizer,
}

impl State {
    /// From `train.start_from` or the initialisation.
    pub(super) fn fresh(
        experiment: &Experiment,
        model: &HyperTransformer,
        device: Device,
    ) -> Result<State, TrainError> {
        let config = &experiment.train;
        let (layout, averages, seed) = (model.layout(), model.buffers(), config.seed);
        let initial = |layout: &ParameterLayout| Tensor::from_slice(&layout.initial_values(seed));
        let (phi, buffers, fresh) = match &config.start_from {
            Some(path) => checkpoint::load_start(path, layout, averages, seed).map_err(
                |error| match error {
                    CheckpointError::Missing(path) => TrainError::NoStart(path),
                    error => error.into(),
                },
            )?,
            None => (initial(layout), initial(averages), Vec::new()),
        };
        let phi = phi.to_device(device);
        Ok(State {
            step: 0,
            best: None,
            fresh,
            buffers: buffers.to_device(device),
            optimizer: optimizer(config, model, &phi),
            phi,
        })
    }

    /// From the run's last checkpoint, or as [`fresh`](Self::fresh) if it was stopped before it had any.
    pub(super) fn resumed(
        experiment: &Experiment,
        model: &HyperTransformer,
        device: Device,
        folder: &RunFolder,
    ) -> Result<State, TrainError> {
        let last = folder.checkpoint(&CheckpointChoice::Last);
        if !last.exists() {
            return match folder.any_checkpoint() {
                Some(other) => Err(RunError::LastMissing { last, other }.into()),
                None => State::fresh(experiment, model, device),
            };
        }
        let saved = checkpoint::load(&last, model.layout(), model.buffers())?;
        let phi = saved.phi.to_device(device);
        let mut optimizer = optimizer(&experiment.train, model, &phi);
        optimizer.load_state(&saved.optimizer)?;
        let buffers = saved.buffers.to_device(device);
        Ok(State {
            step: saved.step,
            best: saved.best,
            fresh: Vec::new(),
            phi,
            buffers,
            optimizer,
        })
    }

    /// Writes the state as a checkpoint, whole or not at all.
    pub(super) fn save(
        &self,
        path: &Path,
        experiment: &Experiment,
        model: &HyperTransformer,
    ) -> Result<(), TrainError> {
        let host = |tensor: &Tensor| tensor.to_device(Device::Cpu).to_kind(Kind::Float);
        let saved = Checkpoint {
            step: self.step,
            best: self.best,
            phi: host(&self.phi),
            buffers: host(&self.buffers),
            optimizer: self.optimizer.state().into_iter().collect(),
            experiment: to_yaml(experiment),
            preparation: None,
        };
        checkpoint::save(path, model.layout(), model.buffers(), &saved)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::parameters::Initial;

    #[test]
    fn generators_of_convolutions_may_have_a_rate_of_their_own() {
        let mut layout = ParameterLayout::default();
        for name in [
            "cnn.layer1.kernel",
            "generator.layer1.labels",
            "generator.logits.labels",
        ] {
            layout.add(name.to_owned(), &[1], Initial::Constant(0.0));
        }
        let found = |generator_rate, convolution_generator_rate| {
            let config = TrainConfig {
                generator_rate,
                convolution_generator_rate,
                ..TrainConfig::default()
            };
            rates(&config, &layout, Device::Cpu)
                .map(|rates| Vec::<f32>::try_from(rates).expect("one axis"))
        };
        assert_eq!(found(1.0, None), None);
        assert_eq!(found(0.5, None), Some(vec![1.0, 0.5, 0.5]));
        assert_eq!(found(1.0, Some(0.25)), Some(vec![1.0, 0.25, 1.0]));
        assert_eq!(found(0.5, Some(1.0)), Some(vec![1.0, 1.0, 0.5]));
    }
}

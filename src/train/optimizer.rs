//! Optimizers of the flat vector φ whose complete state can be saved. A step takes a few kernels whatever the model.

use std::collections::HashMap;

use tch::{Kind, Tensor};
use thiserror::Error;

use crate::model::parameter_group::ParameterGroup;
use crate::model::parameters::{ParameterKind, ParameterLayout, ParameterSpec};
use crate::settings::train::{OptimizerKind, TrainConfig, WeightDecayOn};

const MOMENTUM: f64 = 0.9;
const BETA1: f64 = 0.9;
const EPSILON: f64 = 1e-8;

/// An optimizer state in a checkpoint that does not fit the optimizer.
#[derive(Debug, Error)]
#[error(
    "the checkpoint's optimizer state has no usable `{0}`: it was written by another optimizer or for another model"
)]
pub struct OptimizerError(String);

/// Factor of the learning rate of a parameter.
fn rate(config: &TrainConfig, spec: &ParameterSpec) -> f32 {
    match spec.group() {
        Some(ParameterGroup::ConvolutionGenerator(_)) => config.convolution_generator_rate() as f32,
        Some(ParameterGroup::LogitsGenerator) => config.generator_rate as f32,
        _ => 1.0,
    }
}

/// SGD, SGD with momentum, or AdamW (Loshchilov and Hutter 2019).
#[derive(Debug)]
pub struct Optimizer {
    kind: OptimizerKind,
    weight_decay: f64,
    beta2: f64,
    steps: i64,
    moments: Vec<(&'static str, Tensor)>,
    /// Factor of the learning rate for each element of φ; `None`: 1 for all.
    rates: Option<Tensor>,
    /// Factor of the weight decay for each element of φ, its learning-rate factor included; `None`: 1 for all.
    decays: Option<Tensor>,
}

impl Optimizer {
    /// The optimizer before its first step, for φ of this layout.
    pub fn new(config: &TrainConfig, layout: &ParameterLayout, phi: &Tensor) -> Optimizer {
        let names: &[&'static str] = match config.optimizer {
            OptimizerKind::Sgd => &[],
            OptimizerKind::Momentum => &["momentum"],
            OptimizerKind::Adamw => &["first_moment", "second_moment"],
        };
        let moments = names.iter().map(|&name| (name, phi.zeros_like())).collect();
        let rate = |spec: &ParameterSpec| rate(config, spec);
        let decay = |spec: &ParameterSpec| match (config.weight_decay_on, spec.kind) {
            (WeightDecayOn::All, _) | (_, ParameterKind::Matrix) => rate(spec),
            _ => 0.0,
        };
        let factors = |of: &dyn Fn(&ParameterSpec) -> f32| {
            let factors = layout.per_element(of);
            let differ = factors.iter().any(|&factor| factor != 1.0);
            differ.then(|| {
                Tensor::from_slice(&factors)
                    .to_kind(phi.kind())
                    .to_device(phi.device())
            })
        };
        Optimizer {
            kind: config.optimizer,
            weight_decay: config.weight_decay,
            beta2: config.beta2,
            steps: 0,
            moments,
            rates: factors(&rate),
            // Without weight decay there is nothing to multiply by these factors.
            decays: (config.weight_decay > 0.0)
                .then(|| factors(&decay))
                .flatten(),
        }
    }

    /// Updates `phi`, `[φ]`, in place from its gradient, `[φ]`.
    pub fn step(&mut self, phi: &mut Tensor, gradient: &Tensor, learning_rate: f64) {
        self.steps += 1;
        let scaled = |change: Tensor| match &self.rates {
            Some(rates) => change * rates,
            None => change,
        };
        tch::no_grad(|| match (self.kind, self.moments.as_mut_slice()) {
            (OptimizerKind::Momentum, [(_, momentum)]) => {
                *momentum = &*momentum * MOMENTUM + gradient;
                *phi -= scaled(&*momentum * learning_rate);
            }
            (OptimizerKind::Adamw, [(_, first), (_, second)]) => {
                let _ = first.lerp_(gradient, 1.0 - BETA1);
                let _ = second.lerp_(&gradient.square(), 1.0 - self.beta2);
                let correction1 = 1.0 - BETA1.powi(self.steps as i32);
                let correction2 = 1.0 - self.beta2.powi(self.steps as i32);
                let deviation = (&*second / correction2).sqrt() + EPSILON;
                match &self.decays {
                    Some(decays) => *phi *= 1.0 - decays * (learning_rate * self.weight_decay),
                    None => *phi *= 1.0 - learning_rate * self.weight_decay,
                }
                *phi -= scaled(&*first / deviation * (learning_rate / correction1));
            }
            _ => *phi -= scaled(gradient * learning_rate),
        });
    }

    /// The state that a resumed run needs, by name, on the CPU.
    pub(crate) fn state(&self) -> Vec<(String, Tensor)> {
        let moments = self
            .moments
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.to_device(tch::Device::Cpu).copy()));
        moments
            .chain([("steps".to_owned(), Tensor::from_slice(&[self.steps]))])
            .collect()
    }

    /// Restores what [`state`](Self::state) returned.
    ///
    /// # Errors
    /// If a tensor is missing or has another size.
    pub(crate) fn load_state(
        &mut self,
        state: &HashMap<String, Tensor>,
    ) -> Result<(), OptimizerError> {
        for (name, value) in &mut self.moments {
            let saved = state
                .get(*name)
                .filter(|saved| saved.size() == value.size());
            let saved = saved.ok_or_else(|| OptimizerError((*name).to_owned()))?;
            *value = saved.to_device(value.device()).copy();
        }
        let steps = state.get("steps").filter(|steps| steps.size() == [1]);
        let steps = steps.ok_or_else(|| OptimizerError("steps".to_owned()))?;
        self.steps = steps.int64_value(&[0]);
        Ok(())
    }
}

/// Scales a gradient, `[φ]`, down to norm `max_norm` if its norm is larger. Returns it with its norm before scaling.
pub fn clip(gradient: &Tensor, max_norm: Option<f64>) -> (Tensor, f64) {
    let norm = gradient.square().sum(Kind::Double).sqrt().double_value(&[]);
    match max_norm {
        Some(max_norm) if norm > max_norm => (gradient * (max_norm / norm), norm),
        _ => (gradient.shallow_clone(), norm),
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::model::parameters::Initial;

    const GRADIENTS: [f32; 3] = [1.0, -2.0, 0.5];

    /// Layout and φ of parameters that have one element each, all 1.
    fn ones(parameters: &[(&str, ParameterKind)]) -> (ParameterLayout, Tensor) {
        let mut layout = ParameterLayout::default();
        for &(name, kind) in parameters {
            layout.add(name, &[1], kind, Initial::Constant(1.0));
        }
        let phi = Tensor::ones([layout.total() as i64], (Kind::Float, Device::Cpu));
        (layout, phi)
    }

    /// φ after steps with these gradients, which are the same for every element.
    fn run(
        config: &TrainConfig,
        parameters: &[(&str, ParameterKind)],
        learning_rate: f64,
        gradients: &[f32],
    ) -> Vec<f32> {
        let (layout, mut phi) = ones(parameters);
        let mut optimizer = Optimizer::new(config, &layout, &phi);
        for gradient in gradients {
            let gradient = phi.ones_like() * f64::from(*gradient);
            optimizer.step(&mut phi, &gradient, learning_rate);
        }
        Vec::try_from(phi).expect("φ has one axis")
    }

    /// An element with factor r is updated as if the learning rate were r times as large.
    #[test]
    fn rates_are_factors_of_the_learning_rate() {
        let kernel = ParameterKind::Matrix;
        let names = [
            "cnn.layer1.kernel",
            "generator.layer1.w",
            "generator.logits.w",
        ];
        for optimizer in [
            OptimizerKind::Sgd,
            OptimizerKind::Momentum,
            OptimizerKind::Adamw,
        ] {
            for (generator_rate, of_convolutions, rates) in [
                (1.0, None, [1.0, 1.0, 1.0]),
                (0.5, None, [1.0, 0.5, 0.5]),
                (1.0, Some(0.25), [1.0, 0.25, 1.0]),
                (0.5, Some(1.0), [1.0, 1.0, 0.5]),
            ] {
                let config = TrainConfig {
                    optimizer,
                    weight_decay: 0.5,
                    generator_rate,
                    convolution_generator_rate: of_convolutions,
                    ..TrainConfig::default()
                };
                let moved = run(&config, &names.map(|name| (name, kernel)), 0.1, &GRADIENTS);
                for (moved, rate) in moved.iter().zip(rates) {
                    let expected = run(&config, &[("w", kernel)], 0.1 * rate, &GRADIENTS);
                    let difference = (moved - expected[0]).abs();
                    assert!(difference < 1e-6, "{optimizer:?}, {rate}: {difference}");
                }
            }
        }
    }

    #[test]
    fn weight_decay_shrinks_matrices_or_all() {
        use ParameterKind::{Bias, Embedding, Gain, Matrix};
        let kinds = [Matrix, Bias, Gain, Embedding, Matrix];
        let names = ["a", "b", "c", "d", "generator.logits.e"];
        let parameters: Vec<_> = names.into_iter().zip(kinds).collect();
        for (weight_decay_on, expected) in [
            (WeightDecayOn::Matrices, [0.95f32, 1.0, 1.0, 1.0, 0.975]),
            (WeightDecayOn::All, [0.95, 0.95, 0.95, 0.95, 0.975]),
        ] {
            let config = TrainConfig {
                optimizer: OptimizerKind::Adamw,
                weight_decay: 0.5,
                weight_decay_on,
                generator_rate: 0.5,
                ..TrainConfig::default()
            };
            let moved = run(&config, &parameters, 0.1, &[0.0, 0.0]);
            for (moved, expected) in moved.iter().zip(expected) {
                assert!((moved - expected * expected).abs() < 1e-6, "{moved:?}");
            }
        }
    }

    #[test]
    fn adamw_follows_its_definition() {
        let config = TrainConfig {
            optimizer: OptimizerKind::Adamw,
            weight_decay: 0.01,
            beta2: 0.98,
            ..TrainConfig::default()
        };
        let (mut phi, mut first, mut second) = (1.0f64, 0.0, 0.0);
        for (step, gradient) in (1..).zip(GRADIENTS.map(f64::from)) {
            first = 0.9 * first + 0.1 * gradient;
            second = 0.98 * second + 0.02 * gradient * gradient;
            let (corrected, deviation) = (
                first / (1.0 - 0.9f64.powi(step)),
                (second / (1.0 - 0.98f64.powi(step))).sqrt(),
            );
            phi = phi * (1.0 - 0.1 * 0.01) - 0.1 * corrected / (deviation + 1e-8);
        }
        let found = run(&config, &[("w", ParameterKind::Matrix)], 0.1, &GRADIENTS);
        assert!((f64::from(found[0]) - phi).abs() < 1e-6);
    }

    #[test]
    fn momentum_sums_past_gradients() {
        let config = TrainConfig {
            optimizer: OptimizerKind::Momentum,
            ..TrainConfig::default()
        };
        // v: 1, −1.1, −0.49; φ = 1 − 0.1 · (1 − 1.1 − 0.49)
        let found = run(&config, &[("w", ParameterKind::Matrix)], 0.1, &GRADIENTS);
        assert!((found[0] - 1.059).abs() < 1e-6);
    }

    #[test]
    fn a_gradient_is_clipped_and_its_norm_returned() {
        let (clipped, norm) = clip(&Tensor::from_slice(&[3.0f32, 4.0]), Some(1.0));
        assert!((norm - 5.0).abs() < 1e-6);
        assert!((clipped.double_value(&[1]) - 0.8).abs() < 1e-6);
    }
}

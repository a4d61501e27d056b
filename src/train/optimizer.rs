//! Optimizers over flat φ whose whole state can be saved: a few kernels a step, whatever the model.

use std::collections::HashMap;

use tch::{Kind, Tensor};
use thiserror::Error;

use crate::config::train_options::{OptimizerKind, TrainConfig};

const MOMENTUM: f64 = 0.9;
const BETA1: f64 = 0.9;
const EPSILON: f64 = 1e-8;

/// A saved state that does not fit this optimizer.
#[derive(Debug, Error)]
#[error(
    "the checkpoint's optimizer state has no usable `{0}`: it was written by another optimizer or for another model"
)]
pub struct OptimizerError(String);

/// SGD, SGD with momentum, or AdamW (Loshchilov and Hutter 2019).
#[derive(Debug)]
pub struct Optimizer {
    kind: OptimizerKind,
    weight_decay: f64,
    beta2: f64,
    steps: i64,
    moments: Vec<(&'static str, Tensor)>,
    /// Factor of the learning rate of each element of φ; none: 1.
    rates: Option<Tensor>,
}

impl Optimizer {
    /// At its start, for φ of this shape and device.
    pub fn new(config: &TrainConfig, phi: &Tensor) -> Optimizer {
        let names: &[&'static str] = match config.optimizer {
            OptimizerKind::Sgd => &[],
            OptimizerKind::Momentum => &["momentum"],
            OptimizerKind::Adamw => &["first_moment", "second_moment"],
        };
        let moments = names.iter().map(|&name| (name, phi.zeros_like())).collect();
        Optimizer {
            kind: config.optimizer,
            weight_decay: config.weight_decay,
            beta2: config.beta2,
            steps: 0,
            moments,
            rates: None,
        }
    }

    /// With a factor of the learning rate for each element of φ, like φ in shape and device.
    #[must_use]
    pub fn with_rates(self, rates: Option<Tensor>) -> Optimizer {
        Optimizer { rates, ..self }
    }

    /// Moves `phi` in place.
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
                match &self.rates {
                    Some(rates) => *phi *= 1.0 - rates * (learning_rate * self.weight_decay),
                    None => *phi *= 1.0 - learning_rate * self.weight_decay,
                }
                *phi -= scaled(&*first / deviation * (learning_rate / correction1));
            }
            _ => *phi -= scaled(gradient * learning_rate),
        });
    }

    /// Everything a resumed run needs.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let moments = self
            .moments
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.to_device(tch::Device::Cpu).copy()));
        moments
            .chain([("steps".to_owned(), Tensor::from_slice(&[self.steps]))])
            .collect()
    }

    /// # Errors
    /// If a part is missing or has another size.
    pub fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<(), OptimizerError> {
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

/// The gradient, shortened to norm `longest` where it is longer, and its norm before that.
pub fn clip(gradient: &Tensor, longest: Option<f64>) -> (Tensor, f64) {
    let norm = gradient.square().sum(Kind::Double).sqrt().double_value(&[]);
    match longest {
        Some(longest) if norm > longest => (gradient * (longest / norm), norm),
        _ => (gradient.shallow_clone(), norm),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRADIENTS: [f32; 3] = [1.0, -2.0, 0.5];

    /// An element with factor r moves as one alone would at r times the learning rate.
    #[test]
    fn rates_are_factors_of_the_learning_rate() {
        for kind in [
            OptimizerKind::Sgd,
            OptimizerKind::Momentum,
            OptimizerKind::Adamw,
        ] {
            let config = TrainConfig {
                optimizer: kind,
                weight_decay: 0.5,
                ..TrainConfig::default()
            };
            let mut phi = Tensor::from_slice(&[1.0f32, 1.0]);
            let rates = Tensor::from_slice(&[1.0f32, 0.25]);
            let mut optimizer = Optimizer::new(&config, &phi).with_rates(Some(rates));
            for gradient in GRADIENTS {
                optimizer.step(&mut phi, &Tensor::from_slice(&[gradient; 2]), 0.1);
            }
            for (element, rate) in [(0, 0.1), (1, 0.025)] {
                let mut alone = Tensor::from_slice(&[1.0f32]);
                let mut optimizer = Optimizer::new(&config, &alone);
                for gradient in GRADIENTS {
                    optimizer.step(&mut alone, &Tensor::from_slice(&[gradient]), rate);
                }
                let difference = phi.double_value(&[element]) - alone.double_value(&[0]);
                assert!(difference.abs() < 1e-6, "{kind:?}: {difference}");
            }
        }
    }

    fn run(config: &TrainConfig) -> f64 {
        let mut phi = Tensor::from_slice(&[1.0f32]);
        let mut optimizer = Optimizer::new(config, &phi);
        for gradient in GRADIENTS {
            optimizer.step(&mut phi, &Tensor::from_slice(&[gradient]), 0.1);
        }
        phi.double_value(&[0])
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
        assert!((run(&config) - phi).abs() < 1e-6);
    }

    #[test]
    fn momentum_sums_past_gradients() {
        let config = TrainConfig {
            optimizer: OptimizerKind::Momentum,
            ..TrainConfig::default()
        };
        // v: 1, −1.1, −0.49; φ = 1 − 0.1 · (1 − 1.1 − 0.49)
        assert!((run(&config) - 1.059).abs() < 1e-6);
    }

    #[test]
    fn a_long_gradient_is_cut_to_length_and_its_norm_told() {
        let (clipped, norm) = clip(&Tensor::from_slice(&[3.0f32, 4.0]), Some(1.0));
        assert!((norm - 5.0).abs() < 1e-6);
        assert!((clipped.double_value(&[1]) - 0.8).abs() < 1e-6);
    }
}

//! Schedules of the learning rate and of the warm-up heads.

use crate::settings::train::{ScheduleKind, TrainConfig};

/// Learning rate at `step`, counted from 0.
///
/// - `decay`: r · d^(step / s), with r `learning_rate`, d `decay_rate` and s `decay_steps` (Appendix C, as a continuous
///   function).
/// - `cosine`: r · (step + 1) / w during the w warm-up steps, then r · (1 + cos(π · p)) / 2 with p from 0 to 1 over the
///   remaining steps.
pub(crate) fn learning_rate(config: &TrainConfig, step: u64) -> f64 {
    let highest = config.learning_rate;
    match config.schedule {
        ScheduleKind::Decay => {
            highest
                * config
                    .decay_rate
                    .powf(step as f64 / config.decay_steps as f64)
        }
        ScheduleKind::Cosine if step < config.warmup() => {
            highest * (step + 1) as f64 / config.warmup() as f64
        }
        ScheduleKind::Cosine => {
            let length = (config.steps - config.warmup()).max(1);
            let progress = (step - config.warmup()) as f64 / length as f64;
            highest * 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos())
        }
    }
}

/// Weights of the losses of `heads` warm-up heads, and of the loss of the logits layer, at `step`, counted from 0, of a
/// warm-up of `length` steps. As in the authors' program, the weight of each head rises linearly to 1 over length / heads
/// steps and falls again over as many.
pub(crate) fn warm_up_weights(length: u64, heads: usize, step: u64) -> (Vec<f64>, f64) {
    if length == 0 || heads == 0 {
        return (vec![0.0; heads], 1.0);
    }
    let stage = length as f64 / heads as f64;
    let stages = step as f64 / stage;
    let head = |index: usize| (1.0 - (stages - index as f64).abs()).max(0.0);
    let main = 1.0 + stages - heads as f64;
    ((0..heads).map(head).collect(), main.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(left: f64, right: f64) {
        assert!((left - right).abs() < 1e-12, "{left} is not {right}");
    }

    #[test]
    fn decay_is_the_papers_after_four_million_steps() {
        let config = TrainConfig::default();
        near(learning_rate(&config, 0), 0.02);
        near(learning_rate(&config, 4_000_000), 0.02 * 0.95f64.powi(40));
    }

    #[test]
    fn heads_hand_over_to_each_other_and_then_to_the_logits_layer() {
        assert_eq!(warm_up_weights(300, 3, 0), (vec![1.0, 0.0, 0.0], 0.0));
        assert_eq!(warm_up_weights(300, 3, 150), (vec![0.0, 0.5, 0.5], 0.0));
        assert_eq!(warm_up_weights(300, 3, 250), (vec![0.0, 0.0, 0.5], 0.5));
        assert_eq!(warm_up_weights(300, 3, 300), (vec![0.0, 0.0, 0.0], 1.0));
        assert_eq!(warm_up_weights(0, 3, 5), (vec![0.0; 3], 1.0));
    }

    #[test]
    fn cosine_warms_up_then_falls_to_zero() {
        let config = TrainConfig {
            schedule: ScheduleKind::Cosine,
            learning_rate: 1.0,
            warmup_steps: 10,
            steps: 110,
            ..TrainConfig::default()
        };
        near(learning_rate(&config, 0), 0.1);
        near(learning_rate(&config, 9), 1.0);
        near(learning_rate(&config, 60), 0.5);
        near(learning_rate(&config, 110), 0.0);
    }
}

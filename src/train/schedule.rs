//! How the learning rate moves.

use crate::config::train_options::{ScheduleKind, TrainConfig};

/// Learning rate of `step`, counted from 0.
///
/// - `decay`: r · d^(step / s), r the rate, d `decay_rate`, s `decay_steps` (Appendix C, continuously).
/// - `cosine`: r · (step + 1) / w during w warm-up steps, then r · (1 + cos(π · p)) / 2 with p from 0 to 1 over the
///   steps that are left.
pub fn learning_rate(config: &TrainConfig, step: u64) -> f64 {
    let highest = config.learning_rate;
    match config.schedule {
        ScheduleKind::Decay => {
            highest
                * config
                    .decay_rate
                    .powf(step as f64 / config.decay_steps as f64)
        }
        ScheduleKind::Cosine if step < config.warmup_steps => {
            highest * (step + 1) as f64 / config.warmup_steps as f64
        }
        ScheduleKind::Cosine => {
            let length = (config.steps - config.warmup_steps).max(1);
            let progress = (step - config.warmup_steps) as f64 / length as f64;
            highest * 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos())
        }
    }
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

//! Means of what happened since the last log line.
use std::time::{Duration, Instant};

/// Sums since the last log line.
pub(crate) struct Window {
    loss: f64,
    accuracy: f64,
    gradient_norm: f64,
    steps: u64,
    episodes: u64,
    start: Instant,
    waited_before: Duration,
}

/// Means over a window.
pub(crate) struct WindowMeans {
    pub(crate) loss: f64,
    pub(crate) accuracy: f64,
    pub(crate) gradient_norm: f64,
    pub(crate) episodes_per_second: f64,
    /// Fraction of the time spent waiting for episodes.
    pub(crate) loader_wait: f64,
}

impl Window {
    /// Starts now; `waited` is what the loader has waited in all so far.
    pub(crate) fn new(waited: Duration) -> Window {
        Window {
            loss: 0.0,
            accuracy: 0.0,
            gradient_norm: 0.0,
            steps: 0,
            episodes: 0,
            start: Instant::now(),
            waited_before: waited,
        }
    }

    /// Adds one step.
    pub(crate) fn add(&mut self, loss: f64, accuracy: f64, gradient_norm: f64, episodes: usize) {
        self.loss += loss;
        self.accuracy += accuracy;
        self.gradient_norm += gradient_norm;
        self.steps += 1;
        self.episodes += episodes as u64;
    }

    /// Takes time that no step took out of the speed.
    pub(crate) fn leave_out(&mut self, time: Duration) {
        self.start += time;
    }

    /// Means of the steps so far.
    pub(crate) fn means(&self, waited: Duration) -> WindowMeans {
        let (steps, seconds) = (self.steps.max(1) as f64, self.start.elapsed().as_secs_f64());
        WindowMeans {
            loss: self.loss / steps,
            accuracy: self.accuracy / steps,
            gradient_norm: self.gradient_norm / steps,
            episodes_per_second: self.episodes as f64 / seconds,
            loader_wait: (waited - self.waited_before).as_secs_f64() / seconds,
        }
    }
}

//! Time between two lines of the log.

use std::time::{Duration, Instant};

use crate::train::metrics::Speed;

/// Measures how fast training is.
pub(crate) struct Stopwatch {
    episodes: usize,
    start: Instant,
    waited_before: Duration,
}

impl Stopwatch {
    /// Starts now; `waited` is the time that the loader has waited so far in all.
    pub(crate) fn start(waited: Duration) -> Stopwatch {
        Stopwatch {
            episodes: 0,
            start: Instant::now(),
            waited_before: waited,
        }
    }

    /// Counts a step of this many episodes.
    pub(crate) fn count(&mut self, episodes: usize) {
        self.episodes += episodes;
    }

    /// Excludes time in which no step was computed.
    pub(crate) fn exclude(&mut self, time: Duration) {
        self.start += time;
    }

    /// The speed so far, when the loader has waited `waited` in all; `None` before the first step.
    pub(crate) fn speed(&self, waited: Duration) -> Option<Speed> {
        let seconds = self.start.elapsed().as_secs_f64();
        let waited = (waited - self.waited_before).as_secs_f64();
        (self.episodes > 0).then_some(Speed {
            episodes_per_second: self.episodes as f64 / seconds,
            loader_wait: waited / seconds,
        })
    }
}

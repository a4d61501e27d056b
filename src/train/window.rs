//! What is measured between two lines of the log.

use std::time::{Duration, Instant};

use crate::report::averages::Averages;

/// Averages and time since the last line of the log.
pub(crate) struct Window {
    pub(crate) averages: Averages,
    episodes: usize,
    start: Instant,
    waited_before: Duration,
}

impl Window {
    /// Starts now; `waited` is the time that the loader has waited so far in all.
    pub(crate) fn new(waited: Duration) -> Window {
        Window {
            averages: Averages::default(),
            episodes: 0,
            start: Instant::now(),
            waited_before: waited,
        }
    }

    /// Adds a step of this many episodes.
    pub(crate) fn add(&mut self, step: &Averages, episodes: usize) {
        self.averages.merge(step);
        self.episodes += episodes;
    }

    /// Excludes time in which no step was computed.
    pub(crate) fn exclude(&mut self, time: Duration) {
        self.start += time;
    }

    /// Episodes per second so far, and the fraction of the time spent waiting for them.
    pub(crate) fn speed(&self, waited: Duration) -> (f64, f64) {
        let seconds = self.start.elapsed().as_secs_f64();
        let waited = (waited - self.waited_before).as_secs_f64();
        (self.episodes as f64 / seconds, waited / seconds)
    }
}

//! Progress of a whole sweep on stderr: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use hypertransformer::report::clock;
use hypertransformer::report::console::say;
use indicatif::{ProgressBar, ProgressStyle};

/// Time between two plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(60);

/// Time between two readings of the runs' files for the bar.
const BAR_EVERY: Duration = Duration::from_millis(500);

/// Steps of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    pub(super) total: u64,
    /// When this sweep started.
    pub(super) before: u64,
    pub(super) now: u64,
    /// Whether this sweep still trains it.
    pub(super) is_left: bool,
}

pub(super) struct Progress {
    start: Instant,
    shown: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new() -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{wide_bar} {msg}");
            let bar = ProgressBar::new(0);
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        let now = Instant::now();
        Progress {
            start: now,
            shown: now,
            bar,
        }
    }

    /// Whether it is time to show how far the sweep is.
    pub(super) fn is_due(&self) -> bool {
        let every = match self.bar {
            Some(_) => BAR_EVERY,
            None => PLAIN_EVERY,
        };
        self.shown.elapsed() >= every
    }

    /// Shows how far the sweep is: `done` runs, and the steps of all.
    pub(super) fn show(&mut self, done: usize, runs: &[Steps]) {
        self.shown = Instant::now();
        let (now, total) = sums(runs);
        let eta = eta(self.start.elapsed(), runs).map_or("?".to_owned(), clock);
        let text = format!("{done}/{} runs  {now}/{total} steps  eta {eta}", runs.len());
        match &self.bar {
            Some(bar) => {
                bar.set_length(total);
                bar.set_position(now);
                bar.set_message(text);
            }
            None => say(text),
        }
    }

    /// Prints a line above the bar.
    pub(super) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => say(text),
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Steps done and steps in all.
fn sums(runs: &[Steps]) -> (u64, u64) {
    let done = runs.iter().map(|run| run.now.min(run.total)).sum();
    (done, runs.iter().map(|run| run.total).sum())
}

/// Time that is left, at the speed since this sweep started, evaluations included; unknown before the first step.
fn eta(elapsed: Duration, runs: &[Steps]) -> Option<Duration> {
    let gained: u64 = runs
        .iter()
        .map(|run| run.now.saturating_sub(run.before))
        .sum();
    let left = runs.iter().filter(|run| run.is_left);
    let left: u64 = left.map(|run| run.total.saturating_sub(run.now)).sum();
    if left == 0 {
        return Some(Duration::ZERO);
    }
    // Without a step the time is infinite, which is no duration.
    let seconds = elapsed.as_secs_f64() * left as f64 / gained as f64;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten seconds for 100 steps of this sweep; what earlier sweeps did and what others do is not counted.
    #[test]
    fn the_time_left_follows_from_the_speed_of_this_sweep() {
        let steps = |total, before, now, is_left| Steps {
            total,
            before,
            now,
            is_left,
        };
        let runs = [
            steps(1000, 1000, 1000, false),
            steps(1000, 500, 600, true),
            steps(1000, 0, 0, true),
            steps(9000, 0, 0, false),
        ];
        let left = eta(Duration::from_secs(10), &runs);
        assert_eq!(left, Some(Duration::from_secs(140)));
        assert_eq!(eta(Duration::from_secs(10), &runs[2..]), None);
        assert_eq!(
            eta(Duration::from_secs(10), &runs[..1]),
            Some(Duration::ZERO)
        );
        assert_eq!(sums(&runs), (1600, 12_000));
    }
}

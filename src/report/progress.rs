//! Progress of training on stderr: a bar on a terminal, plain lines elsewhere, nothing when quiet.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::report::console;

pub(crate) struct Progress {
    steps: u64,
    first_step: u64,
    start: Instant,
    bar: Option<ProgressBar>,
    quiet: bool,
}

impl Progress {
    pub(crate) fn new(steps: u64, first_step: u64, quiet: bool) -> Progress {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let template = "{wide_bar} {pos}/{len}  {msg}  eta {eta}";
            let style = ProgressStyle::with_template(template);
            let bar = ProgressBar::new(steps).with_position(first_step);
            bar.reset_eta();
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Progress {
            steps,
            first_step,
            start: Instant::now(),
            bar,
            quiet,
        }
    }

    pub(crate) fn show(&self, step: u64, loss: f64, accuracy: f64, rate: f64, speed: Option<f64>) {
        let speed = speed.map_or(String::new(), |speed| format!("  {speed:.0} episodes/s"));
        let accuracy = 100.0 * accuracy;
        if let Some(bar) = &self.bar {
            bar.set_position(step);
            bar.set_message(format!("loss {loss:.4}  accuracy {accuracy:.1} %{speed}"));
        } else if !self.quiet {
            let eta = clock(self.eta(step));
            console::say(format!(
                "step {step}/{}  loss {loss:.4}  accuracy {accuracy:.1} %  lr {rate:.2e}{speed}  eta {eta}",
                self.steps,
            ));
        }
    }

    fn eta(&self, step: u64) -> Duration {
        let done = step.saturating_sub(self.first_step).max(1) as f64;
        let left = self.steps.saturating_sub(step) as f64;
        self.start.elapsed().mul_f64(left / done)
    }

    pub(crate) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None if !self.quiet => console::say(text),
            None => {}
        }
    }

    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A time as `m:ss` or `h:mm:ss`.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_told_apart_from_minutes() {
        assert_eq!(clock(Duration::from_secs(3_725)), "1:02:05");
        assert_eq!(clock(Duration::from_secs(65)), "1:05");
    }
}

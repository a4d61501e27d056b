//! Trains and evaluates runs, a few at a time, each command in a process of its own.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use hypertransformer::base::{files, interrupt};
use hypertransformer::run::error::RunError;
use hypertransformer::run::folder::SWEEP_LOG;
use hypertransformer::run::sweep::standing::{Standing, recorded_step};

use crate::cli::sweep::commands::{Commands, Words};
use crate::cli::sweep::plan::PlannedRun;
use crate::cli::sweep::progress::{Progress, Steps};
use crate::cli::sweep::shell;

/// Time between two looks at the processes.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Number of lines of a failed process that are shown.
const SHOWN_LINES: usize = 8;

/// How the runs ended that did not succeed.
#[derive(Default)]
pub(super) struct Outcome<'a> {
    pub(super) failed: Vec<&'a PlannedRun>,
    /// Another process trains there.
    pub(super) busy: Vec<&'a PlannedRun>,
}

/// A run that is being trained or evaluated.
struct Job<'a> {
    /// Its place among the runs.
    index: usize,
    run: &'a PlannedRun,
    left: VecDeque<Words>,
    process: Child,
    log: PathBuf,
    /// Where in the log the present process begins.
    log_start: u64,
}

/// How a process ended.
enum Ending {
    Success,
    Busy,
    Failure(String),
}

/// Trains and evaluates `runs`, at most `at_once` at a time. When the user asks to stop, the processes are told, and
/// waited for.
pub(super) fn work<'a>(
    runs: &[&'a PlannedRun],
    commands: &Commands,
    at_once: usize,
) -> Outcome<'a> {
    let mut sweep = Sweep::new(runs, commands);
    let mut is_told = false;
    loop {
        while !interrupt::asked() && sweep.jobs.len() < at_once {
            let Some(index) = sweep.waiting.pop_front() else {
                break;
            };
            sweep.start(index);
        }
        if interrupt::asked() && !is_told {
            is_told = true;
            sweep.jobs.iter().for_each(Job::tell_to_stop);
        }
        if sweep.jobs.is_empty() {
            sweep.progress.finish();
            return sweep.outcome;
        }
        sweep.look();
        if sweep.progress.is_due() {
            sweep.show();
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

struct Sweep<'a, 'b> {
    runs: &'b [&'a PlannedRun],
    commands: &'b Commands,
    waiting: VecDeque<usize>,
    jobs: Vec<Job<'a>>,
    steps: Vec<Steps>,
    done: usize,
    progress: Progress,
    outcome: Outcome<'a>,
}

impl<'a, 'b> Sweep<'a, 'b> {
    fn new(runs: &'b [&'a PlannedRun], commands: &'b Commands) -> Sweep<'a, 'b> {
        let steps = runs.iter().map(|run| {
            let standing = Standing::read(&run.folder, &run.experiment);
            Steps {
                total: run.experiment.total_steps(),
                before: standing.steps,
                now: standing.steps,
                is_left: !standing.is_finished,
            }
        });
        Sweep {
            runs,
            commands,
            waiting: (0..runs.len()).collect(),
            jobs: Vec::new(),
            steps: steps.collect(),
            done: 0,
            progress: Progress::new(),
            outcome: Outcome::default(),
        }
    }

    /// Starts what is left to do for a run. It is asked now: another process may have done it meanwhile.
    fn start(&mut self, index: usize) {
        let left = self.commands.left(self.runs[index]);
        self.next(index, left.into());
    }

    /// Starts the first of the commands that are left for a run. If there is none, the run is done.
    fn next(&mut self, index: usize, mut left: VecDeque<Words>) {
        let Some(words) = left.pop_front() else {
            return self.end(index, Ending::Success);
        };
        match Job::start(index, self.runs[index], words, left) {
            Ok(job) => self.jobs.push(job),
            Err(error) => {
                let text = format!("could not be started: {error}");
                self.end(index, Ending::Failure(text));
            }
        }
    }

    /// Looks which processes have ended, and goes on with what is next in their runs.
    fn look(&mut self) {
        for mut job in std::mem::take(&mut self.jobs) {
            let ending = match job.process.try_wait() {
                Ok(None) => {
                    self.jobs.push(job);
                    continue;
                }
                Ok(Some(status)) => job.ending(status),
                Err(error) => Ending::Failure(error.to_string()),
            };
            let is_last = job.left.is_empty();
            match ending {
                Ending::Success if is_last || !interrupt::asked() => self.next(job.index, job.left),
                // It was told to stop, and has saved its run.
                _ if interrupt::asked() => continue,
                ending => self.end(job.index, ending),
            }
            if is_last {
                self.show();
            }
        }
    }

    /// Notes and says how a run ended.
    fn end(&mut self, index: usize, ending: Ending) {
        let (run, steps) = (self.runs[index], &mut self.steps[index]);
        steps.is_left = false;
        match ending {
            Ending::Success => {
                steps.now = steps.total;
                self.done += 1;
                let accuracy = self.commands.accuracy(run).map(|found| {
                    let [mean, interval] = [found.accuracy_mean, found.accuracy_ci95];
                    format!(
                        "test accuracy {:.2} ± {:.2} %",
                        100.0 * mean,
                        100.0 * interval
                    )
                });
                let accuracy = accuracy.unwrap_or_else(|| "done".to_owned());
                self.progress.say(&format!("{}: {accuracy}", run.name));
            }
            Ending::Busy => {
                self.outcome.busy.push(run);
                let text = "skipped, because another process trains there";
                self.progress.say(&format!("{}: {text}", run.name));
            }
            Ending::Failure(text) => {
                self.outcome.failed.push(run);
                self.progress.say(&format!("{}: {text}", run.name));
            }
        }
    }

    fn show(&mut self) {
        for job in &self.jobs {
            let steps = &mut self.steps[job.index];
            steps.now = recorded_step(&job.run.folder).max(steps.before);
        }
        self.progress.show(self.done, &self.steps);
    }
}

impl<'a> Job<'a> {
    fn start(
        index: usize,
        run: &'a PlannedRun,
        words: Words,
        left: VecDeque<Words>,
    ) -> io::Result<Job<'a>> {
        fs::create_dir_all(&run.folder)?;
        let log = run.folder.join(SWEEP_LOG);
        let mut output = OpenOptions::new().create(true).append(true).open(&log)?;
        writeln!(output, "$ {}", shell::line(std::slice::from_ref(&words)))?;
        let log_start = output.metadata()?.len();
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        end_with_this_process(&mut command);
        Ok(Job {
            index,
            run,
            left,
            process: command.spawn()?,
            log,
            log_start,
        })
    }

    fn tell_to_stop(&self) {
        // SAFETY: the call only sends a signal. The process was not waited for yet, so its number is its own.
        unsafe { libc::kill(self.process.id().cast_signed(), interrupt::PLEA) };
    }

    fn ending(&self, status: ExitStatus) -> Ending {
        if status.success() {
            return Ending::Success;
        }
        let text = files::read(&self.log, files::LARGEST_TABLE).unwrap_or_default();
        let start = usize::try_from(self.log_start).unwrap_or_default();
        let text = String::from_utf8_lossy(text.get(start..).unwrap_or_default());
        // Both are said by `train`; a run may have appeared after this sweep found none.
        let folder = &self.run.folder;
        let taken = [
            RunError::Busy(folder.clone()),
            RunError::Exists(folder.clone()),
        ];
        let is_taken = |error: &RunError| {
            let fault = error.to_string();
            text.contains(fault.lines().next().unwrap_or_default())
        };
        if taken.iter().any(is_taken) {
            return Ending::Busy;
        }
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        let shown: Vec<String> = shown.iter().map(|line| format!("\n  {line}")).collect();
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, signal) => format!("ended by signal {}", signal.unwrap_or_default()),
        };
        Ending::Failure(format!(
            "failed, {how}; {} ends with:{}",
            self.log.display(),
            shown.concat()
        ))
    }
}

/// Arranges that the process is asked to stop when this one ends, even if it is killed.
fn end_with_this_process(command: &mut Command) {
    #[cfg(target_os = "linux")]
    {
        let parent = std::process::id();
        // SAFETY: both calls are allowed between fork and exec, and making this error allocates nothing.
        unsafe {
            command.pre_exec(move || {
                // Sent once for each thread of this process that ends, so that it must be a signal that may come twice.
                libc::prctl(libc::PR_SET_PDEATHSIG, interrupt::PLEA);
                // This process may have ended before the call.
                match libc::getppid().cast_unsigned() == parent {
                    true => Ok(()),
                    false => Err(io::Error::from_raw_os_error(libc::ESRCH)),
                }
            });
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}

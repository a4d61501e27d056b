//! `evaluate`: measures runs on a fixed list of episodes.

mod arguments;
mod job;
mod result;

use std::process::ExitCode;

use anyhow::ensure;
use hypertransformer::base::compute::Compute;
use hypertransformer::base::interrupt::{self, INTERRUPTED};
use hypertransformer::evaluate::episodes::evaluate;
use hypertransformer::evaluate::summary::{EpisodeRecord, Summary};
use hypertransformer::report::console::{say, tell};
use hypertransformer::settings::train::Precision;
use indicatif::{ProgressBar, ProgressStyle};

pub(super) use crate::cli::evaluate::arguments::EvaluateArguments;

use crate::cli::evaluate::arguments::Checkpoints;
use crate::cli::evaluate::job::Job;
use crate::cli::evaluate::result::{Measured, table};
use crate::cli::open::run::Loaded;

pub(super) fn run(arguments: &EvaluateArguments) -> anyhow::Result<ExitCode> {
    if let Some(output) = &arguments.output {
        // Otherwise the records, written beside it as .jsonl, could replace the summary or other records.
        ensure!(
            output
                .extension()
                .is_some_and(|extension| extension == "json"),
            "--output {}: expected a name that ends in .json\nhint: use e.g. --output {0}.json",
            output.display()
        );
        ensure!(
            arguments.runs.len() == 1 && matches!(arguments.checkpoint, Checkpoints::One(_)),
            "--output {}: one file cannot hold several evaluations\nhint: leave out --output, and each goes to its run folder",
            output.display()
        );
    }
    let compute = arguments.compute.start(Precision::Full)?;
    // All are opened before the first is evaluated, so that a fault in the last is not found hours later.
    let jobs: Vec<Job> = arguments
        .runs
        .iter()
        .map(|run| Job::new(run, arguments, compute.device))
        .collect::<anyhow::Result<_>>()?;
    interrupt::stops_within_a_second("stopping: of this evaluation nothing is written");
    let mut results: Vec<Measured> = Vec::new();
    for job in &jobs {
        let mut last: Option<(Loaded, Vec<EpisodeRecord>)> = None;
        for target in &job.targets {
            let loaded = job.run.load(&target.checkpoint, compute.device)?;
            let records = match last {
                // The best and the last are copies of one another or of a step-N in many runs.
                Some((same, records)) if same.state == loaded.state => records,
                _ => job.measure(&compute, &loaded, arguments.episodes)?,
            };
            if records.len() as u64 != arguments.episodes {
                say(format!(
                    "interrupted after {} episodes, nothing is written",
                    records.len()
                ));
                return Ok(ExitCode::from(INTERRUPTED));
            }
            let measured = Measured::new(job, target, loaded.step, &records)?;
            measured.write(job, &records)?;
            let run = match jobs.len() {
                1 => String::new(),
                _ => format!("{}: ", job.run.folder.path().display()),
            };
            tell(format!("{run}{}", measured.sentence(job)))?;
            say(format!("written: {}", target.files()));
            results.push(measured);
            last = Some((loaded, records));
        }
    }
    if results.len() > 1 {
        tell(format!("\n{}", table(&results)))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Job {
    /// The records of all episodes, or of fewer if the user interrupts.
    fn measure(
        &self,
        compute: &Compute,
        loaded: &Loaded,
        episodes: u64,
    ) -> anyhow::Result<Vec<EpisodeRecord>> {
        let template = "{wide_bar} {pos}/{len} episodes  {msg}  eta {eta}";
        let bar = ProgressBar::new(episodes).with_style(ProgressStyle::with_template(template)?);
        let trained = self.run.trained(loaded);
        let advance = |records: &[EpisodeRecord]| {
            bar.set_position(records.len() as u64);
            bar.set_message(Summary::of(records).to_string());
            !interrupt::asked()
        };
        let records = evaluate(
            compute,
            &trained,
            &self.sampler,
            episodes,
            self.mode,
            advance,
        );
        bar.finish_and_clear();
        Ok(records)
    }
}

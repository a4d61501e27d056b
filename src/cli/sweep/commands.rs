//! The commands that train and evaluate a run of a sweep.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use anyhow::Context;
use hypertransformer::pack::part::Part;
use hypertransformer::run::sweep::standing::{Evaluated, Standing, holds_run};

use crate::cli::sweep::arguments::SweepArguments;
use crate::cli::sweep::plan::PlannedRun;

/// The words of a command line, the program first.
pub(super) type Words = Vec<OsString>;

/// What the commands of all runs have in common.
pub(super) struct Commands {
    program: PathBuf,
    experiment: PathBuf,
    preset: Option<String>,
    episodes: u64,
    /// Parts of the classes on which runs are evaluated.
    parts: Vec<Part>,
    device: String,
    threads: usize,
}

impl Commands {
    pub(super) fn new(arguments: &SweepArguments) -> anyhow::Result<Commands> {
        let training = arguments.training_accuracy.then_some(Part::Train);
        Ok(Commands {
            // Asked once: if the program is built anew meanwhile, its path still stands.
            program: std::env::current_exe().context("could not find this program's own file")?,
            experiment: arguments.experiment.clone(),
            preset: arguments.settings.preset.clone(),
            episodes: arguments.episodes,
            parts: [Some(Part::Test), training].into_iter().flatten().collect(),
            device: arguments.device.clone(),
            threads: arguments.threads(),
        })
    }

    /// The commands that are left to do for a run, in order.
    pub(super) fn left(&self, run: &PlannedRun) -> Vec<Words> {
        let standing = Standing::read(&run.folder, &run.experiment);
        let training = (!standing.is_finished).then(|| self.training(run));
        let evaluations = self
            .parts
            .iter()
            .filter(|&&part| !standing.is_finished || self.found(&standing, run, part).is_none());
        let evaluations = evaluations.map(|&part| self.evaluation(run, part));
        training.into_iter().chain(evaluations).collect()
    }

    /// The accuracy of a finished run on test episodes.
    pub(super) fn accuracy(&self, run: &PlannedRun) -> Option<Evaluated> {
        self.found(
            &Standing::read(&run.folder, &run.experiment),
            run,
            Part::Test,
        )
    }

    fn found(&self, standing: &Standing, run: &PlannedRun, part: Part) -> Option<Evaluated> {
        standing.evaluated(&run.folder, &run.experiment, part, self.episodes)
    }

    fn training(&self, run: &PlannedRun) -> Words {
        let mut words = self.words(["train".as_ref(), self.experiment.as_os_str()]);
        if let Some(preset) = &self.preset {
            words.extend(["--preset".into(), preset.into()]);
        }
        words.extend(["--run-dir".into(), run.folder.clone().into()]);
        let settings = run.settings.iter();
        words.extend(settings.flat_map(|text| ["--set".into(), text.into()]));
        if holds_run(&run.folder) {
            words.push("--resume".into());
        }
        words.push("--quiet".into());
        self.with_compute(words)
    }

    fn evaluation(&self, run: &PlannedRun, part: Part) -> Words {
        let mut words = self.words(["evaluate".as_ref(), run.folder.as_os_str()]);
        words.extend(["--split", part.name(), "--episodes"].map(Into::into));
        words.push(self.episodes.to_string().into());
        self.with_compute(words)
    }

    fn words(&self, first: [&OsStr; 2]) -> Words {
        let mut words = vec![self.program.clone().into_os_string()];
        words.extend(first.map(Into::into));
        words
    }

    fn with_compute(&self, mut words: Words) -> Words {
        words.extend(["--device", &self.device, "--threads"].map(Into::into));
        words.push(self.threads.to_string().into());
        words
    }
}

//! `train`: trains an experiment.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;
use hypertransformer::base::interrupt::{self, INTERRUPTED};
use hypertransformer::report::console::say;
use hypertransformer::run::error::RunError;
use hypertransformer::run::facts::CHANGEABLE;
use hypertransformer::run::folder::CONFIG;
use hypertransformer::settings::experiment::Experiment;
use hypertransformer::settings::file::{load_with, reload};
use hypertransformer::train::{Outcome, TrainOptions, train};

use crate::cli::open::pack::{PackArguments, ensure_pack, pack_of_run};
use crate::cli::shared::{ComputeArguments, SettingsArguments, default_run_dir};

#[derive(Args)]
pub(super) struct TrainArguments {
    /// The experiment, a YAML file (see experiments/); with --resume the folder of a run is enough
    experiment: PathBuf,
    /// The run folder [default: runs/<experiment file's stem>, with --preset runs/<stem>-<preset>]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingsArguments,
    #[command(flatten)]
    pack: PackArguments,
    #[command(flatten)]
    compute: ComputeArguments,
    /// Continue the run in the run folder; on a CPU the result is bitwise that of an uninterrupted run
    #[arg(long, conflicts_with = "force")]
    resume: bool,
    /// Change a setting of the resumed run: steps, phases, learning rate or schedule, e.g. --change train.steps=20000
    /// (repeatable). A run that has all its steps goes on
    #[arg(long = "change", value_name = "KEY=VALUE", requires = "resume", value_parser = changeable)]
    changes: Vec<String>,
    /// Stop after this step, with a checkpoint; --resume goes on
    #[arg(long, value_name = "STEP", value_parser = clap::value_parser!(u64).range(1..))]
    until_step: Option<u64>,
    /// Replace the run in the run folder
    #[arg(long)]
    force: bool,
    /// Print nothing but errors
    #[arg(long)]
    quiet: bool,
}

/// A change `KEY=VALUE` of a setting that a resumed run may change.
fn changeable(text: &str) -> Result<String, String> {
    match key(text) {
        key if CHANGEABLE.contains(&key) => Ok(text.to_owned()),
        key => Err(format!(
            "`{key}` cannot be changed in a run that has started, expected one of {}",
            CHANGEABLE.join(", ")
        )),
    }
}

/// The dotted name in `KEY=VALUE`.
fn key(text: &str) -> &str {
    text.split_once('=').map_or(text, |(key, _)| key)
}

/// The experiment and the folder of its run.
fn experiment(arguments: &TrainArguments) -> anyhow::Result<(Experiment, PathBuf)> {
    let given = &arguments.experiment;
    let settings = &arguments.settings;
    let preset = settings.preset.as_deref();
    let overrides = [&settings.overrides[..], &arguments.changes].concat();
    if !given.is_dir() {
        let run = || default_run_dir(given, preset);
        let run = arguments.run_dir.clone().unwrap_or_else(run);
        return Ok((load_with(given, preset, &overrides)?.experiment, run));
    }
    let (folder, program) = (given.display(), "hypertransformer train");
    ensure!(
        arguments.resume && arguments.run_dir.is_none(),
        "{folder} is a folder, expected an experiment\nhint: if it holds a run, continue it with `{program} {folder} --resume`"
    );
    ensure!(
        preset.is_none(),
        "--preset: the run in {folder} has its settings, expected an experiment"
    );
    let config = given.join(CONFIG);
    ensure!(
        config.exists(),
        RunError::NothingToResume(given.to_path_buf())
    );
    let mut experiment = reload(&config, &overrides)?;
    // A pack that the user names is not looked for elsewhere.
    if !overrides.iter().any(|text| key(text) == "data.pack") {
        experiment.data.pack = pack_of_run(&experiment.data.pack, given)?;
    }
    Ok((experiment, given.clone()))
}

pub(super) fn run(arguments: &TrainArguments) -> anyhow::Result<ExitCode> {
    let (experiment, run_dir) = experiment(arguments)?;
    let compute = arguments.compute.start(experiment.train.precision)?;
    ensure_pack(&experiment.data.pack, arguments.quiet)?;
    arguments.pack.open(&experiment.data.pack)?;
    let options = TrainOptions {
        run_dir: run_dir.clone(),
        resume: arguments.resume,
        force: arguments.force,
        changed: arguments
            .changes
            .iter()
            .map(|text| key(text).to_owned())
            .collect(),
        until: arguments.until_step,
        quiet: arguments.quiet,
    };
    interrupt::stops_by_itself("stopping after this step: a checkpoint is saved");
    let inform = |text: String| {
        if !arguments.quiet {
            say(text);
        }
    };
    let run = run_dir.display();
    match train(&experiment, &options, &compute, interrupt::flag())? {
        Outcome::Finished(best) => {
            let best = best.map_or(String::new(), |(step, accuracy)| {
                format!(
                    "; best validation accuracy {:.2} % at step {step}",
                    100.0 * accuracy
                )
            });
            inform(format!(
                "finished{best}\nevaluate it with: hypertransformer evaluate {run}"
            ));
            Ok(ExitCode::SUCCESS)
        }
        Outcome::AlreadyFinished(step) => {
            inform(format!(
                "{run} already has all its {step} steps: nothing left to do"
            ));
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Stopped(step) => {
            inform(format!(
                "stopped after step {step}, checkpoint saved\nhint: continue with `hypertransformer train {run} --resume`"
            ));
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Interrupted(step) => {
            inform(format!(
                "interrupted after step {step}, checkpoint saved\nhint: continue with `hypertransformer train {run} --resume`"
            ));
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

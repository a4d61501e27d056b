//! `train`: trains an experiment.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use hypertransformer::base::interrupt::{self, INTERRUPTED};
use hypertransformer::report::console::say;
use hypertransformer::settings::file::load;
use hypertransformer::train::{Outcome, TrainOptions, train};

use crate::cli::open::pack::{PackArguments, ensure_pack};
use crate::cli::shared::{ComputeArguments, default_run_dir};

#[derive(Args)]
pub(super) struct TrainArguments {
    /// The experiment, a YAML file (see experiments/)
    experiment: PathBuf,
    /// The run folder [default: runs/<experiment file's stem>]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Override a key of the experiment, e.g. --set train.steps=1000 (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    #[command(flatten)]
    pack: PackArguments,
    #[command(flatten)]
    compute: ComputeArguments,
    /// Continue the run in the run folder; on a CPU the result is bitwise that of an uninterrupted run
    #[arg(long, conflicts_with = "force")]
    resume: bool,
    /// Replace the run in the run folder
    #[arg(long)]
    force: bool,
    /// Print nothing but errors
    #[arg(long)]
    quiet: bool,
}

pub(super) fn run(arguments: &TrainArguments) -> anyhow::Result<ExitCode> {
    let experiment = load(&arguments.experiment, &arguments.overrides)?;
    let compute = arguments.compute.start(experiment.train.precision)?;
    ensure_pack(&experiment.data.pack, arguments.quiet)?;
    arguments.pack.open(&experiment.data.pack)?;
    let run_dir = arguments
        .run_dir
        .clone()
        .unwrap_or_else(|| default_run_dir(&arguments.experiment));
    let options = TrainOptions {
        run_dir: run_dir.clone(),
        resume: arguments.resume,
        force: arguments.force,
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
        Outcome::Interrupted(step) => {
            inform(format!(
                "interrupted after step {step}, checkpoint saved\nhint: continue with --resume"
            ));
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

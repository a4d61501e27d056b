//! The options of `sweep`.

use std::path::PathBuf;

use clap::Args;
use hypertransformer::base::compute::{DeviceChoice, available_threads};
use hypertransformer::report::console::say;
use hypertransformer::run::sweep::grid::{Axis, Seeds};
use hypertransformer::run::sweep::shard::{SLURM_TASK, Shard};

use crate::cli::shared::{SettingsArguments, default_run_dir};

#[derive(Args)]
pub(in crate::cli) struct SweepArguments {
    /// The experiment, a YAML file (see experiments/)
    pub(super) experiment: PathBuf,
    /// Values of a setting, e.g. --grid cnn.channels=4,8,16 (repeatable). Each combination of values is trained with each
    /// seed. Values are YAML, so lists are possible: --grid 'cnn.block=[convolution, pool],[convolution]'
    #[arg(long, value_name = "KEY=A,B")]
    pub(super) grid: Vec<Axis>,
    /// Number of seeds, counted from 0, or a list as 0,3,7. `3,` is the seed 3 alone
    #[arg(long, value_name = "N", default_value = "1")]
    pub(super) seeds: Seeds,
    /// Settings of all runs.
    #[command(flatten)]
    pub(super) settings: SettingsArguments,
    /// The folder of the run folders [default: the run folder of the experiment with -sweep]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Number of test episodes on which each run is evaluated, the same for all runs
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(2..=10_000_000))]
    pub(super) episodes: u64,
    /// Evaluate each run on episodes of training classes too
    #[arg(long)]
    pub(super) training_accuracy: bool,
    /// Number of runs at a time, each in a process of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) jobs: u16,
    /// Take every N-th run, from the I-th on, so that N processes share the sweep [default: in a task of a Slurm array the
    /// part that its number tells, otherwise all runs]
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Print the commands that are left to do, one line for each run, and run nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Device of all runs: auto, cpu or cuda:N
    #[arg(long, default_value = "auto", value_parser = device)]
    pub(super) device: String,
    /// Number of CPU worker threads of each run; results do not depend on it [default: all cores, divided by --jobs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

/// A device as it is passed on.
fn device(text: &str) -> Result<String, String> {
    text.parse::<DeviceChoice>().map(|_| text.to_owned())
}

impl SweepArguments {
    /// The folder of the run folders.
    pub(super) fn output(&self) -> PathBuf {
        let default = || {
            let mut folder =
                default_run_dir(&self.experiment, self.settings.preset.as_deref()).into_os_string();
            folder.push("-sweep");
            folder.into()
        };
        self.output.clone().unwrap_or_else(default)
    }

    /// The part of the runs that this process takes.
    pub(super) fn shard(&self) -> anyhow::Result<Shard> {
        if let Some(shard) = self.shard {
            return Ok(shard);
        }
        let Some(shard) = Shard::of_slurm(|name| std::env::var(name).ok())? else {
            return Ok(Shard::WHOLE);
        };
        say(format!(
            "a task of a Slurm array: {SLURM_TASK} and the size of the array make this --shard {shard}"
        ));
        Ok(shard)
    }

    /// Number of worker threads of each run.
    pub(super) fn threads(&self) -> usize {
        let share = || (available_threads() / usize::from(self.jobs)).max(1);
        self.threads.map_or_else(share, usize::from)
    }
}

//! What several commands share: the device and threads, changes of an experiment, the default run folder.

use std::path::{Path, PathBuf};

use clap::Args;
use hypertransformer::base::compute::{Compute, ComputeError, DeviceChoice, set_precision};
use hypertransformer::settings::file::{ConfigError, Loaded, load_with};
use hypertransformer::settings::train::Precision;

/// Options for the device and threads.
#[derive(Args)]
pub(super) struct ComputeArguments {
    /// Device: auto, cpu or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Number of CPU worker threads; results do not depend on it [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

impl ComputeArguments {
    /// Must be called before anything else uses libtorch, because it sets the precision.
    pub(super) fn start(&self, precision: Precision) -> Result<Compute, ComputeError> {
        set_precision(precision == Precision::Reduced);
        Compute::new(self.device, self.threads.map(usize::from))
    }
}

/// Options that change an experiment.
#[derive(Args)]
pub(super) struct SettingsArguments {
    /// The recipe beneath the experiment, e.g. paper or fast [default: the one that the file names]
    #[arg(long, value_name = "NAME")]
    pub(super) preset: Option<String>,
    /// Override a key of the experiment, e.g. --set train.steps=1000 (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) overrides: Vec<String>,
}

impl SettingsArguments {
    /// The experiment in a file, with the origin of each value.
    pub(super) fn load(&self, experiment: &Path) -> Result<Loaded, ConfigError> {
        load_with(experiment, self.preset.as_deref(), &self.overrides)
    }
}

/// The default run folder of an experiment file, `runs/<stem>`, or `runs/<stem>-<preset>`.
pub(super) fn default_run_dir(experiment: &Path, preset: Option<&str>) -> PathBuf {
    let mut name = experiment.file_stem().unwrap_or_default().to_owned();
    if let Some(preset) = preset {
        name.push("-");
        name.push(preset);
    }
    Path::new("runs").join(name)
}

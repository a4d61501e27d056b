//! What several commands share: the device and threads, the default run folder.

use std::path::{Path, PathBuf};

use clap::Args;
use hypertransformer::base::compute::{Compute, ComputeError, DeviceChoice, set_precision};
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

/// The default run folder of an experiment file, `runs/<stem>`.
pub(super) fn default_run_dir(experiment: &Path) -> PathBuf {
    Path::new("runs").join(experiment.file_stem().unwrap_or_default())
}

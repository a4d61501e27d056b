//! What several commands share: the device and threads, the default run folder, Ctrl-C.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// A flag that the first Ctrl-C sets, with `message` on stderr. The second ends the process with code 130.
pub(super) fn interrupt_flag(message: &'static str) -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    ctrlc::set_handler(move || {
        if set.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\n{message} (press Ctrl-C again to leave at once)");
    })?;
    Ok(flag)
}

/// The default run folder of an experiment file, `runs/<stem>`.
pub(super) fn default_run_dir(experiment: &Path) -> PathBuf {
    Path::new("runs").join(experiment.file_stem().unwrap_or_default())
}

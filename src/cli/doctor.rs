//! `doctor`: checks the installation.

use std::process::ExitCode;

use hypertransformer::base::compute::available_threads;
use hypertransformer::report::console::tell;
use tch::{Cuda, Kind, Tensor};

pub(super) fn run() -> anyhow::Result<ExitCode> {
    let linked_cuda = env!("HYPERTRANSFORMER_LINKED_CUDA");
    let (gpus, visible) = (Cuda::device_count(), Cuda::is_available());
    tell(format!(
        "hypertransformer  {} (git {})",
        env!("CARGO_PKG_VERSION"),
        env!("HYPERTRANSFORMER_GIT_COMMIT")
    ))?;
    tell(format!(
        "libtorch          {}",
        env!("HYPERTRANSFORMER_LIBTORCH_VERSION")
    ))?;
    tell(format!(
        "libtorch folder   {}",
        env!("HYPERTRANSFORMER_LIBTORCH")
    ))?;
    tell(format!("linked with CUDA  {linked_cuda}"))?;
    tell(format!(
        "GPUs              {gpus}{}",
        if visible {
            ""
        } else {
            " (computing on the CPU)"
        }
    ))?;
    tell(format!("cuDNN             {}", Cuda::cudnn_is_available()))?;
    tell(format!("MKL-DNN           {}", tch::utils::has_mkldnn()))?;
    tell(format!("threads           {}", available_threads()))?;

    let driver = std::path::Path::new("/proc/driver/nvidia/version").exists();
    let mut faults = Vec::new();
    let sum = Tensor::ones([2, 2], (Kind::Float, tch::Device::Cpu)).sum(Kind::Float);
    if sum.double_value(&[]) != 4.0 {
        faults.push("libtorch computes wrong results: reinstall it with `make setup`".to_owned());
    }
    if driver && !visible {
        faults.push(match linked_cuda {
            "yes" => "an NVIDIA driver is installed, but libtorch sees no GPU: check that the driver supports CUDA 13",
            _ => "an NVIDIA driver is installed, but this program is linked without CUDA: remove .libtorch and .venv, then run `make setup build`",
        }.to_owned());
    }
    if let Some(library) = missing_folder() {
        faults.push(format!("{library} does not exist: run `make setup build`"));
    }
    for fault in &faults {
        tell(format!("fault: {fault}"))?;
    }
    if faults.is_empty() {
        tell("no faults found")?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(1))
}

fn missing_folder() -> Option<&'static str> {
    let folder = env!("HYPERTRANSFORMER_LIBTORCH");
    (!std::path::Path::new(folder).exists()).then_some(folder)
}

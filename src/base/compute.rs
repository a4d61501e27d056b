//! Threads and devices: tasks are distributed over threads on a CPU and batched on a GPU.
use std::str::FromStr;
use std::sync::Arc;

use rayon::prelude::*;
use tch::{Cuda, Device, Tensor};
use thiserror::Error;

use crate::settings::train::Precision;

/// Value of the option `--device`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU if libtorch sees one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU with this index.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is not a device, expected auto, cpu or cuda:N");
        match text {
            "auto" => Ok(DeviceChoice::Auto),
            "cpu" => Ok(DeviceChoice::Cpu),
            "cuda" => Ok(DeviceChoice::Cuda(0)),
            _ => {
                let number = text.strip_prefix("cuda:").ok_or_else(wrong)?;
                number.parse().map(DeviceChoice::Cuda).map_err(|_| wrong())
            }
        }
    }
}

/// Reasons why computation cannot start.
#[derive(Debug, Error)]
pub enum ComputeError {
    /// The requested GPU does not exist.
    #[error(
        "device cuda:{0} does not exist: libtorch sees {1} GPUs\n\
         hint: `hypertransformer doctor` shows what libtorch was linked with"
    )]
    NoSuchGpu(usize, i64),
    /// Threads could not be started.
    #[error("could not start {0} threads")]
    Threads(usize, #[source] rayon::ThreadPoolBuildError),
}

/// Number of items that are computed as one batch. Rounding depends on it, so on a CPU it must not depend on the number
/// of threads: results are then bitwise the same for any number of threads.
#[derive(Clone, Copy, Debug)]
pub struct BatchSize {
    /// Batch size on a CPU. Larger batches spread the cost of calling libtorch, but too large ones exceed the caches.
    pub cpu: usize,
    /// Batch size on a GPU.
    pub gpu: usize,
}

impl BatchSize {
    /// One item at a time.
    pub const ONE: BatchSize = BatchSize { cpu: 1, gpu: 1 };
}

/// A device and the CPU threads that compute tasks.
pub struct Compute {
    /// The device that holds tensors.
    pub device: Device,
    /// Number of CPU worker threads.
    pub threads: usize,
    pool: Arc<rayon::ThreadPool>,
}

impl Compute {
    /// Starts `threads` worker threads, one per core if `None`. Libtorch uses one thread inside each worker, so results do
    /// not depend on the number of workers.
    ///
    /// # Errors
    /// [`ComputeError::NoSuchGpu`] if the requested GPU does not exist, [`ComputeError::Threads`] if threads cannot be
    /// started.
    pub fn new(choice: DeviceChoice, threads: Option<usize>) -> Result<Compute, ComputeError> {
        let device = match choice {
            DeviceChoice::Auto => Device::cuda_if_available(),
            DeviceChoice::Cpu => Device::Cpu,
            DeviceChoice::Cuda(index) => {
                let available = if Cuda::is_available() {
                    Cuda::device_count()
                } else {
                    0
                };
                if index as i64 >= available {
                    return Err(ComputeError::NoSuchGpu(index, available));
                }
                Device::Cuda(index)
            }
        };
        // All training steps have the same shapes, so cuDNN may try its algorithms once and keep the fastest.
        Cuda::cudnn_set_benchmark(device.is_cuda());
        let threads = threads.unwrap_or_else(available_threads).max(1);
        tch::set_num_threads(1);
        Ok(Compute {
            device,
            threads,
            pool: pool("worker", threads)?,
        })
    }

    /// Threads that draw episodes ahead of the model. If cores are free besides the workers, this is a separate pool with
    /// one thread per four workers: computing an episode takes a worker at least five times as long as drawing it, even
    /// with augmented colour images. Otherwise the workers draw between two steps, because an additional thread would
    /// slow down one worker, for which all others wait at the end of a step. With a GPU the workers are idle anyway.
    ///
    /// # Errors
    /// [`ComputeError::Threads`] if threads cannot be started.
    pub fn loader_pool(&self) -> Result<Arc<rayon::ThreadPool>, ComputeError> {
        let spare = available_threads().saturating_sub(self.threads);
        if self.device == Device::Cpu && spare > 0 {
            return pool("loader", self.threads.div_ceil(4).min(spare));
        }
        Ok(Arc::clone(&self.pool))
    }

    /// Runs `work` on the worker threads, so that its parallel iterators use them.
    pub fn in_parallel<Output: Send>(&self, work: impl FnOnce() -> Output + Send) -> Output {
        self.pool.install(work)
    }

    /// Applies `work` to batches of items and returns the results in order. On a CPU the batches are distributed over the
    /// workers; on a GPU they are computed in turn. Each call of `work` gets its own handles to the tensors `shared`.
    pub fn map<Item: Sync, Output: Send>(
        &self,
        items: &[Item],
        batch_size: BatchSize,
        shared: [&Tensor; 2],
        work: impl Fn(&[Item], [Tensor; 2]) -> Output + Sync,
    ) -> Vec<Output> {
        let handles = || shared.map(Tensor::shallow_clone);
        if self.device != Device::Cpu {
            return items
                .chunks(batch_size.gpu.max(1))
                .map(|batch| work(batch, handles()))
                .collect();
        }
        let jobs: Vec<(&[Item], [Tensor; 2])> = items
            .chunks(batch_size.cpu.max(1))
            .map(|batch| (batch, handles()))
            .collect();
        self.pool.install(|| {
            jobs.into_par_iter()
                .with_max_len(1)
                .map(|(batch, handles)| work(batch, handles))
                .collect()
        })
    }
}

/// Starts a thread pool whose threads call libtorch without further threads.
fn pool(name: &'static str, threads: usize) -> Result<Arc<rayon::ThreadPool>, ComputeError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(move |index| format!("{name}-{index}"))
        .start_handler(|_| tch::set_num_threads(1))
        .build()
        .map(Arc::new)
        .map_err(|error| ComputeError::Threads(threads, error))
}

/// Sets the precision of libtorch's convolutions and matrix products. Must be called before anything else uses libtorch,
/// which reads these environment variables once.
pub fn set_precision(precision: Precision) {
    // By default libtorch allows TF32 in cuDNN but not in cuBLAS.
    let settings: &[(&str, &str)] = match precision {
        Precision::Full => &[("NVIDIA_TF32_OVERRIDE", "0")],
        Precision::Reduced => &[
            ("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "1"),
            ("ONEDNN_DEFAULT_FPMATH_MODE", "BF16"),
        ],
    };
    for (name, value) in settings {
        // SAFETY: no other thread has been started yet that could read the environment at the same time.
        unsafe { std::env::set_var(name, value) };
    }
}

/// Number of cores that this process may use; 1 if unknown.
pub fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

//! Threads and devices: tasks are spread over plain threads on a CPU, batched on a GPU.
use std::str::FromStr;
use std::sync::Arc;

use rayon::prelude::*;
use tch::{Cuda, Device, Tensor};
use thiserror::Error;

use crate::settings::train::Precision;

/// What a user asks for with `--device`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU if libtorch sees one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// This GPU.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is no device: expected auto, cpu or cuda:N");
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

/// Why computing cannot start.
#[derive(Debug, Error)]
pub enum ComputeError {
    /// The GPU asked for is not there.
    #[error(
        "device cuda:{0} is not there: libtorch sees {1} GPUs; `hypertransformer doctor` tells why"
    )]
    NoSuchGpu(usize, i64),
    /// Threads could not be started.
    #[error("could not start {0} threads")]
    Threads(usize, #[source] rayon::ThreadPoolBuildError),
}

/// How many items are computed as one batch. On a CPU the number does not follow that of threads, for rounding, and
/// with it every bit of a result, depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Together {
    /// On a CPU: some share the cost of calling libtorch, too many no longer fit its caches.
    pub cpu: usize,
    /// On a GPU.
    pub gpu: usize,
}

impl Together {
    /// One by one.
    pub const ALONE: Together = Together { cpu: 1, gpu: 1 };
}

/// Where and on how many threads tasks are computed.
pub struct Compute {
    /// Where tensors live.
    pub device: Device,
    /// CPU worker threads.
    pub threads: usize,
    pool: Arc<rayon::ThreadPool>,
}

impl Compute {
    /// `threads` of `None` takes all cores. Inside a worker libtorch uses one thread, so results do not depend on
    /// how many workers there are.
    ///
    /// # Errors
    /// If the GPU asked for is not there or threads cannot be started.
    pub fn new(choice: DeviceChoice, threads: Option<usize>) -> Result<Compute, ComputeError> {
        let device = match choice {
            DeviceChoice::Auto => Device::cuda_if_available(),
            DeviceChoice::Cpu => Device::Cpu,
            DeviceChoice::Cuda(index) => {
                let there = if Cuda::is_available() {
                    Cuda::device_count()
                } else {
                    0
                };
                if index as i64 >= there {
                    return Err(ComputeError::NoSuchGpu(index, there));
                }
                Device::Cuda(index)
            }
        };
        // Steps of training have one shape: cuDNN tries its ways once and keeps the fastest.
        Cuda::cudnn_set_benchmark(device.is_cuda());
        let threads = threads.unwrap_or_else(available_threads).max(1);
        tch::set_num_threads(1);
        Ok(Compute {
            device,
            threads,
            pool: pool("worker", threads)?,
        })
    }

    /// Threads that draw episodes ahead. Where cores are left beside the workers, one for every four of them, which take
    /// at least five times as long over an episode, augmented colour images included. Otherwise the workers themselves,
    /// between two steps: a thread more would hold up one worker, and the others would wait for that one at the end of
    /// the step. Beside a GPU workers have nothing else to do.
    ///
    /// # Errors
    /// If threads cannot be started.
    pub fn loader_pool(&self) -> Result<Arc<rayon::ThreadPool>, ComputeError> {
        let spare = available_threads().saturating_sub(self.threads);
        if self.device == Device::Cpu && spare > 0 {
            return pool("loader", self.threads.div_ceil(4).min(spare));
        }
        Ok(Arc::clone(&self.pool))
    }

    /// Runs `work`, whose parallel iterators then go over this computation's threads.
    pub fn in_parallel<Output: Send>(&self, work: impl FnOnce() -> Output + Send) -> Output {
        self.pool.install(work)
    }

    /// Applies `work` to groups of items and returns the results in order; on a CPU each worker takes a group of its
    /// own. Every call of `work` gets its own handles of `shared`.
    pub fn map<Item: Sync, Output: Send>(
        &self,
        items: &[Item],
        together: Together,
        shared: [&Tensor; 2],
        work: impl Fn(&[Item], [Tensor; 2]) -> Output + Sync,
    ) -> Vec<Output> {
        let handles = || shared.map(Tensor::shallow_clone);
        if self.device != Device::Cpu {
            return items
                .chunks(together.gpu.max(1))
                .map(|group| work(group, handles()))
                .collect();
        }
        let jobs: Vec<(&[Item], [Tensor; 2])> = items
            .chunks(together.cpu.max(1))
            .map(|group| (group, handles()))
            .collect();
        self.pool.install(|| {
            jobs.into_par_iter()
                .with_max_len(1)
                .map(|(group, handles)| work(group, handles))
                .collect()
        })
    }
}

/// Threads in each of which libtorch keeps to that thread.
fn pool(name: &'static str, threads: usize) -> Result<Arc<rayon::ThreadPool>, ComputeError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(move |index| format!("{name}-{index}"))
        .start_handler(|_| tch::set_num_threads(1))
        .build()
        .map(Arc::new)
        .map_err(|error| ComputeError::Threads(threads, error))
}

/// Lets libtorch compute products as exactly as this. Comes before all else that calls libtorch, which asks for it once.
pub fn set_precision(precision: Precision) {
    // Libtorch lets cuDNN, though not cuBLAS, use TF32 unless told otherwise.
    let settings: &[(&str, &str)] = match precision {
        Precision::Full => &[("NVIDIA_TF32_OVERRIDE", "0")],
        Precision::Reduced => &[
            ("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "1"),
            ("ONEDNN_DEFAULT_FPMATH_MODE", "BF16"),
        ],
    };
    for (name, value) in settings {
        // SAFETY: the program has started no thread yet that could read the environment meanwhile.
        unsafe { std::env::set_var(name, value) };
    }
}

/// Cores that this process may use.
pub fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

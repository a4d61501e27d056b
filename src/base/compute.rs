//! Threads and devices: tasks are distributed over threads on a CPU and batched on a GPU.

use std::str::FromStr;
use std::sync::Arc;

use rayon::prelude::*;
use tch::{Cuda, Device};
use thiserror::Error;

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
    /// Starts `threads` worker threads, one per core if `None`. Libtorch uses one thread inside each worker, so results
    /// do not depend on the number of workers.
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

    /// Threads that draw episodes ahead of the model. If cores are free besides the workers, this is a separate pool
    /// with one thread per four workers: computing an episode takes a worker at least five times as long as drawing it,
    /// even with augmented colour images. Otherwise the workers draw between two steps, because an additional thread
    /// would slow down one worker, for which all others wait at the end of a step. With a GPU the workers are idle
    /// anyway.
    ///
    /// # Errors
    /// [`ComputeError::Threads`] if threads cannot be started.
    pub(crate) fn loader_pool(&self) -> Result<Arc<rayon::ThreadPool>, ComputeError> {
        let spare = available_threads().saturating_sub(self.threads);
        if self.device == Device::Cpu && spare > 0 {
            return pool("loader", self.threads.div_ceil(4).min(spare));
        }
        Ok(Arc::clone(&self.pool))
    }

    /// Runs `work` on the worker threads, so that its parallel iterators use them.
    pub(crate) fn in_parallel<Output: Send>(&self, work: impl FnOnce() -> Output + Send) -> Output {
        self.pool.install(work)
    }

    /// Applies `work` to batches of items and returns the results in order. On a CPU the batches are distributed over
    /// the workers; on a GPU they are computed in turn. Each call of `work` gets tensors of its own from `handles`,
    /// because tensors can be sent to a thread but not shared.
    pub fn map<Item: Sync, Handles: Send, Output: Send>(
        &self,
        items: &[Item],
        batch_size: BatchSize,
        handles: impl Fn() -> Handles,
        work: impl Fn(&[Item], Handles) -> Output + Sync,
    ) -> Vec<Output> {
        if self.device != Device::Cpu {
            return items
                .chunks(batch_size.gpu.max(1))
                .map(|batch| work(batch, handles()))
                .collect();
        }
        let jobs: Vec<(&[Item], Handles)> = items
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

/// Sets the precision of libtorch's convolutions and matrix products: 32 bits, or `reduced`, TF32 on a GPU and bfloat16
/// on a CPU. Must be called before anything else uses libtorch, which reads these environment variables once.
pub fn set_precision(reduced: bool) {
    // By default libtorch allows TF32 in cuDNN but not in cuBLAS.
    let settings: &[(&str, &str)] = match reduced {
        false => &[("NVIDIA_TF32_OVERRIDE", "0")],
        true => &[
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

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use tch::{Kind, Tensor};

    use super::*;

    fn cpu(threads: usize) -> Compute {
        Compute::new(DeviceChoice::Cpu, Some(threads)).unwrap()
    }

    fn batches_of(cpu: usize) -> BatchSize {
        BatchSize {
            cpu,
            ..BatchSize::ONE
        }
    }

    #[test]
    fn map_returns_the_results_of_all_batches_in_order() {
        let items: Vec<usize> = (0..23).collect();
        for threads in [1, 2, 5] {
            for size in [1, 4, 100] {
                let found =
                    cpu(threads).map(&items, batches_of(size), || (), |batch, ()| batch.to_vec());
                let expected: Vec<_> = items.chunks(size).map(<[usize]>::to_vec).collect();
                assert_eq!(found, expected, "{threads} threads, batches of {size}");
            }
        }
    }

    /// A sum in single precision, whose bits would show another order of addition or another split of a product.
    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let values: Vec<f32> = (0..300 * 300).map(|index| (index as f32).sin()).collect();
        let weights = Tensor::from_slice(&values).view([300, 300]);
        let items: Vec<i64> = (0..12).collect();
        let sum = |threads| {
            let parts = cpu(threads).map(
                &items,
                batches_of(5),
                || weights.shallow_clone(),
                |batch, weights| {
                    let leaf = weights.detach().set_requires_grad(true);
                    let products = batch.iter().map(|row| leaf.matmul(&weights.get(*row)));
                    let loss = products
                        .map(|product| product.tanh().sum(Kind::Float))
                        .reduce(|sum, one| sum + one)
                        .unwrap();
                    Tensor::run_backward(&[&loss], &[&leaf], false, false).swap_remove(0)
                },
            );
            parts.into_iter().reduce(|sum, part| sum + part).unwrap()
        };
        let one = sum(1);
        assert!(one.abs().max().double_value(&[]) > 0.0);
        for threads in [2, 3] {
            assert_eq!(sum(threads), one, "{threads} threads");
        }
    }

    #[test]
    fn each_batch_gets_handles_to_the_shared_tensors_and_one_thread_of_libtorch() {
        let shared = Tensor::from(1.0);
        let handles = || shared.shallow_clone();
        let found = cpu(2).map(&[(); 4], BatchSize::ONE, handles, |_, handle| {
            (handle.data_ptr() as usize, tch::get_num_threads())
        });
        assert_eq!(found, [(shared.data_ptr() as usize, 1); 4]);
    }

    #[test]
    fn a_panic_in_a_worker_reaches_the_caller_and_the_workers_go_on() {
        let compute = cpu(2);
        let run = |broken: Option<u32>| {
            let work = |batch: &[u32], ()| {
                assert_ne!(Some(batch[0]), broken, "item {} is broken", batch[0]);
                batch[0]
            };
            let items = [0, 1, 2, 3];
            catch_unwind(AssertUnwindSafe(|| {
                compute.map(&items, BatchSize::ONE, || (), work)
            }))
        };
        let panic = run(Some(2)).unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains("item 2 is broken"), "{message}");
        assert_eq!(run(None).unwrap(), [0, 1, 2, 3]);
    }

    #[test]
    fn parallel_work_runs_on_the_workers() {
        for threads in [1, 3] {
            let compute = cpu(threads);
            assert_eq!(compute.threads, threads);
            assert_eq!(compute.in_parallel(rayon::current_num_threads), threads);
            let name = compute.in_parallel(|| std::thread::current().name().map(str::to_owned));
            assert!(name.unwrap().starts_with("worker-"));
        }
    }

    #[test]
    fn devices_are_read_as_they_are_written_and_others_are_refused() {
        let choice = |text: &str| text.parse::<DeviceChoice>();
        assert_eq!(choice("auto"), Ok(DeviceChoice::Auto));
        assert_eq!(choice("cpu"), Ok(DeviceChoice::Cpu));
        assert_eq!(choice("cuda"), Ok(DeviceChoice::Cuda(0)));
        assert_eq!(choice("cuda:3"), Ok(DeviceChoice::Cuda(3)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x"] {
            let error = choice(wrong).unwrap_err();
            assert!(error.contains("expected auto, cpu or cuda:N"), "{error}");
        }
        let absent = Compute::new(DeviceChoice::Cuda(1000), Some(1));
        assert!(matches!(absent, Err(ComputeError::NoSuchGpu(1000, _))));
    }
}

//! `bench step|evaluation|loader|products`: time per episode, of the loader alone, and of matrix products, the upper limit
//! of this machine.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::{Args, ValueEnum};
use hypertransformer::episode::loader::DEPTH;
use hypertransformer::evaluate::episodes::evaluate;
use hypertransformer::model::trained::Trained;
use hypertransformer::pack::pack::Pack;
use hypertransformer::pack::part::Part;
use hypertransformer::report::console::{OutputError, tell};
use hypertransformer::run::assemble::{build_model, evaluation_sampler, training_sampler};
use hypertransformer::train::gradient::{Objective, step_gradient};
use hypertransformer::train::training_loader;
use serde_json::json;
use tch::{Cuda, Device, Kind, Tensor};

use crate::cli::open::pack::ensure_pack;
use crate::cli::shared::{ComputeArguments, SettingsArguments};

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum What {
    /// Training: forward and backward pass of its episodes
    Step,
    /// Evaluation: drawing episodes and their forward pass
    Evaluation,
    /// The loader: drawing episodes only
    Loader,
    /// A large matrix product, on one CPU thread or the GPU: the upper limit of this machine
    Products,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            What::Step => "step",
            What::Evaluation => "evaluation",
            What::Loader => "loader",
            What::Products => "products",
        }
    }
}

#[derive(Args)]
pub(super) struct BenchArguments {
    #[arg(value_enum, default_value = "step")]
    what: What,
    /// The experiment to time
    #[arg(long, default_value = "experiments/synthetic.yaml")]
    experiment: PathBuf,
    #[command(flatten)]
    settings: SettingsArguments,
    /// Number of episodes to time, after a tenth as many to warm up
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    episodes: u64,
    #[command(flatten)]
    compute: ComputeArguments,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &BenchArguments) -> anyhow::Result<ExitCode> {
    let experiment = arguments.settings.load(&arguments.experiment)?.experiment;
    let compute = arguments.compute.start(experiment.train.precision)?;
    if arguments.what == What::Products {
        products(compute.device, arguments.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    ensure_pack(&experiment.data.pack, true)?;
    let pack = Arc::new(Pack::open(&experiment.data.pack)?);
    let model = build_model(&experiment, &pack)?;
    let sampler = Arc::new(match arguments.what {
        What::Evaluation => evaluation_sampler(&experiment, &pack, Part::Test, 0)?,
        What::Step | What::Loader | What::Products => training_sampler(&experiment, &pack)?,
    });
    let state = model.initial_state(experiment.train.seed);
    let state = state.to_device(compute.device);
    let objective = Objective::at(&experiment, 0);
    let trained = Trained {
        model: &model,
        state: &state,
    };
    let tasks = experiment.train.tasks_per_step as u64;
    // Whole steps, so that the clock starts between two steps.
    let warm_up = (arguments.episodes / 10).max(1).next_multiple_of(tasks);
    let episodes = match arguments.what {
        What::Evaluation => arguments.episodes,
        What::Step | What::Loader | What::Products => arguments.episodes.next_multiple_of(tasks),
    };
    let (start, waited);
    if arguments.what == What::Evaluation {
        let run = |count| {
            evaluate(
                &compute,
                &trained,
                &sampler,
                count,
                experiment.batch_norm,
                |_| true,
            )
        };
        run(warm_up);
        start = Instant::now();
        run(episodes);
        waited = 0.0;
    } else {
        // A single loader for warm-up and timing, so that its start is not timed. It continues past the end, so that
        // as many episodes are drawn as are computed while the clock runs.
        let all = 0..warm_up + episodes + DEPTH as u64 * tasks;
        let mut loader = training_loader(&compute, Arc::clone(&sampler), all, tasks as usize)?;
        let step = |batch| {
            if arguments.what == What::Step {
                step_gradient(&compute, &model, &state, &batch, objective);
            }
        };
        loader
            .by_ref()
            .take((warm_up / tasks) as usize)
            .for_each(step);
        start = Instant::now();
        let before = loader.waited();
        loader
            .by_ref()
            .take((episodes / tasks) as usize)
            .for_each(step);
        waited = (loader.waited() - before).as_secs_f64();
    }
    let seconds = start.elapsed().as_secs_f64();
    let per_second = episodes as f64 / seconds;
    let milliseconds = 1000.0 * seconds / episodes as f64;
    let images_per_second = per_second * sampler.shape().images() as f64;
    let what = arguments.what.name();
    if arguments.json {
        let object = json!({
            "what": what,
            "experiment": arguments.experiment.display().to_string(),
            "device": format!("{:?}", compute.device),
            "threads": compute.threads,
            "episodes": episodes,
            "milliseconds_per_episode": milliseconds,
            "episodes_per_second": per_second,
            "images_per_second": images_per_second,
            "waiting_share": waited / seconds,
            "peak_memory_mib": peak_memory_mib(),
        });
        tell(&object)?;
    } else {
        tell(format!(
            "{what}: {milliseconds:.2} ms per episode, {per_second:.0} episodes/s, {images_per_second:.0} images/s ({} episodes, {:?}, {} threads, peak memory {:.0} MiB)",
            episodes,
            compute.device,
            compute.threads,
            peak_memory_mib().unwrap_or(f64::NAN),
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the median rate of a square matrix product.
fn products(device: Device, json: bool) -> Result<(), OutputError> {
    let side: i64 = if device.is_cuda() { 8192 } else { 1024 };
    let random = || Tensor::rand([side, side], (Kind::Float, device));
    let (left, right) = (random(), random());
    let rate = || {
        let start = Instant::now();
        let _product = left.matmul(&right);
        if let Device::Cuda(index) = device {
            Cuda::synchronize(index as i64);
        }
        2e-9 * (side as f64).powi(3) / start.elapsed().as_secs_f64()
    };
    rate();
    let mut rates: Vec<f64> = (0..21).map(|_| rate()).collect();
    rates.sort_by(f64::total_cmp);
    let gflops = rates[rates.len() / 2];
    if json {
        let what = What::Products.name();
        tell(format!(
            "{}",
            json!({"what": what, "side": side, "gflops": gflops, "device": format!("{device:?}")})
        ))?;
    } else {
        tell(format!(
            "products: {gflops:.0} GFLOP/s ({side}×{side} times {side}×{side}, {device:?})"
        ))?;
    }
    Ok(())
}

/// Peak memory of this process so far, on systems that have `/proc`.
fn peak_memory_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

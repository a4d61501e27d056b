//! The command line: one file a subcommand. Data to stdout, talk to stderr.

mod analyze;
mod bench;
mod bundle;
mod classify;
mod data;
mod doctor;
mod episodes;
mod evaluate;
mod evaluate_folder;
mod generate;
mod generate_list;
mod import;
mod inspect;
mod opened_cnn;
mod opened_run;
mod opened_writer;
mod oracle;
mod output;
mod preview;
mod serve;
mod train;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, Parser, Subcommand};
use hypertransformer::compute::{Compute, ComputeError, DeviceChoice, set_precision};
use hypertransformer::config::ConfigError;
use hypertransformer::config::train_options::Precision;
use hypertransformer::data::error::DataError;

/// Trains and uses HyperTransformers: a Transformer reads a few labelled pictures and writes the weights of a small
/// CNN.
#[derive(Parser)]
#[command(version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train an experiment; TensorBoard, metrics and checkpoints go to its run folder
    Train(train::TrainArguments),
    /// Measure a run's accuracy on a fixed list of episodes, with its 95 % interval
    Evaluate(evaluate::EvaluateArguments),
    /// Show an experiment without training it: configuration, layers, token sizes, parameters, multiply-adds, memory
    Inspect(inspect::InspectArguments),
    /// Import, show and check image packs
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Write lists of episodes that other programs can be measured on
    #[command(subcommand)]
    Episodes(episodes::EpisodesCommand),
    /// Look inside: who attends to whom, whether generated convolutions look at the task, how well a CNN could do at best
    #[command(subcommand)]
    Analyze(analyze::AnalyzeCommand),
    /// Write a small CNN from a few labelled pictures of your own: ONNX, safetensors, a card
    Generate(generate::GenerateArguments),
    /// Ask a generated CNN about pictures
    Classify(classify::ClassifyArguments),
    /// Measure a generated CNN on labelled pictures
    EvaluateFolder(evaluate_folder::EvaluateFolderArguments),
    /// Draw classes in a browser and watch the CNN that is written for them
    Serve(serve::ServeArguments),
    /// Make one file of a run, for `generate` and `serve` on other machines
    Bundle(bundle::BundleArguments),
    /// Time training steps, evaluation, the episode loader or matrix products on this machine
    Bench(bench::BenchArguments),
    /// Tell what is linked, which device and threads there are, and what is wrong with the installation
    Doctor,
}

/// Where to compute.
#[derive(Args)]
struct ComputeArguments {
    /// Device: auto, cpu or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// CPU worker threads; results do not depend on it [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

impl ComputeArguments {
    /// Comes before all else that calls libtorch, for the precision.
    fn start(&self, precision: Precision) -> Result<Compute, ComputeError> {
        set_precision(precision);
        Compute::new(self.device, self.threads.map(usize::from))
    }
}

/// Exit codes: 0 ok, 1 failed, 2 usage or configuration, 130 interrupted.
pub(crate) fn run() -> ExitCode {
    let command = Cli::parse().command;
    quiet_panics();
    let result = std::panic::catch_unwind(|| match command {
        Command::Train(arguments) => train::run(&arguments),
        Command::Evaluate(arguments) => evaluate::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Data(command) => data::run(&command),
        Command::Episodes(command) => episodes::run(&command),
        Command::Analyze(command) => analyze::run(&command),
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Classify(arguments) => classify::run(&arguments),
        Command::EvaluateFolder(arguments) => evaluate_folder::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Bundle(arguments) => bundle::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Doctor => doctor::run(),
    });
    match result {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            eprintln!("error: {error}");
            let mut told = error.to_string();
            for cause in error.chain().skip(1).map(ToString::to_string) {
                // Transparent wrappers repeat their cause.
                if !told.contains(&cause) {
                    eprintln!("  caused by: {cause}");
                }
                told = cause;
            }
            if let Some(DataError::Interrupted) = error.downcast_ref() {
                return ExitCode::from(130);
            }
            let configuration = error.downcast_ref::<ConfigError>().is_some();
            ExitCode::from(if configuration { 2 } else { 1 })
        }
        Err(_) => ExitCode::from(1),
    }
}

/// What printing fails with when nobody reads on, as after `| head`: no fault; a shell gives such a program 141.
const BROKEN_PIPE: &str = "os error 32";

/// Libtorch reports faults as panics with C++ stacks; a user sees the first line.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location();
        if place.is_some_and(|place| place.file().contains("tensorboard-rs")) {
            // It cannot write, which the report of the run tells.
            return;
        }
        let payload = panic.payload();
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("unknown fault");
        if text.starts_with("failed printing to") && text.contains(BROKEN_PIPE) {
            std::process::exit(141);
        }
        let first_line = text.lines().next().unwrap_or(text).replace("\\n", "\n");
        eprintln!(
            "error: internal fault: {}",
            first_line.lines().next().unwrap_or_default()
        );
        if let Some(place) = place {
            eprintln!("hint: this is a bug ({place}); please report it with the command you ran");
        }
    }));
}

/// A flag that the first Ctrl-C sets; the second leaves at once with code 130.
fn interrupt_flag(doing: &'static str) -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    ctrlc::set_handler(move || {
        if set.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\ninterrupted: {doing}; press Ctrl-C again to leave at once");
    })?;
    Ok(flag)
}

/// `runs/<stem>`
fn default_run_dir(experiment: &Path) -> std::path::PathBuf {
    Path::new("runs").join(experiment.file_stem().unwrap_or_default())
}

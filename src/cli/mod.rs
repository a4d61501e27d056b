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
mod inspect;
mod open;
mod output;
mod panics;
mod serve;
mod shared;
mod train;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use hypertransformer::pack::error::DataError;
use hypertransformer::settings::file::ConfigError;

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

/// Exit codes: 0 ok, 1 failed, 2 usage or configuration, 130 interrupted.
pub(crate) fn run() -> ExitCode {
    let command = Cli::parse().command;
    panics::quiet_panics();
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

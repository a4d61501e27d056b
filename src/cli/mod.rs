//! The table of commands, one file or folder each. Results go to stdout, messages to stderr.

mod analyze;
mod bench;
mod bundle;
mod classify;
mod data;
mod doctor;
mod episodes;
mod evaluate;
mod evaluate_folder;
mod failure;
mod generate;
mod inspect;
mod open;
mod output;
mod panics;
mod results;
mod serve;
mod shared;
mod sweep;
mod train;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use hypertransformer::base::files;
use hypertransformer::base::interrupt::handle_signals;
use hypertransformer::report::console::say;

/// Trains and uses HyperTransformers: a Transformer reads a few labelled pictures and writes the weights of a small
/// CNN
#[derive(Parser)]
#[command(version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train an experiment; metrics, TensorBoard events and checkpoints go to its run folder
    Train(train::TrainArguments),
    /// Measure the accuracy of runs on a fixed list of episodes, with its 95 % interval
    Evaluate(evaluate::EvaluateArguments),
    /// Train and evaluate the runs of a grid of settings and seeds, on one machine or as a Slurm array
    Sweep(sweep::SweepArguments),
    /// Print a table of evaluated runs, averaged over seeds with 95 % intervals, beside training accuracy, cost and the
    /// paper's numbers
    Results(results::ResultsArguments),
    /// Show an experiment without training it: configuration, layers, tokens, parameters, multiply-adds, memory
    Inspect(inspect::InspectArguments),
    /// Import, show and check image packs
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Export lists of episodes on which other programs can be measured
    #[command(subcommand)]
    Episodes(episodes::EpisodesCommand),
    /// Look into a run: attention maps, how much convolutions vary between tasks, accuracy of a CNN trained directly
    #[command(subcommand)]
    Analyze(analyze::AnalyzeCommand),
    /// Write a small CNN from a few labelled pictures of your own, as ONNX and safetensors, with a summary
    Generate(generate::GenerateArguments),
    /// Classify pictures with a generated CNN
    Classify(classify::ClassifyArguments),
    /// Measure the accuracy of a generated CNN on labelled pictures
    EvaluateFolder(evaluate_folder::EvaluateFolderArguments),
    /// Draw classes in a browser and try the CNN that is written for them
    Serve(serve::ServeArguments),
    /// Pack a run into one file, for `generate` and `serve` on other machines
    Bundle(bundle::BundleArguments),
    /// Time training, evaluation, the episode loader or matrix products on this machine
    Bench(bench::BenchArguments),
    /// Check the installation: linked libraries, devices, threads, faults
    Doctor,
}

/// A word of the command line with `~/` at its start, or after `=`, replaced by the user's home folder: shells do not do
/// the latter.
fn at_home(word: OsString) -> OsString {
    let option = word
        .to_str()
        .filter(|text| text.starts_with("--"))
        .and_then(|text| text.split_once('='));
    match option {
        Some((name, value)) if !value.contains('=') => {
            let mut word = OsString::from(format!("{name}="));
            word.push(files::at_home(Path::new(value)));
            word
        }
        Some(_) => word,
        None => files::at_home(Path::new(&word)).into(),
    }
}

/// Runs the command that was given.
pub(crate) fn run() -> ExitCode {
    let command = Cli::parse_from(std::env::args_os().map(at_home)).command;
    failure::run(|| {
        handle_signals(|message| say(message)).context("could not handle signals")?;
        match command {
            Command::Train(arguments) => train::run(&arguments),
            Command::Evaluate(arguments) => evaluate::run(&arguments),
            Command::Sweep(arguments) => sweep::run(&arguments),
            Command::Results(arguments) => results::run(&arguments),
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
        }
    })
}

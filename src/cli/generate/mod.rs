//! `generate`: writes a stand-alone CNN from labelled pictures, as ONNX and safetensors, with a summary.

mod list;
pub(super) mod task;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use hypertransformer::base::atomic;
use hypertransformer::export::card::NOT_KNOWN;
use hypertransformer::report::console::{say, tell};

use crate::cli::generate::task::{Task, without_extension};
use crate::cli::open::writer::{OpenedWriter, WriterArguments};

#[derive(Args)]
pub(super) struct GenerateArguments {
    /// The run folder, or a bundle such as models/omniglot-20way.safetensors
    run: PathBuf,
    /// Labelled pictures: a folder of class folders, or a CSV file with the columns file and label
    #[arg(long, value_name = "DIR", required_unless_present = "list")]
    support: Option<PathBuf>,
    /// Unlabelled pictures: a folder
    #[arg(long, value_name = "DIR", requires = "support")]
    unlabeled: Option<PathBuf>,
    /// Name of the files to write: NAME.onnx, NAME.safetensors, NAME.html and NAME.json
    #[arg(
        long,
        alias = "out",
        value_name = "NAME",
        required_unless_present = "list"
    )]
    output: Option<PathBuf>,
    /// Write many CNNs in one process: a CSV or .jsonl file with support, output and, optionally, unlabeled of each; paths
    /// are relative to the list
    #[arg(long, value_name = "FILE", conflicts_with_all = ["support", "unlabeled", "output"])]
    list: Option<PathBuf>,
    /// Pass over pictures that cannot be used, and count them
    #[arg(long)]
    skip_broken: bool,
    /// Replace existing files
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    writer: WriterArguments,
}

pub(super) fn run(arguments: &GenerateArguments) -> anyhow::Result<ExitCode> {
    let opened = OpenedWriter::open(&arguments.run, &arguments.writer)?;
    let (Some(support), Some(output)) = (&arguments.support, &arguments.output) else {
        let path = arguments.list.as_ref().context("--list is missing")?;
        return list::run(&opened, path, arguments.skip_broken, arguments.force);
    };
    let task = Task {
        support: support.clone(),
        unlabeled: arguments.unlabeled.clone(),
        skip_broken: arguments.skip_broken,
        output: without_extension(output),
    };
    task.check(arguments.force)?;
    atomic::sweep(task.folder());
    let views = opened.writer.views(&opened.state);
    let made = task.make(&opened.writer, &views)?;
    let remarks = made.remarks.lines();
    remarks.iter().for_each(say);
    let held_out = opened.writer.leave_one_out(
        &opened.compute,
        &opened.state,
        &made.support,
        &made.unlabeled,
    )?;
    let card = task.write(&made, held_out.as_ref())?;
    let name = task.output.display();
    tell(format!(
        "{name}: {} classes from {} pictures in {:.1} ms; {} parameters, {} bytes as ONNX, {} multiply-adds per picture",
        card.classes.len(),
        made.support.pictures.len(),
        card.generation_milliseconds,
        card.cost.parameters,
        card.onnx_bytes,
        card.cost.multiply_adds
    ))?;
    match held_out {
        Some(answers) => tell(format!(
            "held out one at a time, {} of {} pictures: {answers}",
            answers.total(),
            made.support.pictures.len()
        ))?,
        None => tell(format!("accuracy {NOT_KNOWN}"))?,
    }
    say(format!(
        "written: {name}.onnx, {name}.safetensors, {name}.html and {name}.json"
    ));
    Ok(ExitCode::SUCCESS)
}

//! `sweep`: trains and evaluates the runs of a grid of settings and seeds.

mod arguments;
mod commands;
mod jobs;
mod plan;
mod progress;
mod shell;

use std::process::ExitCode;

use anyhow::Context;
use hypertransformer::base::interrupt::{self, INTERRUPTED};
use hypertransformer::report::console::{say, tell};

pub(super) use crate::cli::sweep::arguments::SweepArguments;
use crate::cli::sweep::commands::Commands;
use crate::cli::sweep::jobs::{Outcome, work};
use crate::cli::sweep::plan::{PlannedRun, check_data, check_places, planned};

pub(super) fn run(arguments: &SweepArguments) -> anyhow::Result<ExitCode> {
    let shard = arguments.shard()?;
    let all = planned(arguments)?;
    let places = all.iter().enumerate();
    let share: Vec<&PlannedRun> = places
        .filter(|(index, _)| shard.has(*index))
        .map(|(_, run)| run)
        .collect();
    check_places(&share)?;
    let commands = Commands::new(arguments)?;
    if arguments.dry_run {
        for run in &share {
            let left = commands.left(run);
            if !left.is_empty() {
                tell(shell::line(&left))?;
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    check_data(&share)?;
    let output = arguments.output();
    let failed = || format!("could not create {}", output.display());
    std::fs::create_dir_all(&output).with_context(failed)?;
    interrupt::stops_by_itself("stopping: runs in progress save a checkpoint");
    let outcome = work(&share, &commands, arguments.jobs.into());
    report(arguments, &commands, &all, &outcome)
}

/// Says how the sweep ended.
fn report(
    arguments: &SweepArguments,
    commands: &Commands,
    all: &[PlannedRun],
    outcome: &Outcome<'_>,
) -> anyhow::Result<ExitCode> {
    let names = |runs: &[&PlannedRun]| -> String {
        let names: Vec<String> = runs.iter().map(|run| format!("\n  {}", run.name)).collect();
        names.concat()
    };
    if !outcome.busy.is_empty() {
        say(format!(
            "{} skipped, because another process trains there:{}",
            runs(outcome.busy.len()),
            names(&outcome.busy)
        ));
    }
    if !outcome.failed.is_empty() {
        say(format!(
            "error: {} failed:{}\nhint: the sweep.log of each says why; the same command tries again",
            runs(outcome.failed.len()),
            names(&outcome.failed)
        ));
    }
    if interrupt::asked() {
        say("stopped\nhint: the same command goes on");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let left = all.iter().filter(|run| !commands.left(run).is_empty());
    match left.count() {
        0 => {
            let count = runs(all.len());
            say(format!("{count} of the sweep done; the table:"));
            tell(shell::results(&arguments.output(), &arguments.grid))?;
        }
        left => say(format!("left to do: {left} of {}", runs(all.len()))),
    }
    Ok(match outcome.failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// A number of runs.
fn runs(count: usize) -> String {
    format!("{count} {}", if count == 1 { "run" } else { "runs" })
}

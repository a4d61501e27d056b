//! `generate --list`: writes many CNNs in one process, as many in parallel as there are threads.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use hypertransformer::base::compute::BatchSize;
use hypertransformer::base::interrupt::{self, INTERRUPTED};
use hypertransformer::base::{atomic, files};
use hypertransformer::pictures::remarks::Remarks;
use hypertransformer::report::console::{say, tell};
use indicatif::ProgressBar;
use serde::Deserialize;

use crate::cli::failure;
use crate::cli::generate::task::{Task, without_extension};
use crate::cli::open::writer::OpenedWriter;

/// Number of tasks between two checks for Ctrl-C.
const ROUND: usize = 64;

/// A line of the list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    support: PathBuf,
    #[serde(alias = "out")]
    output: PathBuf,
    #[serde(default)]
    unlabeled: Option<PathBuf>,
}

pub(in crate::cli) fn run(
    opened: &OpenedWriter,
    list: &Path,
    skip_broken: bool,
    force: bool,
) -> anyhow::Result<ExitCode> {
    let tasks = read(list, skip_broken)?;
    for task in &tasks {
        task.check(force)?;
    }
    let folders: BTreeSet<&Path> = tasks.iter().map(Task::folder).collect();
    folders.into_iter().for_each(atomic::sweep);
    interrupt::stops_within_a_second("stopping: CNNs in progress are finished");
    let bar = ProgressBar::new(tasks.len() as u64);
    let start = Instant::now();
    let (mut times, mut failed) = (Vec::new(), 0);
    for round in tasks.chunks(ROUND) {
        let writer = &opened.writer;
        let state = || opened.state.shallow_clone();
        let done = opened
            .compute
            .map(round, BatchSize::ONE, state, |group, state| {
                let views = writer.views(&state);
                let one = |task: &Task| {
                    let made = task.make(writer, &views)?;
                    task.write(&made, None)?;
                    Ok((made.milliseconds, made.remarks))
                };
                group
                    .iter()
                    .map(one)
                    .collect::<Vec<anyhow::Result<(f64, Remarks)>>>()
            });
        for (task, result) in round.iter().zip(done.into_iter().flatten()) {
            match result {
                Ok((milliseconds, remarks)) => {
                    times.push(milliseconds);
                    let name = task.output.display();
                    for line in remarks.lines() {
                        bar.suspend(|| say(format!("{name}: {line}")));
                    }
                }
                Err(error) => {
                    failed += 1;
                    let error = error.context(task.output.display().to_string());
                    bar.suspend(|| failure::print(&error));
                }
            }
        }
        bar.inc(round.len() as u64);
        if interrupt::asked() {
            bar.finish_and_clear();
            say(format!("interrupted: {} CNNs are complete", times.len()));
            return Ok(ExitCode::from(INTERRUPTED));
        }
    }
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    if let Some(median) = times.get(times.len() / 2) {
        tell(format!(
            "{} CNNs in {seconds:.2} s, {:.1} tasks/s on {} threads, files read and written; median generation {median:.2} ms",
            times.len(),
            times.len() as f64 / seconds,
            opened.compute.threads
        ))?;
    }
    if failed > 0 {
        say(format!(
            "{failed} of {} tasks failed, see above",
            tasks.len()
        ));
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the tasks of a list and checks that no two write the same files.
fn read(list: &Path, skip_broken: bool) -> anyhow::Result<Vec<Task>> {
    let lines = list
        .extension()
        .is_some_and(|extension| extension == "jsonl");
    let rows = match lines {
        true => from_lines(list)?,
        false => from_table(list)?,
    };
    ensure!(!rows.is_empty(), "{} has no tasks", list.display());
    let base = list.parent().unwrap_or(Path::new(""));
    let mut seen = HashSet::new();
    rows.into_iter()
        .map(|row| {
            let output = base.join(without_extension(&row.output));
            let folder = atomic::folder_of(&output);
            let folder = folder
                .canonicalize()
                .unwrap_or_else(|_| folder.to_path_buf());
            if !seen.insert(folder.join(output.file_name().unwrap_or_default())) {
                bail!(
                    "{} has the output {} twice",
                    list.display(),
                    row.output.display()
                );
            }
            let unlabeled = row
                .unlabeled
                .filter(|folder| !folder.as_os_str().is_empty());
            Ok(Task {
                support: base.join(row.support),
                unlabeled: unlabeled.map(|folder| base.join(folder)),
                skip_broken,
                output,
            })
        })
        .collect()
}

fn from_lines(list: &Path) -> anyhow::Result<Vec<Row>> {
    let text = files::read_text(list, files::LARGEST_TABLE)
        .with_context(|| format!("could not read {}", list.display()))?;
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            serde_json::from_str(line).with_context(|| {
                format!(
                    r#"{}, line {}: expected {{"support": "DIR", "output": "NAME"}}"#,
                    list.display(),
                    index + 1
                )
            })
        })
        .collect()
}

fn from_table(list: &Path) -> anyhow::Result<Vec<Row>> {
    let text = files::read(list, files::LARGEST_TABLE)
        .with_context(|| format!("could not read {}", list.display()))?;
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(&text[..]);
    reader
        .deserialize()
        .map(|row| {
            row.with_context(|| {
                format!(
                    "{}: expected the columns support, output and, optionally, unlabeled",
                    list.display()
                )
            })
        })
        .collect()
}

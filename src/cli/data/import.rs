//! `data import`: files of a data set into a pack.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use hypertransformer::base::interrupt;
use hypertransformer::import::catalog::{self, DATA_SETS};
use hypertransformer::import::data_set::{DataSet, ImportRequest, Origin};
use hypertransformer::import::read::progress::Progress;
use hypertransformer::pack::error::DataError;
use hypertransformer::pack::pack::{BLANK, BROKEN, PARTIAL, Pack};
use hypertransformer::report::console::say;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::cli::data::info::info;

#[derive(Args)]
pub(in crate::cli) struct ImportArguments {
    /// What to import
    #[arg(value_parser = source())]
    source: &'static DataSet,
    /// Archives, files or folders that hold the data set; needed for all but synthetic
    #[arg(long, num_args = 1.., value_name = "PATH")]
    from: Vec<PathBuf>,
    /// The pack to write
    #[arg(long, value_name = "PACK")]
    output: PathBuf,
    #[arg(long, help = size_help())]
    size: Option<u32>,
    /// Channels of `folder`: 1 (grey) or 3 (colour) [default: 3]
    #[arg(long)]
    channels: Option<usize>,
    /// Which class of `folder` belongs to which part: a CSV file with the columns class and split (train, val, test)
    #[arg(long, value_name = "CSV", alias = "split")]
    class_split: Option<PathBuf>,
    /// Seed of a shuffled split, and of synthetic glyphs
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Accept an incomplete data set, without broken pictures, and note in the pack what is missing
    #[arg(long)]
    partial: bool,
    /// Pass over pictures of `folder` that cannot be used, and count them; --partial does the same
    #[arg(long)]
    skip_broken: bool,
    /// Replace an existing pack
    #[arg(long)]
    force: bool,
}

/// Parses the name of a data set; the help lists all of them with the accepted files.
fn source() -> impl TypedValueParser<Value = &'static DataSet> {
    let values = DATA_SETS.iter().map(|data_set| {
        PossibleValue::new(data_set.name)
            .alias(data_set.short_name)
            .help(data_set.files)
    });
    PossibleValuesParser::new(values)
        .try_map(|name| catalog::by_name(&name).ok_or("is not in the catalogue"))
}

/// Help on `--size` with the defaults of all data sets.
fn size_help() -> String {
    let mut sizes: Vec<u32> = DATA_SETS
        .iter()
        .filter_map(|set| set.default_size)
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    let defaults = sizes.iter().map(|&size| {
        let names = names(|data_set| data_set.default_size == Some(size));
        format!("{size} for {names}")
    });
    let defaults: Vec<String> = defaults.collect();
    format!(
        "Height and width in pixels [default: {}]",
        defaults.join("; ")
    )
}

/// Names of the data sets for which `wanted` holds.
fn names(wanted: impl Fn(&DataSet) -> bool) -> String {
    let chosen = DATA_SETS.iter().filter(|data_set| wanted(data_set));
    let names: Vec<&str> = chosen.map(|data_set| data_set.name).collect();
    names.join(", ")
}

/// Refuses options that the data set does not have.
fn check(arguments: &ImportArguments) -> anyhow::Result<()> {
    let ImportArguments { source, output, .. } = arguments;
    ensure!(
        arguments.force || !output.exists(),
        "{} exists\nhint: replace it with --force, or name another file with --output",
        output.display()
    );
    match source.origin {
        Origin::Drawn => ensure!(
            arguments.from.is_empty(),
            "--from does not apply to {}: the program draws it",
            source.name
        ),
        Origin::Own | Origin::Published { .. } => ensure!(
            !arguments.from.is_empty(),
            "--from is missing: name the archives or folders that hold the data set"
        ),
    }
    for (given, option) in [
        (arguments.channels.is_some(), "--channels"),
        (arguments.class_split.is_some(), "--class-split"),
        (arguments.skip_broken, "--skip-broken"),
    ] {
        if given && source.origin != Origin::Own {
            bail!(
                "{option} applies to {} only: other data sets are as published",
                names(|data_set| data_set.origin == Origin::Own)
            );
        }
    }
    ensure!(
        source.partial || !arguments.partial,
        "--partial applies to {} only",
        names(|data_set| data_set.partial)
    );
    Ok(())
}

pub(in crate::cli) fn run(arguments: &ImportArguments) -> anyhow::Result<()> {
    check(arguments)?;
    let bar = ProgressBar::new_spinner().with_message("reading");
    bar.enable_steady_tick(Duration::from_millis(200));
    interrupt::stops_within_a_second("stopping: no pack is written");
    let watch = |progress| {
        match progress {
            Progress::Unpacked(bytes) => bar.set_message(format!("unpacked {}", HumanBytes(bytes))),
            Progress::Written(done, all) => {
                if bar.length().is_none() {
                    bar.disable_steady_tick();
                    bar.set_style(ProgressStyle::default_bar());
                }
                bar.set_length(all as u64);
                bar.set_position(done as u64);
            }
        }
        !interrupt::asked()
    };
    let defaults = ImportRequest::new(arguments.source, &arguments.from, &arguments.output, &watch);
    let request = ImportRequest {
        size: arguments.size.unwrap_or(defaults.size),
        channels: arguments.channels.unwrap_or(defaults.channels),
        class_split: arguments.class_split.as_deref(),
        seed: arguments.seed,
        partial: arguments.partial,
        skip_broken: arguments.skip_broken,
        ..defaults
    };
    let result = request.run();
    bar.finish_and_clear();
    // An interrupt can show as an error of reading or unpacking.
    if result.is_err() && interrupt::asked() {
        return Err(DataError::Interrupted.into());
    }
    result?;
    let pack = Pack::open(&arguments.output)?;
    for (key, warning) in [
        (PARTIAL, "not the whole data set"),
        (BROKEN, "broken pictures"),
        (BLANK, "blank after preparation"),
    ] {
        if let Some(note) = pack.metadata().notes.get(key) {
            say(format!("warning: {warning}: {note}"));
        }
    }
    info(&pack)?;
    Ok(())
}

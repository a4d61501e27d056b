//! `data catalog`: the table of data sets, for docs/data.md and the Makefile.

use clap::ValueEnum;
use hypertransformer::import::catalog::DATA_SETS;
use hypertransformer::import::data_set::{Contents, DataSet, Images, Origin};
use hypertransformer::report::console::{OutputError, tell};

/// What to write the table as.
#[derive(Clone, Copy, ValueEnum)]
pub(in crate::cli) enum Format {
    /// A Markdown table
    Markdown,
    /// Variables of make
    Make,
}

pub(in crate::cli) fn print(format: Format) -> Result<(), OutputError> {
    match format {
        Format::Markdown => print_markdown(),
        Format::Make => print_make(),
    }
}

fn print_markdown() -> Result<(), OutputError> {
    tell(
        "| data set | licence | obtain from | accepted files | train / validation / test classes, images | pack | `DATASET` |",
    )?;
    tell("|---|---|---|---|---|---|---|")?;
    for data_set in DATA_SETS {
        let pack = match data_set.default_size {
            Some(size) => format!("{} at {size}×{size}", data_set.pack_size),
            None => data_set.pack_size.to_owned(),
        };
        let cells = [
            data_set.title.to_owned(),
            data_set.licence.unwrap_or("").to_owned(),
            obtain_from(data_set.origin),
            data_set.files.to_owned(),
            contents(data_set.contents),
            pack,
            format!("`{}`", data_set.short_name),
        ];
        tell(format!("| {} |", cells.join(" | ")))?;
    }
    Ok(())
}

fn obtain_from(origin: Origin) -> String {
    match origin {
        Origin::Drawn => String::new(),
        Origin::Own => "yours".to_owned(),
        Origin::Published {
            citation,
            url: Some(url),
        } => format!("[{citation}]({url})"),
        Origin::Published {
            citation,
            url: None,
        } => citation.to_owned(),
    }
}

fn contents(contents: Contents) -> String {
    let (classes, images) = match contents {
        Contents::Varying(text) => return text.to_owned(),
        Contents::Known { classes, images } => (classes, images),
    };
    let [train, validation, test] = classes;
    let images = match images {
        Images::PerClass(count) => format!("{} of each", grouped(count)),
        Images::PerPart(counts) => counts.map(grouped).join(" / "),
        Images::Total(count) => grouped(count),
    };
    format!("{train} / {validation} / {test}, {images}")
}

/// A number with commas between thousands.
fn grouped(number: usize) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1000), number % 1000),
    }
}

fn print_make() -> Result<(), OutputError> {
    tell("# Written by `make catalog` from src/import/catalog.rs: do not edit.")?;
    let names = |wanted: fn(&DataSet) -> bool| {
        let chosen = DATA_SETS.iter().filter(|data_set| wanted(data_set));
        let names: Vec<&str> = chosen.map(|data_set| data_set.short_name).collect();
        names.join(" ")
    };
    tell("# Values of DATASET for `make train`, and for `make data`.")?;
    tell(format!(
        "TRAINABLE := {}",
        names(|data_set| data_set.experiment.is_some())
    ))?;
    tell(format!(
        "IMPORTABLE := {}",
        names(|data_set| data_set.origin != Origin::Drawn)
    ))?;
    tell("# The pack of each data set, and its default experiment.")?;
    for data_set in DATA_SETS {
        let name = data_set.short_name;
        tell(format!("PACK_{name} := data/{}.safetensors", data_set.pack))?;
        if let Some(experiment) = data_set.experiment {
            tell(format!("EXPERIMENT_{name} := {experiment}"))?;
        }
    }
    Ok(())
}

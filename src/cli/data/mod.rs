//! `data import|info|preview|verify|catalog`.

mod catalog;
mod import;
mod info;
mod preview;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use hypertransformer::import::verify::verify;
use hypertransformer::pack::pack::Pack;
use hypertransformer::report::console::{say, tell};

use crate::cli::data::catalog::Format;
use crate::cli::data::import::ImportArguments;
use crate::cli::data::info::{info, print_moments};
use crate::cli::data::preview::PreviewArguments;

#[derive(Subcommand)]
pub(super) enum DataCommand {
    /// Make a pack from the files of a data set
    Import(ImportArguments),
    /// Show what a pack holds: classes, splits, mean and deviation of its channels
    Info {
        /// The pack
        pack: PathBuf,
    },
    /// Draw a contact sheet of classes, or of an episode as the model receives it
    Preview(PreviewArguments),
    /// Check a whole pack: content hash, completeness, byte-identical and blank images
    Verify {
        /// The pack
        pack: PathBuf,
    },
    /// List all data sets: licence, where to obtain them, accepted files, sizes
    Catalog {
        /// How to write the list
        #[arg(long, value_enum, default_value = "markdown")]
        format: Format,
    },
}

pub(super) fn run(command: &DataCommand) -> anyhow::Result<ExitCode> {
    match command {
        DataCommand::Import(arguments) => import::run(arguments)?,
        DataCommand::Catalog { format } => catalog::print(*format)?,
        DataCommand::Info { pack } => {
            let pack = Pack::open(pack)?;
            info(&pack)?;
            print_moments(&pack)?;
        }
        DataCommand::Preview(arguments) => return preview::run(arguments),
        DataCommand::Verify { pack } => {
            let pack = Pack::open(pack)?;
            let report = verify(&pack)?;
            tell(format!(
                "{}: {} images, content hash correct",
                pack.path().display(),
                report.images
            ))?;
            tell(match pack.whole_hash() {
                Some(_) => "class names, splits and notes: as hashed",
                None => {
                    "class names, splits and notes: not hashed by the earlier version that wrote the pack"
                }
            })?;
            tell(format!(
                "byte-identical pairs: {}, of these across parts of `{}`: {}",
                report.duplicates.len(),
                pack.metadata().default_split,
                report.duplicates_across_parts
            ))?;
            let names = &pack.metadata().class_names;
            let name = |image: usize| {
                let class = pack.class_of(image);
                let number = image - pack.class_range(class).start;
                format!("{} number {number}", names[class])
            };
            for &(one, other) in report.duplicates.iter().take(SHOWN_DUPLICATES) {
                tell(format!("  {} is {}", name(other), name(one)))?;
            }
            if report.duplicates.len() > SHOWN_DUPLICATES {
                tell(format!(
                    "  and {} more",
                    report.duplicates.len() - SHOWN_DUPLICATES
                ))?;
            }
            if !report.blank.is_empty() {
                let named: Vec<String> = report
                    .blank
                    .iter()
                    .take(SHOWN_BLANK)
                    .map(|&image| name(image))
                    .collect();
                let (named, count) = (named.join(", "), report.blank.len());
                say(format!(
                    "warning: {count} images show nothing, the first: {named}"
                ));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// How many pairs of identical images `data verify` names.
const SHOWN_DUPLICATES: usize = 20;
/// How many blank images it names.
const SHOWN_BLANK: usize = 3;

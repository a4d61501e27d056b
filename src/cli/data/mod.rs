//! `data import|info|preview|verify`.

mod import;
mod info;
mod preview;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use hypertransformer::import::verify::verify;
use hypertransformer::pack::pack::Pack;

use crate::cli::data::import::ImportArguments;
use crate::cli::data::info::{info, print_moments};
use crate::cli::data::preview::PreviewArguments;

#[derive(Subcommand)]
pub(super) enum DataCommand {
    /// Make a pack from the files a data set is handed out as
    Import(ImportArguments),
    /// Show what a pack holds: classes, splits, mean and deviation of its channels
    Info {
        /// The pack
        pack: PathBuf,
    },
    /// Draw a contact sheet of classes, or of an episode as the model gets it
    Preview(PreviewArguments),
    /// Read a whole pack: content hash, completeness, byte-identical images
    Verify {
        /// The pack
        pack: PathBuf,
    },
}

pub(super) fn run(command: &DataCommand) -> anyhow::Result<ExitCode> {
    match command {
        DataCommand::Import(arguments) => import::run(arguments)?,
        DataCommand::Info { pack } => {
            let pack = Pack::open(pack)?;
            info(&pack);
            print_moments(&pack);
        }
        DataCommand::Preview(arguments) => return preview::run(arguments),
        DataCommand::Verify { pack } => {
            let pack = Pack::open(pack)?;
            let report = verify(&pack)?;
            println!(
                "{}: {} images, content as hashed",
                pack.path().display(),
                report.images
            );
            println!(
                "byte-identical pairs: {}, of these across parts of `{}`: {}",
                report.twins.len(),
                pack.metadata().default_split,
                report.twins_across_parts
            );
            let names = &pack.metadata().class_names;
            let name = |image: usize| {
                let class = pack.class_of(image);
                let number = image - pack.class_range(class).start;
                format!("{} number {number}", names[class])
            };
            for &(one, other) in report.twins.iter().take(MOST_TWINS) {
                println!("  {} is {}", name(other), name(one));
            }
            if report.twins.len() > MOST_TWINS {
                println!("  and {} more", report.twins.len() - MOST_TWINS);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Pairs that `data verify` names.
const MOST_TWINS: usize = 20;

//! `data import|info|preview|verify`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use hypertransformer::data::moments::moments;
use hypertransformer::data::pack::Pack;
use hypertransformer::data::verify::verify;

use super::import::{self, ImportArguments};
use super::preview::{self, PreviewArguments};

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
/// Channels whose means `data info` prints: embeddings have hundreds.
const MOST_CHANNELS: usize = 4;

/// Mean and standard deviation of each channel, bytes as 0 to 1.
fn print_moments(pack: &Pack) {
    let list = |values: Vec<f64>| {
        let texts: Vec<String> = values.iter().map(|value| format!("{value:.4}")).collect();
        texts.join(", ")
    };
    if pack.shape().channels > MOST_CHANNELS {
        return;
    }
    let channels = moments(pack);
    println!(
        "  mean     {}",
        list(channels.iter().map(|m| m.mean).collect())
    );
    println!(
        "  σ        {}",
        list(channels.iter().map(|m| m.deviation).collect())
    );
}

pub(super) fn info(pack: &Pack) {
    let metadata = pack.metadata();
    let sizes = (0..pack.class_count()).map(|class| pack.class_range(class).len());
    println!("{}: {}", pack.path().display(), metadata.name);
    println!("  images   {} of {}", pack.image_count(), pack.shape());
    println!(
        "  classes  {}, {} to {} images each",
        pack.class_count(),
        sizes.clone().min().unwrap_or(0),
        sizes.max().unwrap_or(0)
    );
    for (name, split) in &metadata.splits {
        let mark = if *name == metadata.default_split {
            " (default)"
        } else {
            ""
        };
        println!(
            "  split    {name}{mark}: {} train, {} validation, {} test classes",
            split.train.len(),
            split.validation.len(),
            split.test.len()
        );
    }
    println!("  source   {}", metadata.source);
    println!("  licence  {}", metadata.licence);
    println!("  content  {}", metadata.content_hash);
    for (note, value) in &metadata.notes {
        println!("  {note}: {value}");
    }
}

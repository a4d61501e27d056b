//! `data import|info|verify`, and what `train` does where a pack is missing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use hypertransformer::data::import::omniglot::{OmniglotOptions, import_omniglot};
use hypertransformer::data::pack::Pack;
use hypertransformer::data::synthetic::{SyntheticOptions, write_synthetic_pack};
use hypertransformer::data::verify::verify;

#[derive(Subcommand)]
pub(super) enum DataCommand {
    /// Make a pack from the files a data set is handed out as
    Import(ImportArguments),
    /// Show what a pack holds
    Info {
        /// The pack
        pack: PathBuf,
    },
    /// Read a whole pack: content hash, completeness, byte-identical images
    Verify {
        /// The pack
        pack: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Source {
    /// images_background.zip and images_evaluation.zip, or a folder with them, packed or unpacked
    Omniglot,
    /// Stroke-drawn glyphs, made on the spot; needs no --from
    Synthetic,
}

#[derive(Args)]
pub(super) struct ImportArguments {
    /// What to import
    #[arg(value_enum)]
    source: Source,
    /// Archives or folders
    #[arg(long, num_args = 1.., value_name = "PATH")]
    from: Vec<PathBuf>,
    /// The pack to write
    #[arg(long, value_name = "PACK")]
    output: PathBuf,
    /// Height and width in pixels
    #[arg(long, default_value_t = 28)]
    size: u32,
    /// Seed of the shuffled split (and of synthetic glyphs)
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(super) fn run(command: &DataCommand) -> anyhow::Result<ExitCode> {
    match command {
        DataCommand::Import(arguments) => import(arguments)?,
        DataCommand::Info { pack } => info(&Pack::open(pack)?),
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
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn import(arguments: &ImportArguments) -> anyhow::Result<()> {
    let output = &arguments.output;
    match arguments.source {
        Source::Omniglot => {
            if arguments.from.is_empty() {
                bail!(
                    "--from is missing: name images_background.zip and images_evaluation.zip, or a folder with them"
                );
            }
            let options = OmniglotOptions {
                size: arguments.size,
                split_seed: arguments.seed,
            };
            import_omniglot(&arguments.from, output, options)?;
        }
        Source::Synthetic => {
            let (size, seed) = (arguments.size as usize, arguments.seed);
            let options = SyntheticOptions {
                size,
                seed,
                ..SyntheticOptions::default()
            };
            write_synthetic_pack(output, &options)?;
        }
    }
    info(&Pack::open(output)?);
    Ok(())
}

fn info(pack: &Pack) {
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

/// Makes the embedded data set where it is missing; for any other pack tells what to obtain and how to import it.
pub(super) fn ensure_pack(path: &Path, quiet: bool) -> anyhow::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let how = match &*name {
        "synthetic" => {
            if !quiet {
                eprintln!("drawing the synthetic data set into {}", path.display());
            }
            return Ok(write_synthetic_pack(path, &SyntheticOptions::default())?);
        }
        "omniglot" => format!(
            "obtain images_background.zip and images_evaluation.zip from Lake et al. \
             (https://github.com/brendenlake/omniglot, folder python), then run:\n  \
             hypertransformer data import omniglot --from FOLDER --output {}",
            path.display()
        ),
        "mini-imagenet" => {
            "obtain the 60,000 images of mini-ImageNet (Vinyals et al. 2016, split by Ravi and \
            Larochelle 2017; under ImageNet's terms); `data import` cannot read them yet"
                .to_owned()
        }
        "tiered-imagenet" => {
            "obtain the images of tieredImageNet (Ren et al. 2018; under ImageNet's terms); \
            `data import` cannot read them yet"
                .to_owned()
        }
        _ => "make it with `hypertransformer data import`, or set data.pack to one you have"
            .to_owned(),
    };
    bail!("the pack {} is missing\nhint: {how}", path.display())
}

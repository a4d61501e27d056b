//! `data import`, and what `train` does where a pack is missing.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::{Args, ValueEnum};
use hypertransformer::data::import::embeddings::import_embeddings;
use hypertransformer::data::import::folders::{FolderOptions, import_folders};
use hypertransformer::data::import::mini_imagenet::import_mini_imagenet;
use hypertransformer::data::import::omniglot::{OmniglotOptions, import_omniglot};
use hypertransformer::data::pack::Pack;
use hypertransformer::data::synthetic::{SyntheticOptions, write_synthetic_pack};
use indicatif::ProgressBar;

use super::data::info;

#[derive(Clone, Copy, ValueEnum)]
enum Source {
    /// A folder with train.npz, val.npz and test.npz: arrays `embeddings` [N, D] and `labels` [N]
    Embeddings,
    /// Any tree of class folders (class/picture, or train/class/picture and so on), also in zip archives
    Folder,
    /// The 60,000 images: class folders or flat, with or without train.csv, val.csv, test.csv
    MiniImagenet,
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
    /// Height and width in pixels [default: 28 for omniglot and synthetic, 84 for others]
    #[arg(long)]
    size: Option<u32>,
    /// Channels of `folder`: 1 (grey) or 3 (colour)
    #[arg(long, default_value_t = 3)]
    channels: usize,
    /// Split of `folder`: a CSV file with the columns class and split (train, val, test)
    #[arg(long, value_name = "CSV")]
    split: Option<PathBuf>,
    /// Seed of the shuffled split (and of synthetic glyphs)
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(super) fn run(arguments: &ImportArguments) -> anyhow::Result<()> {
    let (from, output, seed) = (&arguments.from, &arguments.output, arguments.seed);
    let glyph_size = arguments.size.unwrap_or(28);
    let photo_size = arguments.size.unwrap_or(84);
    if from.is_empty() && !matches!(arguments.source, Source::Synthetic) {
        bail!("--from is missing: name the archives or folders that hold the data set");
    }
    if arguments.split.is_some() && !matches!(arguments.source, Source::Folder) {
        bail!("--split goes with `folder` only: the other data sets have splits of their own");
    }
    let bar = ProgressBar::new(0);
    let watch = |done: usize, all: usize| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    };
    match arguments.source {
        Source::Embeddings => {
            let [folder] = &from[..] else {
                bail!("--from: expected one folder with train.npz, val.npz and test.npz");
            };
            import_embeddings(folder, output)?;
        }
        Source::Folder => {
            let name = output.file_stem().unwrap_or_default().to_string_lossy();
            let options = FolderOptions {
                name: name.into_owned(),
                size: photo_size,
                channels: arguments.channels,
                split: arguments.split.clone(),
                seed,
            };
            import_folders(from, output, &options, &watch)?;
        }
        Source::MiniImagenet => import_mini_imagenet(from, output, photo_size, &watch)?,
        Source::Omniglot => {
            let options = OmniglotOptions {
                size: glyph_size,
                split_seed: seed,
            };
            import_omniglot(from, output, options)?;
        }
        Source::Synthetic => {
            let options = SyntheticOptions {
                size: glyph_size as usize,
                seed,
                ..SyntheticOptions::default()
            };
            write_synthetic_pack(output, &options)?;
        }
    }
    bar.finish_and_clear();
    info(&Pack::open(output)?);
    Ok(())
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
            format!(
                "obtain the 60,000 images of mini-ImageNet (Vinyals et al. 2016, classes of Ravi and Larochelle 2017; \
                 under ImageNet's terms), as class folders or flat files named by wnid, then run:\n  \
                 hypertransformer data import mini-imagenet --from FOLDER --output {}",
                path.display()
            )
        }
        "tiered-imagenet-leo" => {
            format!(
                "obtain the tieredImageNet embeddings of Rusu et al. (2019), save them as train.npz, val.npz and test.npz \
                 with the arrays embeddings [N, 640] and labels [N], then run:\n  \
                 hypertransformer data import embeddings --from FOLDER --output {}",
                path.display()
            )
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

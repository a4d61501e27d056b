//! `data import`, and what `train` does where a pack is missing.
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::{Args, ValueEnum};
use hypertransformer::import::read::progress::{Progress, Watch};
use hypertransformer::import::sources::cifar::{CifarSplit, import_cifar};
use hypertransformer::import::sources::cub::import_cub;
use hypertransformer::import::sources::embeddings::import_embeddings;
use hypertransformer::import::sources::folders::{FolderOptions, import_folders};
use hypertransformer::import::sources::idx::{IdxOptions, import_idx};
use hypertransformer::import::sources::mini_imagenet::import_mini_imagenet;
use hypertransformer::import::sources::omniglot::{OmniglotOptions, import_omniglot};
use hypertransformer::import::sources::synthetic::{SyntheticOptions, write_synthetic_pack};
use hypertransformer::import::sources::tiered_imagenet::import_tiered_imagenet;
use hypertransformer::import::write::known::KnownOptions;
use hypertransformer::pack::error::DataError;
use hypertransformer::pack::pack::Pack;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::cli::data::info::info;
use crate::cli::shared::interrupt_flag;

#[derive(Clone, Copy, ValueEnum)]
enum Source {
    /// cifar-100-python.tar.gz (or unpacked), or CIFAR_FS_{train,val,test}.pickle
    CifarFs,
    /// CUB_200_2011.tgz, or unpacked
    Cub,
    /// {train,val,test}.npz, or {train,val,test}_embeddings.pkl (LEO), or *_embeddings.npy with *_labels.npy
    Embeddings,
    /// cifar-100-python.tar.gz (or unpacked), or FC100_{train,val,test}.pickle
    Fc100,
    /// Any tree of class folders (class/picture, or train/class/picture and so on), also in zip and tar archives
    Folder,
    /// MNIST, EMNIST, Kuzushiji: *-images-idx3-ubyte and *-labels-idx1-ubyte, also gzipped
    Idx,
    /// Class folders or flat files named by wnid, or mini-imagenet-cache-*.pkl, or miniImageNet_category_split_*.pickle
    MiniImagenet,
    /// images_background.zip and images_evaluation.zip, or a folder with them, packed or unpacked
    Omniglot,
    /// Stroke-drawn glyphs, made on the spot; needs no --from
    Synthetic,
    /// *_images_png.pkl or *_images.npz with *_labels.pkl, or ILSVRC-2012's training images in folders or tars
    TieredImagenet,
}

impl Source {
    /// Whether a part of it can be imported too.
    fn can_be_partial(self) -> bool {
        matches!(
            self,
            Self::CifarFs
                | Self::Cub
                | Self::Fc100
                | Self::Idx
                | Self::MiniImagenet
                | Self::TieredImagenet
        )
    }

    /// Height and width where `--size` is not given.
    fn size(self) -> u32 {
        match self {
            Self::Idx | Self::Omniglot | Self::Synthetic => 28,
            Self::CifarFs | Self::Fc100 => 32,
            _ => 84,
        }
    }
}

#[derive(Args)]
pub(in crate::cli) struct ImportArguments {
    /// What to import
    #[arg(value_enum)]
    source: Source,
    /// Archives, files or folders
    #[arg(long, num_args = 1.., value_name = "PATH")]
    from: Vec<PathBuf>,
    /// The pack to write
    #[arg(long, value_name = "PACK")]
    output: PathBuf,
    /// Height and width in pixels [default: 28 for glyphs and digits, 32 for cifar-fs and fc100, 84 for others]
    #[arg(long)]
    size: Option<u32>,
    /// Channels of `folder`: 1 (grey) or 3 (colour) [default: 3]
    #[arg(long)]
    channels: Option<usize>,
    /// Split of `folder`: a CSV file with the columns class and split (train, val, test)
    #[arg(long, value_name = "CSV")]
    split: Option<PathBuf>,
    /// Seed of the shuffled split (and of synthetic glyphs)
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Import what is there of a known data set, and note in the pack what is not
    #[arg(long)]
    partial: bool,
    /// Replace a pack that is there
    #[arg(long)]
    force: bool,
}

pub(in crate::cli) fn run(arguments: &ImportArguments) -> anyhow::Result<()> {
    let (source, output) = (arguments.source, &arguments.output);
    ensure!(
        arguments.force || !output.exists(),
        "{} is there; replace it with --force, or name another with --output",
        output.display()
    );
    if arguments.from.is_empty() && !matches!(source, Source::Synthetic) {
        bail!("--from is missing: name the archives or folders that hold the data set");
    }
    if !arguments.from.is_empty() && matches!(source, Source::Synthetic) {
        bail!("--from goes with all but synthetic, which is drawn on the spot");
    }
    if arguments.channels.is_some() && !matches!(source, Source::Folder) {
        bail!("--channels goes with `folder` only: the other data sets have channels of their own");
    }
    if arguments.split.is_some() && !matches!(source, Source::Folder) {
        bail!("--split goes with `folder` only: the other data sets have splits of their own");
    }
    if arguments.partial && !source.can_be_partial() {
        bail!(
            "--partial goes with cifar-fs, cub, fc100, idx, mini-imagenet and tiered-imagenet only"
        );
    }
    let bar = ProgressBar::new_spinner().with_message("reading");
    bar.enable_steady_tick(Duration::from_millis(200));
    let interrupted = interrupt_flag("stopping")?;
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
        !interrupted.load(Ordering::Relaxed)
    };
    let result = import(arguments, &watch);
    bar.finish_and_clear();
    // What an interrupt tore apart is no fault of the files.
    if result.is_err() && interrupted.load(Ordering::Relaxed) {
        return Err(DataError::Interrupted.into());
    }
    result?;
    let pack = Pack::open(output)?;
    if let Some(missing) = pack.metadata().notes.get("partial") {
        eprintln!("warning: not the whole data set: {missing}");
    }
    info(&pack);
    Ok(())
}

fn import(arguments: &ImportArguments, watch: Watch<'_>) -> Result<(), DataError> {
    let ImportArguments {
        source,
        from,
        output,
        seed,
        ..
    } = arguments;
    let (source, seed) = (*source, *seed);
    let size = arguments.size.unwrap_or(source.size());
    let known = KnownOptions {
        size,
        partial: arguments.partial,
        watch,
    };
    let name = || {
        output
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    match source {
        Source::CifarFs => import_cifar(CifarSplit::CifarFs, from, output, known),
        Source::Cub => import_cub(from, output, known),
        Source::Embeddings => import_embeddings(from, output, watch),
        Source::Fc100 => import_cifar(CifarSplit::Fc100, from, output, known),
        Source::Folder => {
            let options = FolderOptions {
                name: name(),
                size,
                channels: arguments.channels.unwrap_or(3),
                split: arguments.split.clone(),
                seed,
            };
            import_folders(from, output, &options, watch)
        }
        Source::Idx => {
            let options = IdxOptions {
                name: name(),
                size,
                seed,
                partial: arguments.partial,
            };
            import_idx(from, output, &options, watch)
        }
        Source::MiniImagenet => import_mini_imagenet(from, output, known),
        Source::Omniglot => {
            let options = OmniglotOptions {
                size,
                split_seed: seed,
            };
            import_omniglot(from, output, options, watch)
        }
        Source::Synthetic => {
            let options = SyntheticOptions {
                size: size as usize,
                seed,
                ..SyntheticOptions::default()
            };
            write_synthetic_pack(output, &options)
        }
        Source::TieredImagenet => import_tiered_imagenet(from, output, known),
    }
}

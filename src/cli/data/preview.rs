//! `data preview`: a contact sheet of classes, or of an episode.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use clap::Args;
use hypertransformer::draw::contact_sheet::{class_rows, episode_rows, write_contact_sheet};
use hypertransformer::pack::pack::Pack;
use hypertransformer::pack::part::Part;
use hypertransformer::pack::shape::Element;
use hypertransformer::report::console::{say, tell};
use hypertransformer::run::assemble::{evaluation_sampler, training_sampler};

use crate::cli::open::pack::ensure_pack;
use crate::cli::output::{ensure_replaceable, is_png};
use crate::cli::shared::SettingsArguments;

#[derive(Args)]
pub(in crate::cli) struct PreviewArguments {
    /// Show classes of this pack
    #[arg(required_unless_present = "experiment", conflicts_with = "experiment")]
    pack: Option<PathBuf>,
    /// Show an episode of this experiment, as the model gets it
    #[arg(long, value_name = "FILE.yaml")]
    experiment: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingsArguments,
    /// Number of the episode
    #[arg(long, default_value_t = 0, requires = "experiment")]
    episode: u64,
    /// Classes to show, or to draw the episode from
    #[arg(long, default_value = "train")]
    split: Part,
    /// How many classes, spread evenly over the part of the split
    #[arg(long, default_value_t = 10, conflicts_with = "experiment")]
    classes: usize,
    /// How many images of each
    #[arg(long, default_value_t = 10, conflicts_with = "experiment")]
    images: usize,
    /// The picture to write
    #[arg(long, value_name = "FILE.png")]
    output: PathBuf,
}

pub(in crate::cli) fn run(arguments: &PreviewArguments) -> anyhow::Result<ExitCode> {
    let path = &arguments.output;
    ensure!(
        path.extension().is_some_and(|extension| extension == "png"),
        "--output {}: expected a name that ends in .png",
        path.display()
    );
    ensure_replaceable(path, "a PNG", is_png)?;
    let settings = &arguments.settings;
    ensure!(
        arguments.experiment.is_some()
            || settings.preset.is_none() && settings.overrides.is_empty(),
        "--preset and --set change an experiment: expected one with --experiment"
    );
    let rows = match (&arguments.pack, &arguments.experiment) {
        (Some(pack), _) => {
            let pack = pictures(pack)?;
            let all = pack.split(&pack.metadata().default_split, arguments.split)?;
            let count = arguments.classes.min(all.len());
            let classes: Vec<usize> = (0..count)
                .map(|place| all[place * all.len() / count])
                .collect();
            class_rows(&pack, &classes, arguments.images)
        }
        (None, Some(experiment)) => {
            let experiment = settings.load(experiment)?.experiment;
            ensure_pack(&experiment.data.pack, false)?;
            let pack = Arc::new(pictures(&experiment.data.pack)?);
            let sampler = match arguments.split {
                Part::Train => training_sampler(&experiment, &pack)?,
                part => evaluation_sampler(&experiment, &pack, part, 0)?,
            };
            say(
                "frames: green support, orange unlabelled, red unlabelled of distractor classes, blue query",
            );
            episode_rows(&sampler, arguments.episode)
        }
        (None, None) => unreachable!("clap asks for one of them"),
    };
    if rows.is_empty() {
        bail!("there are no {} classes to show", arguments.split);
    }
    write_contact_sheet(&rows, path)
        .with_context(|| format!("could not write {}", path.display()))?;
    tell(path.display())?;
    Ok(ExitCode::SUCCESS)
}

fn pictures(path: &Path) -> anyhow::Result<Pack> {
    let pack = Pack::open(path)?;
    if pack.shape().element == Element::Float {
        bail!("{} holds embeddings, not pictures", path.display());
    }
    Ok(pack)
}

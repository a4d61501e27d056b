//! A run to evaluate, with its episodes, its checkpoints and the files that the results go to.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use hypertransformer::base::{atomic, files};
use hypertransformer::episode::sampler::EpisodeSampler;
use hypertransformer::run::folder::CheckpointChoice;
use hypertransformer::settings::cnn::BatchNormMode;
use serde_json::Value;
use tch::Device;

use crate::cli::evaluate::arguments::{Checkpoints, EvaluateArguments};
use crate::cli::open::run::OpenedRun;
use crate::cli::output::{ensure_replaceable, has_key};

/// A run, opened, and how to evaluate it.
pub(super) struct Job {
    pub(super) run: OpenedRun,
    pub(super) sampler: EpisodeSampler,
    pub(super) mode: BatchNormMode,
    pub(super) overlapping: bool,
    /// Name of the pack, if it was named with `--pack`.
    pub(super) other_pack: Option<String>,
    pub(super) targets: Vec<Target>,
}

/// A checkpoint and the summary that is written for it.
pub(super) struct Target {
    pub(super) checkpoint: PathBuf,
    pub(super) summary: PathBuf,
}

impl Target {
    /// The file of records, one a line.
    pub(super) fn records(&self) -> PathBuf {
        self.summary.with_extension("jsonl")
    }

    /// Both files, for a message.
    pub(super) fn files(&self) -> String {
        format!(
            "{} and {}",
            self.summary.display(),
            self.records().display()
        )
    }

    /// `best`, `last` or `step-N`.
    pub(super) fn name(&self) -> String {
        let stem = self.checkpoint.file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    }
}

impl Job {
    /// Opens the run and checks that it can be evaluated so, and that no file is in the way.
    pub(super) fn new(
        run: &Path,
        arguments: &EvaluateArguments,
        device: Device,
    ) -> anyhow::Result<Job> {
        let pack = arguments.pack.as_deref();
        let mut opened = OpenedRun::open(run, pack, &arguments.verify)?;
        let slots = opened.model.way();
        let episode = &mut opened.experiment.episode;
        if let Some(way) = arguments.way {
            ensure!(
                way <= slots as u64,
                "--way {way}: {} was trained {slots}-way and tells at most {slots} classes apart\nhint: train with \
                 `--set episode.way={way}`",
                run.display()
            );
            episode.way = way as usize;
        }
        episode.shot = arguments.shot.map_or(episode.shot, |shot| shot as usize);
        let query = &mut episode.evaluation_query;
        *query = arguments.query.map_or(*query, |query| query as usize);
        let sampler = opened.sampler(arguments.split, arguments.overlapping, arguments.seed)?;
        let mode = arguments.batch_norm.unwrap_or(opened.experiment.batch_norm);
        let folder = &opened.folder;
        let targets = checkpoints(&opened, &arguments.checkpoint, device)?
            .into_iter()
            .map(|checkpoint| {
                let name = name(arguments, mode, &opened, &checkpoint);
                let default = || folder.path().join(name);
                let summary = arguments.output.clone().unwrap_or_else(default);
                let target = Target {
                    checkpoint,
                    summary,
                };
                target.ensure_free(arguments, &opened)?;
                Ok(target)
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Job {
            other_pack: pack.map(|_| opened.pack.metadata().name.clone()),
            run: opened,
            sampler,
            mode,
            overlapping: arguments.overlapping,
            targets,
        })
    }
}

impl Target {
    /// Checks that what would be replaced is an evaluation of no more episodes, of the same pack.
    fn ensure_free(&self, arguments: &EvaluateArguments, run: &OpenedRun) -> anyhow::Result<()> {
        let (summary, records) = (&self.summary, self.records());
        for (path, key) in [(summary, "accuracy_mean"), (&records, "accuracy")] {
            ensure_replaceable(path, "an evaluation", |head| has_key(head, key))?;
        }
        let earlier = files::read_text(summary, files::LARGEST_TABLE).unwrap_or_default();
        let earlier: Value = serde_json::from_str(&earlier).unwrap_or_default();
        let longer = earlier["episodes"]
            .as_u64()
            .filter(|&count| count > arguments.episodes);
        ensure!(
            longer.is_none(),
            "{} has an evaluation of {} episodes, which one of {} would replace\nhint: evaluate as many, or with another \
             --seed, or name another file with --output",
            summary.display(),
            longer.unwrap_or_default(),
            arguments.episodes
        );
        let content = &earlier["pack_content_hash"];
        ensure!(
            arguments.output.is_some()
                || !content.is_string()
                || *content == *run.pack.metadata().content_hash,
            "{} has an evaluation on another pack of the same name\nhint: name another file with --output",
            summary.display()
        );
        atomic::sweep(atomic::folder_of(summary));
        Ok(())
    }
}

/// The checkpoints to evaluate, sorted by step; at the same step, step-N, best, last.
fn checkpoints(
    run: &OpenedRun,
    chosen: &Checkpoints,
    device: Device,
) -> anyhow::Result<Vec<PathBuf>> {
    let all = match chosen {
        Checkpoints::One(choice) => return Ok(vec![run.folder.checkpoint(choice)]),
        Checkpoints::All => run.folder.all_checkpoints(),
    };
    ensure!(
        !all.is_empty(),
        "{} has no checkpoint\nhint: a run that was interrupted early is continued with `hypertransformer train --resume`",
        run.folder.path().display()
    );
    let mut steps = Vec::with_capacity(all.len());
    for path in all {
        steps.push((run.load(&path, device)?.step, path));
    }
    steps.sort_by_key(|(step, _)| *step);
    Ok(steps.into_iter().map(|(_, path)| path).collect())
}

/// The default name of the summary: whatever changes what is measured is part of it.
fn name(
    arguments: &EvaluateArguments,
    mode: BatchNormMode,
    run: &OpenedRun,
    checkpoint: &Path,
) -> String {
    let mut name = format!("evaluation-{}-{mode}", arguments.split);
    for (value, what) in [
        (arguments.way, "way"),
        (arguments.shot, "shot"),
        (arguments.query, "query"),
    ] {
        if let Some(value) = value {
            name += &format!("-{value}{what}");
        }
    }
    if arguments.overlapping {
        name += "-overlapping";
    }
    if run.pack_differs_in.is_some() {
        let pack = run.pack.path().file_stem().unwrap_or_default();
        name += &format!("-on-{}", pack.display());
    }
    let best = run.folder.checkpoint(&CheckpointChoice::Best);
    if *checkpoint != *best {
        name += &format!("-{}", checkpoint.file_stem().unwrap_or_default().display());
    }
    if arguments.seed != 0 {
        name += &format!("-seed{}", arguments.seed);
    }
    name + ".json"
}

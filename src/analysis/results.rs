//! Tables of many runs: runs that differ only in their seed are averaged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::files;
use crate::evaluate::seeds::OverSeeds;
use crate::evaluate::summary::{EpisodeRecord, Summary};
use crate::run::facts::changes_no_step;
use crate::run::folder::RunFolder;

/// Settings by their dotted names.
pub type Settings = BTreeMap<String, Value>;

/// The seed of a run, over which groups are averaged.
const SEED: &str = "train.seed";

/// What must be equal for two evaluations to have measured the same episodes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Episodes {
    split: String,
    batch_norm: String,
    query_sampling: String,
    seed: u64,
    scheme: String,
    pack_content_hash: String,
    way: usize,
    shot: usize,
    unlabeled: usize,
    distractors: usize,
    query: usize,
    episodes: usize,
}

/// One evaluation of a run.
#[derive(Clone, Debug)]
struct Evaluation {
    path: PathBuf,
    episodes: Episodes,
    records: Vec<EpisodeRecord>,
}

/// A run and its evaluations.
#[derive(Clone, Debug)]
pub struct Measured {
    path: PathBuf,
    settings: Settings,
    test: Evaluation,
    /// On training classes, if it was measured.
    train: Option<Evaluation>,
}

/// Runs that are averaged, with their accuracies in percent.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// The settings in which groups differ.
    pub settings: Settings,
    /// The runs.
    pub runs: Vec<PathBuf>,
    /// Accuracy over seeds.
    pub test: OverSeeds,
    /// Half width of the 95 % interval over episodes within a run, averaged over the runs.
    pub episodes_ci95: f64,
    /// Number of episodes of each run.
    pub episodes: usize,
    /// Statistics of batch-norm.
    pub batch_norm: String,
    /// Accuracy on training classes over seeds, if each run has it.
    pub train: Option<OverSeeds>,
    /// Against the runs that were named for comparison, over the seeds that both have.
    pub difference: Option<Difference>,
}

/// The difference between two groups on the same episodes, in percentage points.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// Over pairs of runs of the same seed.
    pub over_seeds: OverSeeds,
    /// Half width of the 95 % interval over pairs of episodes within a pair of runs, averaged.
    pub episodes_ci95: f64,
}

impl Evaluation {
    fn read(path: &Path) -> anyhow::Result<Evaluation> {
        let context = || format!("could not read {}", path.display());
        let text = files::read_text(path, files::LARGEST_TABLE).with_context(context)?;
        let episodes: Episodes = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a complete evaluation", path.display()))?;
        let path = path.with_extension("jsonl");
        let context = || format!("could not read {}", path.display());
        let lines = files::read_text(&path, files::LARGEST_TABLE).with_context(context)?;
        let records: Vec<EpisodeRecord> = lines
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .with_context(|| format!("{} is not a list of episodes", path.display()))?;
        ensure!(
            records.len() == episodes.episodes && !records.is_empty(),
            "{} has {} episodes, its summary says {}\nhint: evaluate the run again",
            path.display(),
            records.len(),
            episodes.episodes
        );
        Ok(Evaluation {
            path,
            episodes,
            records,
        })
    }

    fn summary(&self) -> Summary {
        Summary::of(&self.records)
    }
}

impl Measured {
    /// Reads the evaluation of test episodes with the run's own statistics of batch-norm, or the one called `name`,
    /// without its ending.
    ///
    /// # Errors
    /// If the folder holds no run or the run has no such evaluation.
    pub fn read(path: &Path, name: Option<&str>) -> anyhow::Result<Measured> {
        let (_, experiment) = RunFolder::open(path)?;
        let name = match name {
            Some(name) => name.to_owned(),
            None => format!("evaluation-test-{}", experiment.batch_norm),
        };
        let file = path.join(format!("{name}.json"));
        ensure!(
            file.exists(),
            "{} has no {name}.json; it has {}\nhint: run `hypertransformer evaluate {}`, or name another with --evaluation",
            path.display(),
            evaluations(path),
            path.display()
        );
        let train = path.join(name.replacen("-test-", "-train-", 1) + ".json");
        Ok(Measured {
            path: path.to_path_buf(),
            settings: experiment.by_name(),
            test: Evaluation::read(&file)?,
            train: match train.exists() && train != file {
                true => Some(Evaluation::read(&train)?),
                false => None,
            },
        })
    }

    fn seed(&self) -> &Value {
        self.settings.get(SEED).unwrap_or(&Value::Null)
    }
}

fn evaluations(path: &Path) -> String {
    let names = path.read_dir().into_iter().flatten().flatten();
    let mut names: Vec<String> = names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("evaluation-") && name.ends_with(".json"))
        .collect();
    names.sort();
    match names.is_empty() {
        true => "no evaluation".to_owned(),
        false => names.join(", "),
    }
}

/// Averages runs that have the same settings but for the seed, or, with `by`, the same values of these settings.
/// Differences are to the runs `against`.
///
/// # Errors
/// If evaluations are not of the same episodes, if a group has a seed twice, or if `by` names no setting.
pub fn groups(
    runs: &[Measured],
    by: &[String],
    against: &[Measured],
) -> anyhow::Result<Vec<Group>> {
    for key in by {
        let known = runs.iter().any(|run| run.settings.contains_key(key));
        ensure!(
            known,
            "--by {key}: no run has this setting\nhint: settings are written as in `--set`, e.g. cnn.channels"
        );
    }
    let mut found: Vec<(Settings, Vec<&Measured>)> = Vec::new();
    for run in runs {
        let key = distinguishing(&run.settings, by);
        match found.iter_mut().find(|(other, _)| *other == key) {
            Some((_, members)) => members.push(run),
            None => found.push((key, vec![run])),
        }
    }
    let differing = differing(&found.iter().map(|(key, _)| key).collect::<Vec<_>>());
    found
        .into_iter()
        .map(|(key, members)| {
            let shown = key
                .into_iter()
                .filter(|(name, _)| by.contains(name) || differing.contains(name));
            group(shown.collect(), &members, against)
        })
        .collect()
}

/// The settings that distinguish groups.
fn distinguishing(settings: &Settings, by: &[String]) -> Settings {
    let chosen = |key: &str| match by.is_empty() {
        true => key != SEED && key != "data.pack" && !changes_no_step(key),
        false => by.iter().any(|name| name == key),
    };
    let settings = settings.iter().filter(|(key, _)| chosen(key));
    settings
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Names of settings that are not the same in all of these.
fn differing(all: &[&Settings]) -> BTreeSet<String> {
    let names: BTreeSet<&String> = all.iter().flat_map(|settings| settings.keys()).collect();
    let first = all.first();
    names
        .into_iter()
        .filter(|name| {
            all.iter()
                .any(|settings| settings.get(*name) != first.and_then(|first| first.get(*name)))
        })
        .cloned()
        .collect()
}

fn group(settings: Settings, members: &[&Measured], against: &[Measured]) -> anyhow::Result<Group> {
    let first = &members[0].test;
    for (index, run) in members.iter().enumerate() {
        same_episodes(first, &run.test)?;
        let twice = members[..index]
            .iter()
            .find(|other| other.seed() == run.seed());
        if let Some(other) = twice {
            anyhow::bail!(
                "{} and {} have the same seed, {}, and would count as two\nhint: leave one out, or tell them apart with --by",
                other.path.display(),
                run.path.display(),
                run.seed()
            );
        }
    }
    let percent = |evaluation: &Evaluation| 100.0 * evaluation.summary().accuracy_mean;
    let tests: Vec<f64> = members.iter().map(|run| percent(&run.test)).collect();
    let trains: Option<Vec<f64>> = members
        .iter()
        .map(|run| run.train.as_ref().map(percent))
        .collect();
    let intervals = members
        .iter()
        .map(|run| 100.0 * run.test.summary().accuracy_ci95);
    Ok(Group {
        settings,
        runs: members.iter().map(|run| run.path.clone()).collect(),
        test: OverSeeds::of(&tests),
        episodes_ci95: intervals.sum::<f64>() / members.len() as f64,
        episodes: first.episodes.episodes,
        batch_norm: first.episodes.batch_norm.clone(),
        train: trains.map(|trains| OverSeeds::of(&trains)),
        difference: difference(members, against)?,
    })
}

fn same_episodes(one: &Evaluation, other: &Evaluation) -> anyhow::Result<()> {
    ensure!(
        one.episodes == other.episodes,
        "{} and {} are not of the same episodes\nhint: evaluate both with the same options of `evaluate` and the same pack",
        one.path.display(),
        other.path.display()
    );
    Ok(())
}

/// The difference between runs and those of `against` with the same seed; none if no seed is in both.
fn difference(members: &[&Measured], against: &[Measured]) -> anyhow::Result<Option<Difference>> {
    let (mut means, mut intervals) = (Vec::new(), Vec::new());
    for run in members {
        for other in against.iter().filter(|other| other.seed() == run.seed()) {
            same_episodes(&run.test, &other.test)?;
            let pairs = run.test.records.iter().zip(&other.test.records);
            let differences: Vec<EpisodeRecord> = pairs
                .map(|(one, other)| EpisodeRecord {
                    accuracy: one.accuracy - other.accuracy,
                    ..*one
                })
                .collect();
            let summary = Summary::of(&differences);
            means.push(100.0 * summary.accuracy_mean);
            intervals.push(100.0 * summary.accuracy_ci95);
        }
    }
    Ok((!means.is_empty()).then(|| Difference {
        over_seeds: OverSeeds::of(&means),
        episodes_ci95: intervals.iter().sum::<f64>() / intervals.len() as f64,
    }))
}

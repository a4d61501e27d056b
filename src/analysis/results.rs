//! Tables of many runs: runs that differ only in their seed are averaged.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::ensure;
use serde::Serialize;

use crate::analysis::measured::{Evaluation, Measured, Settings};
use crate::analysis::paper::{Published, published};
use crate::analysis::training_log::Cost;
use crate::evaluate::seeds::OverSeeds;
use crate::evaluate::summary::{EpisodeRecord, Summary};
use crate::run::facts::{SEED, changes_no_step};

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
    /// The part of the classes.
    pub split: String,
    /// Statistics of batch-norm.
    pub batch_norm: String,
    /// Whether support images were among the queries.
    pub overlapping: bool,
    /// Accuracy on training classes, if each run has it.
    pub train: Option<TrainingAccuracy>,
    /// What training cost, averaged over the runs, if each recorded it.
    pub cost: Option<Cost>,
    /// The paper's accuracies of this system.
    pub paper: Vec<Published>,
    /// Against the runs that were named for comparison, over the seeds that both have.
    pub difference: Option<Difference>,
}

/// Accuracy on training classes over seeds.
#[derive(Clone, Debug, Serialize)]
pub struct TrainingAccuracy {
    /// Over seeds, in percent.
    pub over_seeds: OverSeeds,
    /// How it was measured.
    pub source: TrainingSource,
}

/// How accuracy on training classes was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TrainingSource {
    /// By `evaluate --split train`, as on test classes.
    Evaluation,
    /// By the training itself, on its own episodes, over the last 5 % of its steps.
    Log,
}

/// What a difference over several seeds says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The interval over seeds is above 0.
    Ahead,
    /// The interval over seeds is below 0.
    Behind,
    /// The interval over seeds contains 0.
    Open,
}

/// The difference between two groups on the same episodes, in percentage points.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// Over pairs of runs of the same seed.
    pub over_seeds: OverSeeds,
    /// Half width of the 95 % interval over pairs of episodes within a pair of runs, averaged.
    pub episodes_ci95: f64,
    /// None for a single seed, which tells nothing of others.
    pub verdict: Option<Verdict>,
}

/// Averages runs that have the same settings but for the seed, or, with `by`, the same values of these settings.
/// Differences are to the runs `against`.
///
/// # Errors
/// If evaluations are not of the same episodes, if a group or `against` has a seed twice, or if `by` names no setting.
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
    each_seed_once(against, "name the runs of one system after --against")?;
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
    for run in members {
        same_episodes(first, &run.test)?;
    }
    each_seed_once(
        members.iter().copied(),
        "leave one out, or tell them apart with --by",
    )?;
    let tests: Vec<f64> = members.iter().map(|run| percent(&run.test)).collect();
    let intervals = members
        .iter()
        .map(|run| 100.0 * run.test.summary().accuracy_ci95);
    Ok(Group {
        settings,
        runs: members.iter().map(|run| run.path.clone()).collect(),
        test: OverSeeds::of(&tests),
        episodes_ci95: intervals.sum::<f64>() / members.len() as f64,
        episodes: first.episodes.episodes,
        split: first.episodes.split.clone(),
        batch_norm: first.episodes.batch_norm.clone(),
        overlapping: first.episodes.query_sampling == "overlapping",
        train: training_accuracy(members),
        cost: cost(members),
        paper: paper(members),
        difference: difference(members, against)?,
    })
}

/// Checks that no seed counts twice.
fn each_seed_once<'a>(
    runs: impl IntoIterator<Item = &'a Measured>,
    hint: &str,
) -> anyhow::Result<()> {
    let mut earlier: Vec<&Measured> = Vec::new();
    for run in runs {
        if let Some(other) = earlier.iter().find(|other| other.seed() == run.seed()) {
            anyhow::bail!(
                "{} and {} have the same seed, {}, and would count as two\nhint: {hint}",
                other.path.display(),
                run.path.display(),
                run.seed()
            );
        }
        earlier.push(run);
    }
    Ok(())
}

fn percent(evaluation: &Evaluation) -> f64 {
    100.0 * evaluation.summary().accuracy_mean
}

/// By evaluation if all runs have it, or else by their logs.
fn training_accuracy(members: &[&Measured]) -> Option<TrainingAccuracy> {
    let evaluated = |run: &&Measured| run.train.as_ref().map(percent);
    let logged = |run: &&Measured| run.log.accuracy;
    let all = |of: &dyn Fn(&&Measured) -> Option<f64>, source| {
        let values: Option<Vec<f64>> = members.iter().map(of).collect();
        let over_seeds = OverSeeds::of(&values?);
        Some(TrainingAccuracy { over_seeds, source })
    };
    all(&evaluated, TrainingSource::Evaluation).or_else(|| all(&logged, TrainingSource::Log))
}

/// Averaged over runs, if all recorded it.
fn cost(members: &[&Measured]) -> Option<Cost> {
    let costs: Option<Vec<Cost>> = members.iter().map(|run| run.log.cost).collect();
    let costs = costs?;
    let count = costs.len() as f64;
    let wall: Option<f64> = costs.iter().map(|cost| cost.wall_seconds).sum();
    Some(Cost {
        cpu_seconds: costs.iter().map(|cost| cost.cpu_seconds).sum::<f64>() / count,
        wall_seconds: wall.map(|seconds| seconds / count),
    })
}

/// The paper's accuracies of the system of all these runs; none if they are several systems.
fn paper(members: &[&Measured]) -> Vec<Published> {
    let of = |run: &Measured| match run.data_set() {
        Some(data_set) => published(&data_set, &run.settings),
        None => Vec::new(),
    };
    let first = of(members[0]);
    match members.iter().all(|run| of(run) == first) {
        true => first,
        false => Vec::new(),
    }
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
    if means.is_empty() {
        return Ok(None);
    }
    let over_seeds = OverSeeds::of(&means);
    let verdict = over_seeds.ci95.map(|interval| match over_seeds.mean {
        mean if mean > interval => Verdict::Ahead,
        mean if mean < -interval => Verdict::Behind,
        _ => Verdict::Open,
    });
    Ok(Some(Difference {
        over_seeds,
        episodes_ci95: intervals.iter().sum::<f64>() / intervals.len() as f64,
        verdict,
    }))
}

//! A run and what was measured of it: evaluations, the log of its training.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::analysis::training_log::TrainingLog;
use crate::base::files;
use crate::evaluate::summary::{EpisodeRecord, Summary};
use crate::run::facts::SEED;
use crate::run::folder::RunFolder;

/// Settings by their dotted names.
pub type Settings = BTreeMap<String, Value>;

/// What must be equal for two evaluations to have measured the same episodes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Episodes {
    pub(crate) split: String,
    pub(crate) batch_norm: String,
    pub(crate) query_sampling: String,
    seed: u64,
    scheme: String,
    pack_content_hash: String,
    way: usize,
    shot: usize,
    unlabeled: usize,
    distractors: usize,
    query: usize,
    pub(crate) episodes: usize,
}

/// One evaluation of a run.
#[derive(Clone, Debug)]
pub(crate) struct Evaluation {
    pub(crate) path: PathBuf,
    pub(crate) episodes: Episodes,
    pack: PackFacts,
    pub(crate) records: Vec<EpisodeRecord>,
}

/// What a summary says of its pack. Summaries of earlier versions do not have its name.
#[derive(Clone, Debug, Deserialize)]
struct PackFacts {
    pack: Option<PathBuf>,
    pack_name: Option<String>,
    pack_differs_in: Option<String>,
}

/// A summary.
#[derive(Deserialize)]
struct Facts {
    #[serde(flatten)]
    episodes: Episodes,
    #[serde(flatten)]
    pack: PackFacts,
}

/// A run and its evaluations.
#[derive(Clone, Debug)]
pub struct Measured {
    pub(crate) path: PathBuf,
    pub(crate) settings: Settings,
    pub(crate) test: Evaluation,
    /// On training classes, if it was measured.
    pub(crate) train: Option<Evaluation>,
    pub(crate) log: TrainingLog,
}

impl Evaluation {
    fn read(path: &Path) -> anyhow::Result<Evaluation> {
        let context = || format!("could not read {}", path.display());
        let text = files::read_text(path, files::LARGEST_TABLE).with_context(context)?;
        let Facts { episodes, pack } = serde_json::from_str(&text)
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
            pack,
            records,
        })
    }

    pub(crate) fn summary(&self) -> Summary {
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
        let (folder, experiment) = RunFolder::open(path)?;
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
            log: TrainingLog::read(&folder.metrics())?,
            test: Evaluation::read(&file)?,
            train: match train.exists() && train != file {
                true => Some(Evaluation::read(&train)?),
                false => None,
            },
        })
    }

    /// Name of the data set, if the run was evaluated on test episodes of the kind it was trained on, as the paper's
    /// systems were.
    pub(crate) fn data_set(&self) -> Option<String> {
        let (pack, episodes) = (&self.test.pack, &self.test.episodes);
        let trained = |key: &str, value: usize| {
            let setting = self.settings.get(key).and_then(Value::as_u64);
            setting == Some(value as u64)
        };
        let usual = pack.pack_differs_in.is_none()
            && episodes.split == "test"
            && trained("episode.way", episodes.way)
            && trained("episode.shot", episodes.shot);
        let stem = || Some(pack.pack.as_ref()?.file_stem()?.to_str()?.to_owned());
        usual
            .then(|| pack.pack_name.clone().or_else(stem))
            .flatten()
    }

    pub(crate) fn seed(&self) -> &Value {
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

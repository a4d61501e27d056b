//! The folder of a run: what lies where, and what may be overwritten.
use std::collections::BTreeSet;
use std::fs::{DirEntry, File, TryLockError};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use thiserror::Error;

use crate::base::atomic;
use crate::pack::pack::Pack;
use crate::run::checkpoint::steps;
use crate::settings::experiment::Experiment;
use crate::settings::file::{ConfigError, load, parse, to_yaml};

/// What a run was started with and by.
const RUN: &str = "run.json";
/// Where analyses of a run go.
pub const ANALYSIS: &str = "analysis";

/// Which checkpoint of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointChoice {
    /// Best by validation accuracy.
    Best,
    /// The newest.
    Last,
    /// The one of this step.
    Step(u64),
}

impl std::str::FromStr for CheckpointChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "best" => Ok(CheckpointChoice::Best),
            "last" => Ok(CheckpointChoice::Last),
            _ => text
                .strip_prefix("step-")
                .and_then(|step| step.parse().ok())
                .map(CheckpointChoice::Step)
                .ok_or_else(|| format!("`{text}` is no checkpoint: expected best, last or step-N")),
        }
    }
}

/// What can be wrong with a run's folder.
#[derive(Debug, Error)]
pub enum RunError {
    /// Something is there and neither resuming nor overwriting was asked for.
    #[error(
        "{0} already holds a run: continue it with --resume, replace it with --force, or name another with --run-dir"
    )]
    Exists(PathBuf),
    /// Other files are there.
    #[error("{0} is not empty and holds no run: name another folder with --run-dir")]
    NotEmpty(PathBuf),
    /// Resume asked for, nothing there.
    #[error("{0} holds no run to resume: it has no config.yaml; leave --resume out to start one")]
    NothingToResume(PathBuf),
    /// Evaluate asked for, nothing there.
    #[error("{0} is not a run folder: it has no config.yaml; `hypertransformer train` makes one")]
    NotARun(PathBuf),
    /// The experiment given differs from the run's.
    #[error(
        "{path} was started with another configuration; these keys differ:\n{differences}\nstart a new run with --run-dir, or resume with the settings it began with"
    )]
    OtherConfiguration {
        /// The run's `config.yaml`.
        path: PathBuf,
        /// One key a line.
        differences: String,
    },
    /// A training is under way there.
    #[error(
        "{0} is in use: another process trains there; wait for it, or name another folder with --run-dir"
    )]
    Busy(PathBuf),
    /// The pack is not the one that the run began with.
    #[error(
        "{pack} holds other {what} than when {run} began: put the pack of that time back in its place, or start a new run"
    )]
    OtherPack {
        /// The pack.
        pack: PathBuf,
        /// Its images or its splits.
        what: &'static str,
        /// The run.
        run: PathBuf,
    },
    /// The newest checkpoint is gone, others are there.
    #[error(
        "{last} is missing, while {other} is there: copy it to {last} to go on from it, or replace the run with --force"
    )]
    LastMissing {
        /// The one that resuming reads.
        last: PathBuf,
        /// Another of the run.
        other: PathBuf,
    },
    /// Reading or writing failed.
    #[error("could not write {0}")]
    Write(PathBuf, #[source] std::io::Error),
    /// The run's own configuration cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// A run's folder.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Held while a training goes on, so that no other starts in the same folder.
    _lock: Option<File>,
}

impl RunFolder {
    /// A fresh folder with the resolved configuration and `run.json` in it.
    ///
    /// # Errors
    /// If a run is there and `force` is not set, or writing fails.
    pub fn create(
        path: &Path,
        experiment: &Experiment,
        facts: &Value,
        force: bool,
    ) -> Result<RunFolder, RunError> {
        let mut folder = RunFolder::at(path);
        let failed = |error| RunError::Write(path.to_path_buf(), error);
        let there = folder.config().exists();
        if there && !force {
            return Err(RunError::Exists(path.to_path_buf()));
        }
        let foreign = |entry: std::io::Result<DirEntry>| {
            // These a run leaves that was killed before it was one.
            entry.is_ok_and(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                !name.starts_with(atomic::PARTIAL) && name != RUN
            })
        };
        if !there
            && path
                .read_dir()
                .is_ok_and(|mut entries| entries.any(foreign))
        {
            // --force replaces runs, nothing more.
            return Err(RunError::NotEmpty(path.to_path_buf()));
        }
        std::fs::create_dir_all(path).map_err(failed)?;
        folder.lock()?;
        if there {
            folder.clear().map_err(failed)?;
        }
        let facts = serde_json::to_vec_pretty(facts).unwrap_or_default();
        atomic::write(&path.join(RUN), &facts).map_err(failed)?;
        std::fs::create_dir_all(folder.checkpoints()).map_err(failed)?;
        // The configuration last: it makes the folder a run that can be resumed.
        atomic::write(&folder.config(), to_yaml(experiment).as_bytes()).map_err(failed)?;
        Ok(folder)
    }

    /// The folder of a run that was started before with the same experiment.
    ///
    /// # Errors
    /// If there is none, it began with another configuration or pack, or a training goes on there.
    pub fn resume(
        path: &Path,
        experiment: &Experiment,
        pack: &Pack,
    ) -> Result<RunFolder, RunError> {
        let mut folder = RunFolder::at(path);
        if !folder.config().exists() {
            return Err(RunError::NothingToResume(path.to_path_buf()));
        }
        let began = folder.began()?;
        let differences = differences(&began, experiment);
        if differences.is_empty() {
            folder.lock()?;
            folder.check_pack(pack)?;
            let failed = |error| RunError::Write(path.to_path_buf(), error);
            std::fs::create_dir_all(folder.checkpoints()).map_err(failed)?;
            return Ok(folder);
        }
        Err(RunError::OtherConfiguration {
            path: folder.config(),
            differences: differences.join("\n"),
        })
    }

    /// An existing run with its configuration.
    ///
    /// # Errors
    /// If it is none.
    pub fn open(path: &Path) -> Result<(RunFolder, Experiment), RunError> {
        let folder = RunFolder::at(path);
        if !folder.config().exists() {
            return Err(RunError::NotARun(path.to_path_buf()));
        }
        let experiment = load(&folder.config(), &[])?;
        Ok((folder, experiment))
    }

    /// The configuration as the run began with it: what it does not say goes on as it was done then.
    fn began(&self) -> Result<Experiment, RunError> {
        let path = self.config();
        let text = std::fs::read_to_string(&path)
            .map_err(|error| ConfigError::Read(path.clone(), error))?;
        Ok(parse(&text, &path)?)
    }

    fn at(path: &Path) -> RunFolder {
        RunFolder {
            path: path.to_path_buf(),
            _lock: None,
        }
    }

    /// Where the file system knows no locks, none is taken.
    fn lock(&mut self) -> Result<(), RunError> {
        let Ok(folder) = File::open(&self.path) else {
            return Ok(());
        };
        if matches!(folder.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(RunError::Busy(self.path.clone()));
        }
        self._lock = Some(folder);
        Ok(())
    }

    /// Whether the pack is the one that the run began with, as far as `run.json` tells.
    ///
    /// # Errors
    /// If it holds other images or other splits.
    pub fn check_pack(&self, pack: &Pack) -> Result<(), RunError> {
        let text = std::fs::read_to_string(self.path.join(RUN)).unwrap_or_default();
        let began: Value = serde_json::from_str(&text).unwrap_or_default();
        let now = identity(pack);
        for (key, what) in [("content_hash", "images"), ("splits_hash", "splits")] {
            if began["pack"][key].is_string() && began["pack"][key] != now[key] {
                return Err(RunError::OtherPack {
                    pack: pack.path().to_path_buf(),
                    what,
                    run: self.path.clone(),
                });
            }
        }
        Ok(())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved configuration.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.yaml")
    }

    /// Where checkpoints lie.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The file of a checkpoint.
    pub fn checkpoint(&self, choice: &CheckpointChoice) -> PathBuf {
        self.checkpoints().join(match choice {
            CheckpointChoice::Best => "best.safetensors".to_owned(),
            CheckpointChoice::Last => "last.safetensors".to_owned(),
            CheckpointChoice::Step(step) => format!("step-{step}.safetensors"),
        })
    }

    /// Some checkpoint of the run, the newest by step if there are any such.
    pub(crate) fn any_checkpoint(&self) -> Option<PathBuf> {
        let newest = steps(&self.checkpoints()).ok()?.pop().map(|(_, path)| path);
        let best = self.checkpoint(&CheckpointChoice::Best);
        newest.or_else(|| best.exists().then_some(best))
    }

    /// Removes what a run writes and nothing else.
    fn clear(&self) -> std::io::Result<()> {
        let checkpoints = self.checkpoints();
        if checkpoints.exists() {
            std::fs::remove_dir_all(checkpoints)?;
        }
        let analysis = self.path.join(ANALYSIS);
        remove_files(&self.path, |name| {
            let evaluation = name.starts_with("evaluation-")
                && (name.ends_with(".json") || name.ends_with(".jsonl"));
            let report = name == "metrics.jsonl" || name.starts_with("events.out.tfevents.");
            evaluation || report || name == RUN || name.starts_with(atomic::PARTIAL)
        })?;
        if analysis.exists() {
            let found = |name: &str| name.starts_with("attention") || name == "adaptation.json";
            remove_files(&analysis, found)?;
        }
        // Last: as long as it is there, the folder is a run.
        std::fs::remove_file(self.config())
    }
}

/// Removes the files of a folder, not its folders, whose names are such.
fn remove_files(folder: &Path, such: impl Fn(&str) -> bool) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && such(&entry.file_name().to_string_lossy()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What `run.json` tells of how a run was started.
pub fn facts(device: &str, threads: usize, seed: u64, pack: &Pack) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "git_commit": env!("HYPERTRANSFORMER_GIT_COMMIT"),
        "libtorch": env!("HYPERTRANSFORMER_LIBTORCH_VERSION"),
        "device": device,
        "threads": threads,
        "seed": seed,
        "pack": identity(pack),
        "argv": argv(),
    })
}

/// The words of the command; what is not UTF-8 in them is replaced.
pub fn argv() -> Vec<String> {
    let words = std::env::args_os();
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

/// What tells a pack from another: its images, and which classes are in which part.
fn identity(pack: &Pack) -> Value {
    let metadata = pack.metadata();
    let splits = serde_json::to_vec(&metadata.splits).unwrap_or_default();
    json!({
        "content_hash": metadata.content_hash,
        "splits_hash": blake3::hash(&splits).to_hex().to_string(),
    })
}

/// `  key: began with A, now B`, for each leaf that differs.
fn differences(began: &Experiment, now: &Experiment) -> Vec<String> {
    let tree = |experiment| serde_json::to_value(experiment).unwrap_or_default();
    let mut found = Vec::new();
    compare("", &tree(began), &tree(now), &mut found);
    found
}

fn compare(path: &str, began: &Value, now: &Value, found: &mut Vec<String>) {
    match (began.as_object(), now.as_object()) {
        (Some(began), Some(now)) => {
            // A key that only one of them has, as a layer's settings may be, differs from null.
            let keys: BTreeSet<&String> = began.keys().chain(now.keys()).collect();
            for key in keys {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                let of = |tree: &serde_json::Map<String, Value>| {
                    tree.get(key).cloned().unwrap_or_default()
                };
                compare(&path, &of(began), &of(now), found);
            }
        }
        _ if began != now => found.push(format!("  {path}: began with {began}, now {now}")),
        _ => {}
    }
}

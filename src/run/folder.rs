//! The folder of a run: the names of its files, and what may be overwritten.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::base::atomic;
use crate::pack::pack::Pack;
use crate::run::checkpoint::steps;
use crate::run::error::RunError;
use crate::run::facts::identity;
use crate::run::record::{OpenRecord, Record, Session};
use crate::settings::experiment::Experiment;
use crate::settings::file::{reload, to_yaml};

/// What the run is trained with, and the processes that trained it.
const RUN: &str = "run.json";
/// The resolved configuration.
pub const CONFIG: &str = "config.yaml";
/// The subfolder of checkpoints.
const CHECKPOINTS: &str = "checkpoints";
/// Recorded metrics, one JSON object a line.
const METRICS: &str = "metrics.jsonl";
/// How the names of TensorBoard's files begin.
const EVENTS: &str = "events.out.tfevents.";
/// What the processes of a sweep print that train and evaluate the run.
pub const SWEEP_LOG: &str = "sweep.log";
/// Name of the subfolder with the results of `analyze`.
pub const ANALYSIS: &str = "analysis";

/// A choice among the checkpoints of a run, written `best`, `last` or `step-N`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointChoice {
    /// The one with the best validation accuracy.
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
                .ok_or_else(|| format!("`{text}`: expected best, last or step-N")),
        }
    }
}

/// The folder of a run.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Locked during training, so that no other process trains in the same folder.
    _lock: Option<File>,
}

impl RunFolder {
    /// Creates the folder of a new run, with the resolved configuration and `run.json` in it.
    ///
    /// # Errors
    /// If the folder holds a run and `force` is not set, if it holds other files, if another process trains there, or if
    /// writing fails.
    pub(crate) fn create(
        path: &Path,
        experiment: &Experiment,
        mut record: Record,
        session: Session,
        force: bool,
    ) -> Result<(RunFolder, OpenRecord), RunError> {
        let mut folder = RunFolder::at(path);
        let failed = |error| RunError::Write(path.to_path_buf(), error);
        if path.exists() && !RunFolder::is_unborn(path) {
            // --force replaces runs and nothing else.
            match folder.config().exists() {
                true if force => {}
                true => return Err(RunError::Exists(path.to_path_buf())),
                false => return Err(RunError::NotEmpty(path.to_path_buf())),
            }
        }
        std::fs::create_dir_all(path).map_err(failed)?;
        folder.lock()?;
        folder.clear().map_err(failed)?;
        // If the process is killed between these, the folder is unborn.
        atomic::write(&folder.config(), to_yaml(experiment).as_bytes()).map_err(failed)?;
        record.sessions.push(session);
        let record = OpenRecord::new(path.join(RUN), record);
        record.write().map_err(failed)?;
        std::fs::create_dir_all(folder.checkpoints()).map_err(failed)?;
        Ok((folder, record))
    }

    /// Whether the folder is empty or holds only what a run, and the sweep that it belongs to, have written before its
    /// first checkpoint. It holds no step, so a run may start there as in a new folder.
    pub(crate) fn is_unborn(path: &Path) -> bool {
        let folder = RunFolder::at(path);
        let names = |path: &Path| -> Option<Vec<String>> {
            let entries = path.read_dir().ok()?.map(|entry| {
                let name = entry.ok()?.file_name();
                Some(name.to_string_lossy().into_owned())
            });
            entries.collect()
        };
        let partial = |name: &String| name.starts_with(atomic::PARTIAL_PREFIX);
        let of_a_start = |name: &String| {
            partial(name)
                || [CONFIG, RUN, CHECKPOINTS, METRICS, SWEEP_LOG].contains(&name.as_str())
                || name.starts_with(EVENTS)
        };
        let recorded = std::fs::metadata(folder.metrics()).is_ok_and(|file| file.len() > 0);
        names(path).is_some_and(|names| names.iter().all(of_a_start))
            && names(&folder.checkpoints()).is_none_or(|names| names.iter().all(partial))
            && !recorded
    }

    /// Opens the folder of a run to read it; returns its configuration too.
    ///
    /// # Errors
    /// If it holds no run or its configuration is invalid.
    pub fn open(path: &Path) -> Result<(RunFolder, Experiment), RunError> {
        let folder = RunFolder::at(path);
        if !path.exists() {
            return Err(RunError::Missing(path.to_path_buf()));
        }
        if !folder.config().exists() {
            return Err(RunError::NotARun(path.to_path_buf()));
        }
        let experiment = folder.configuration()?;
        Ok((folder, experiment))
    }

    /// The configuration of the run. Keys it lacks get the values of the version that wrote it.
    pub(crate) fn configuration(&self) -> Result<Experiment, RunError> {
        Ok(reload(&self.config(), &[])?)
    }

    pub(crate) fn at(path: &Path) -> RunFolder {
        RunFolder {
            path: path.to_path_buf(),
            _lock: None,
        }
    }

    /// Locks the folder, on file systems that have locks.
    pub(crate) fn lock(&mut self) -> Result<(), RunError> {
        let Ok(folder) = File::open(&self.path) else {
            return Ok(());
        };
        if matches!(folder.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(RunError::Busy(self.path.clone()));
        }
        self._lock = Some(folder);
        Ok(())
    }

    /// Checks that the pack has the images and splits recorded in `run.json`.
    ///
    /// # Errors
    /// If they differ.
    pub fn check_pack(&self, pack: &Pack) -> Result<(), RunError> {
        let began = self.record()?.pack;
        let now = identity(pack);
        for (key, what) in [
            ("content_hash", "images"),
            ("splits_hash", "splits"),
            ("whole_hash", "class names or notes"),
        ] {
            if began[key].is_string() && began[key] != now[key] {
                return Err(RunError::OtherPack {
                    pack: pack.path().to_path_buf(),
                    what,
                    run: self.path.clone(),
                });
            }
        }
        Ok(())
    }

    /// What is recorded in `run.json`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn record(&self) -> Result<Record, RunError> {
        let path = self.run_json();
        Record::read(&path).map_err(|error| RunError::Facts(path, error))
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of the resolved configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// Path of the folder of checkpoints.
    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    /// Path of the record of the run.
    pub(crate) fn run_json(&self) -> PathBuf {
        self.path.join(RUN)
    }

    /// Path of the recorded metrics.
    pub(crate) fn metrics(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// Path of a checkpoint, whether it exists or not.
    pub fn checkpoint(&self, choice: &CheckpointChoice) -> PathBuf {
        self.checkpoints().join(match choice {
            CheckpointChoice::Best => "best.safetensors".to_owned(),
            CheckpointChoice::Last => "last.safetensors".to_owned(),
            CheckpointChoice::Step(step) => format!("step-{step}.safetensors"),
        })
    }

    /// The checkpoints that exist, each `step-N` in the order of steps, then the best and the last.
    pub fn all_checkpoints(&self) -> Vec<PathBuf> {
        let steps = steps(&self.checkpoints()).unwrap_or_default();
        let named = [CheckpointChoice::Best, CheckpointChoice::Last];
        let named = named.iter().map(|choice| self.checkpoint(choice));
        steps
            .into_iter()
            .map(|(_, path)| path)
            .chain(named.filter(|path| path.exists()))
            .collect()
    }

    /// A checkpoint other than the last: the newest `step-N`, or else the best.
    pub(crate) fn any_checkpoint(&self) -> Option<PathBuf> {
        let newest = steps(&self.checkpoints()).ok()?.pop().map(|(_, path)| path);
        let best = self.checkpoint(&CheckpointChoice::Best);
        newest.or_else(|| best.exists().then_some(best))
    }

    /// Removes the files that a run writes and nothing else, but for its configuration, which is then replaced.
    fn clear(&self) -> std::io::Result<()> {
        // Renamed first, so that no checkpoints of a run are left without the others.
        let removed = self
            .path
            .join(format!("{}{CHECKPOINTS}", atomic::PARTIAL_PREFIX));
        remove_folder(&removed)?;
        if self.checkpoints().exists() {
            std::fs::rename(self.checkpoints(), &removed)?;
            remove_folder(&removed)?;
        }
        remove_files(&self.path, |name| {
            let evaluation = name.starts_with("evaluation-")
                && (name.ends_with(".json") || name.ends_with(".jsonl"));
            let report = name == METRICS || name.starts_with(EVENTS);
            evaluation || report || name == RUN || name.starts_with(atomic::PARTIAL_PREFIX)
        })?;
        let analysis = self.path.join(ANALYSIS);
        if analysis.exists() {
            let found = |name: &str| name.starts_with("attention") || name == "adaptation.json";
            remove_files(&analysis, found)?;
        }
        Ok(())
    }
}

fn remove_folder(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Removes the files of a folder, but no folders, whose names are `chosen`.
fn remove_files(folder: &Path, chosen: impl Fn(&str) -> bool) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && chosen(&entry.file_name().to_string_lossy()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

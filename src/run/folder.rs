//! The folder of a run: the names of its files, and what may be overwritten.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

use crate::base::{atomic, files};
use crate::pack::pack::Pack;
use crate::run::checkpoint::{self, CheckpointError, steps};
use crate::run::facts::{Difference, differences, identity};
use crate::run::record::{OpenRecord, Record, Session};
use crate::settings::experiment::Experiment;
use crate::settings::file::{ConfigError, load, parse, read_text, to_yaml};

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

/// A run folder that cannot be used.
#[derive(Debug, Error)]
pub enum RunError {
    /// The folder holds a run, and the caller asked neither to resume nor to replace it.
    #[error(
        "{0} already holds a run\nhint: continue it with --resume, replace it with --force, or name another folder with --run-dir"
    )]
    Exists(PathBuf),
    /// The folder holds files, but no run.
    #[error("{0} is not empty and holds no run\nhint: name another folder with --run-dir")]
    NotEmpty(PathBuf),
    /// The folder holds no run that could be resumed.
    #[error(
        "{0} holds no run to resume: it has no config.yaml\nhint: leave out --resume to start a run"
    )]
    NothingToResume(PathBuf),
    /// There is nothing of this name.
    #[error("{0} does not exist{place}\nhint: name the folder of a run, or where a command takes it a bundle", place = files::place(.0))]
    Missing(PathBuf),
    /// The folder holds no run that could be opened.
    #[error(
        "{0} is not a run folder: it has no config.yaml\nhint: `hypertransformer train` creates run folders"
    )]
    NotARun(PathBuf),
    /// The run was started with other settings.
    #[error(
        "{path} was started with another configuration; these keys differ:\n{differences}\nhint: start a new run with \
         --run-dir, or resume with the settings the run was started with; steps, learning rate and schedule may be \
         changed with --change KEY=VALUE"
    )]
    OtherConfiguration {
        /// The run's `config.yaml`.
        path: PathBuf,
        /// The settings that differ, one per line.
        differences: String,
    },
    /// `config.yaml` does not hold the settings that the run was trained with.
    #[error(
        "{path} was edited since the run was trained; these keys differ:\n{differences}\nhint: restore them; steps, \
         learning rate and schedule may be changed with --change KEY=VALUE"
    )]
    Edited {
        /// The run's `config.yaml`.
        path: PathBuf,
        /// The settings that differ, one per line.
        differences: String,
    },
    /// Another process trains in the folder.
    #[error(
        "{0} is in use: another process trains there\nhint: wait for it, or name another folder with --run-dir"
    )]
    Busy(PathBuf),
    /// The images or splits of the pack have changed since the run was started.
    #[error(
        "{pack} has changed since {run} started: its {what} differ\nhint: restore it or start a new run"
    )]
    OtherPack {
        /// The pack.
        pack: PathBuf,
        /// What differs: images, splits, or class names and notes.
        what: &'static str,
        /// The run folder.
        run: PathBuf,
    },
    /// The pack is not where the configuration says, and not in the usual places.
    #[error(
        "the pack {pack} of {run} is missing; no pack with the same images and splits is in {searched}\nhint: copy it into \
         `data` of the current folder, or name it: `evaluate --pack FILE`, `train --resume --set data.pack=FILE`"
    )]
    NoPack {
        /// The pack that the configuration names.
        pack: PathBuf,
        /// The run folder.
        run: PathBuf,
        /// The folders that were searched, separated by commas.
        searched: String,
    },
    /// The last checkpoint is missing, although the run has others.
    #[error(
        "{last} is missing, but {other} exists\nhint: copy {other} to {last} to continue from it, or replace the run with --force"
    )]
    LastMissing {
        /// The checkpoint that a resumed run starts from.
        last: PathBuf,
        /// Another checkpoint of the run.
        other: PathBuf,
    },
    /// What is known of the start of the run cannot be read.
    #[error(
        "could not read {0}, which says what pack the run was started with\nhint: restore it, or remove it to go on \
         without that check"
    )]
    Facts(PathBuf, #[source] Error),
    /// A file or folder of the run could not be written.
    #[error("could not write {0}")]
    Write(PathBuf, #[source] std::io::Error),
    /// The configuration of the run cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A checkpoint of the run cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// A run that is about to be resumed.
pub(crate) struct Resumed {
    pub(crate) folder: RunFolder,
    pub(crate) record: Record,
    /// Its settings before.
    pub(crate) before: Experiment,
    /// Settings that differ from those before.
    differences: Vec<Difference>,
}

impl Resumed {
    /// The settings that differ, each with its value before and now.
    pub(crate) fn changes(&self) -> BTreeMap<String, [Value; 2]> {
        let differences = self.differences.iter().cloned();
        differences
            .map(|found| (found.key, [found.before, found.after]))
            .collect()
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

    /// Opens the folder of a run to resume it with the settings `now`, of which `changed`, dotted names, may differ.
    ///
    /// # Errors
    /// If it holds no run, if other settings differ or the pack does, if `config.yaml` was edited, or if another process
    /// trains there.
    pub(crate) fn resume(
        path: &Path,
        now: &Experiment,
        changed: &[&str],
        pack: &Pack,
    ) -> Result<Resumed, RunError> {
        let mut folder = RunFolder::at(path);
        if !folder.config().exists() {
            return Err(RunError::NothingToResume(path.to_path_buf()));
        }
        let before = folder.configuration()?;
        let differences = differences(&before, now);
        let allowed = |difference: &&Difference| {
            let named = changed.contains(&&*difference.key);
            difference.is_free() || named && difference.is_changeable()
        };
        let refused = lines(differences.iter().filter(|found| !allowed(found)));
        if !refused.is_empty() {
            return Err(RunError::OtherConfiguration {
                path: folder.config(),
                differences: refused,
            });
        }
        folder.lock()?;
        let last = folder.checkpoint(&CheckpointChoice::Last);
        if last.exists() {
            let (trained, _) = checkpoint::described(&last)?;
            let trained = parse(&trained, &last)?;
            let edits = lines(folder.edits(&trained, &before)?.iter());
            if !edits.is_empty() {
                return Err(RunError::Edited {
                    path: folder.config(),
                    differences: edits,
                });
            }
        }
        folder.check_pack(pack)?;
        let failed = |error| RunError::Write(path.to_path_buf(), error);
        std::fs::create_dir_all(folder.checkpoints()).map_err(failed)?;
        for written in [path, &folder.checkpoints(), &path.join(ANALYSIS)] {
            atomic::sweep(written);
        }
        Ok(Resumed {
            record: folder.record()?,
            folder,
            before,
            differences,
        })
    }

    /// Starts another session of a run, with the settings `now`.
    ///
    /// # Errors
    /// If its files cannot be written.
    pub(crate) fn start_session(
        &self,
        mut record: Record,
        session: Session,
        now: &Experiment,
    ) -> Result<OpenRecord, RunError> {
        let is_changed = !session.changes.is_empty();
        record.sessions.push(session);
        let record = OpenRecord::new(self.path.join(RUN), record);
        let written = match is_changed {
            true => atomic::write_set(&[(self.config(), to_yaml(now).into_bytes()), record.file()]),
            false => record.write(),
        };
        let failed = |error| RunError::Write(self.path.clone(), error);
        written.map_err(failed)?;
        Ok(record)
    }

    /// Settings in `config.yaml`, `now`, that neither a checkpoint of the run, `trained`, nor a session accounts for.
    ///
    /// # Errors
    /// If `run.json` cannot be read.
    pub fn edits(
        &self,
        trained: &Experiment,
        now: &Experiment,
    ) -> Result<Vec<Difference>, RunError> {
        let record = self.record()?;
        let mut found = differences(trained, now);
        found.retain(|found| !found.is_free() && record.changed(&found.key) != Some(&found.after));
        Ok(found)
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
        let experiment = load(&folder.config(), &[])?;
        Ok((folder, experiment))
    }

    /// The configuration of the run. Keys it lacks get the values of the version that wrote it.
    fn configuration(&self) -> Result<Experiment, RunError> {
        let path = self.config();
        let text = read_text(&path)?;
        Ok(parse(&text, &path)?)
    }

    pub(crate) fn at(path: &Path) -> RunFolder {
        RunFolder {
            path: path.to_path_buf(),
            _lock: None,
        }
    }

    /// Locks the folder, on file systems that have locks.
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
        let path = self.path.join(RUN);
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

fn lines<'a>(differences: impl Iterator<Item = &'a Difference>) -> String {
    let lines: Vec<String> = differences.map(ToString::to_string).collect();
    lines.join("\n")
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

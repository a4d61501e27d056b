//! The folder of a run: what lies where, and what may be overwritten.

use std::path::{Path, PathBuf};

use serde_json::json;
use thiserror::Error;

use crate::atomic;
use crate::config::experiment::Experiment;
use crate::config::{ConfigError, load, to_yaml};

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
    /// Reading or writing failed.
    #[error("could not write {0}")]
    Write(PathBuf, #[source] std::io::Error),
    /// The run's own configuration cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// A run's folder.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// A fresh folder with the resolved configuration and `run.json` in it.
    ///
    /// # Errors
    /// If a run is there and `force` is not set, or writing fails.
    pub fn create(
        path: &Path,
        experiment: &Experiment,
        facts: &serde_json::Value,
        force: bool,
    ) -> Result<RunFolder, RunError> {
        let folder = RunFolder {
            path: path.to_path_buf(),
        };
        let failed = |error| RunError::Write(path.to_path_buf(), error);
        if folder.config().exists() {
            if !force {
                return Err(RunError::Exists(path.to_path_buf()));
            }
            folder.clear().map_err(failed)?;
        } else if path
            .read_dir()
            .is_ok_and(|mut entries| entries.next().is_some())
        {
            // --force replaces runs, nothing more.
            return Err(RunError::NotEmpty(path.to_path_buf()));
        }
        std::fs::create_dir_all(path).map_err(failed)?;
        // The configuration first: with it, whatever stops us now, the folder is a run that can be resumed.
        atomic::write(&folder.config(), to_yaml(experiment).as_bytes()).map_err(failed)?;
        let facts = serde_json::to_vec_pretty(facts).unwrap_or_default();
        atomic::write(&path.join("run.json"), &facts).map_err(failed)?;
        std::fs::create_dir_all(folder.checkpoints()).map_err(failed)?;
        Ok(folder)
    }

    /// The folder of a run that was started before with the same experiment.
    ///
    /// # Errors
    /// If there is none, or it began with another configuration.
    pub fn resume(path: &Path, experiment: &Experiment) -> Result<RunFolder, RunError> {
        let folder = RunFolder {
            path: path.to_path_buf(),
        };
        if !folder.config().exists() {
            return Err(RunError::NothingToResume(path.to_path_buf()));
        }
        let began = load(&folder.config(), &[])?;
        let differences = differences(&began, experiment);
        if differences.is_empty() {
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
        let folder = RunFolder {
            path: path.to_path_buf(),
        };
        if !folder.config().exists() {
            return Err(RunError::NotARun(path.to_path_buf()));
        }
        let experiment = load(&folder.config(), &[])?;
        Ok((folder, experiment))
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

    /// Removes what a run writes and nothing else.
    fn clear(&self) -> std::io::Result<()> {
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = ["config.yaml", "run.json", "metrics.jsonl"].contains(&name.as_str())
                || name.starts_with("events.out.tfevents.")
                || name.starts_with("evaluation-");
            if ours {
                std::fs::remove_file(entry.path())?;
            } else if name == "checkpoints" {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }
}

/// What `run.json` tells of how a run was started.
pub fn facts(device: &str, threads: usize, seed: u64) -> serde_json::Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "git_commit": env!("HYPERTRANSFORMER_GIT_COMMIT"),
        "libtorch": env!("HYPERTRANSFORMER_LIBTORCH_VERSION"),
        "device": device,
        "threads": threads,
        "seed": seed,
        "argv": std::env::args().collect::<Vec<_>>(),
    })
}

/// `  key: began with A, now B`, for each leaf that differs.
fn differences(began: &Experiment, now: &Experiment) -> Vec<String> {
    let tree = |experiment| serde_json::to_value(experiment).unwrap_or_default();
    let mut found = Vec::new();
    compare("", &tree(began), &tree(now), &mut found);
    found
}

fn compare(
    path: &str,
    began: &serde_json::Value,
    now: &serde_json::Value,
    found: &mut Vec<String>,
) {
    match (began.as_object(), now.as_object()) {
        (Some(began), Some(now)) => {
            for (key, value) in began {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                compare(
                    &path,
                    value,
                    now.get(key).unwrap_or(&serde_json::Value::Null),
                    found,
                );
            }
        }
        _ if began != now => found.push(format!("  {path}: began with {began}, now {now}")),
        _ => {}
    }
}

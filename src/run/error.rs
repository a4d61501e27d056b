//! Runs and checkpoints that cannot be used.

use std::path::PathBuf;

use thiserror::Error;

use crate::base::files;
use crate::settings::file::ConfigError;

/// A checkpoint that cannot be read or written.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The file does not exist.
    #[error("{0} does not exist: the run has no such checkpoint")]
    Missing(PathBuf),
    /// The file could not be read.
    #[error("could not read {0}")]
    Read(PathBuf, #[source] std::io::Error),
    /// The file could not be written.
    #[error("could not write {0}")]
    Write(PathBuf, #[source] std::io::Error),
    /// Surplus checkpoints could not be removed.
    #[error("could not remove old checkpoints in {0}")]
    Prune(PathBuf, #[source] std::io::Error),
    /// The file is incomplete or not a checkpoint.
    #[error(
        "{0} is not a complete checkpoint ({1})\nhint: replace it by another checkpoint of its run, or name one with --checkpoint"
    )]
    Damaged(PathBuf, String),
    /// Another version of this program wrote the file.
    #[error(
        "{path} has format version {found}, expected {expected}: another version of this program wrote it"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The format version of the file.
        found: u32,
        /// The one that this program writes.
        expected: u32,
    },
    /// The file was written for another model.
    #[error("{path}: tensor `{tensor}` {problem}: the checkpoint belongs to another configuration")]
    OtherModel {
        /// The file.
        path: PathBuf,
        /// The tensor at fault.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// φ holds values that are not finite.
    #[error("{0} was not written: φ holds values that are not finite")]
    NotFinite(PathBuf),
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
    Facts(PathBuf, #[source] std::io::Error),
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

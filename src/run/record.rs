//! `run.json`: what a run is trained with, and a session for each process that has trained it.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::spent::Spent;
use crate::base::{atomic, files};
use crate::pack::pack::Pack;
use crate::run::facts::{argv, identity};

/// The contents of `run.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Seed of the initial φ and of the training episodes.
    pub seed: u64,
    /// Hashes of the pack.
    pub pack: Value,
    /// The processes that have trained the run, in order.
    pub sessions: Vec<Session>,
    /// What earlier versions recorded in another place.
    #[serde(flatten)]
    earlier: Map<String, Value>,
}

/// A process that trained a run, up to the last checkpoint that it saved.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// When it started, in UTC.
    pub started: String,
    /// Name of the machine.
    pub host: String,
    /// Version of this program.
    pub version: String,
    /// Commit that it was built from.
    pub git_commit: String,
    /// Version of libtorch.
    pub libtorch: String,
    /// The command line.
    pub argv: Vec<String>,
    /// The device.
    pub device: String,
    /// Number of CPU worker threads.
    pub threads: usize,
    /// Where the pack was.
    pub pack: PathBuf,
    /// Steps before and after it.
    pub steps: [u64; 2],
    /// Time it took.
    #[serde(flatten)]
    pub spent: Spent,
    /// Settings that it changed: the values before and after.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub changes: BTreeMap<String, [Value; 2]>,
}

impl Record {
    /// The record of a new run.
    pub(crate) fn new(seed: u64, pack: &Pack) -> Record {
        Record {
            seed,
            pack: identity(pack),
            ..Record::default()
        }
    }

    /// Reads the record of a run; an empty one if the run has none, as those of the first version.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn read(path: &Path) -> Result<Record, Error> {
        match files::read(path, files::LARGEST_TABLE) {
            Ok(text) => serde_json::from_slice(&text).map_err(Error::from),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Record::default()),
            Err(error) => Err(error),
        }
    }

    /// The contents of the file.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// The last value that a session gave a setting, if one did.
    pub(crate) fn changed(&self, key: &str) -> Option<&Value> {
        let mut changes = self.sessions.iter().rev();
        changes.find_map(|session| session.changes.get(key).map(|[_, after]| after))
    }
}

impl Session {
    /// The session of this process, which starts now after `step` steps.
    pub(crate) fn start(step: u64, device: &str, threads: usize, pack: &Path) -> Session {
        let host = gethostname::gethostname();
        Session {
            started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            host: host.to_string_lossy().into_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            git_commit: env!("HYPERTRANSFORMER_GIT_COMMIT").to_owned(),
            libtorch: env!("HYPERTRANSFORMER_LIBTORCH_VERSION").to_owned(),
            argv: argv(),
            device: device.to_owned(),
            threads,
            pack: std::path::absolute(pack).unwrap_or_else(|_| pack.to_path_buf()),
            steps: [step, step],
            ..Session::default()
        }
    }
}

/// The record of a run that is being trained.
#[derive(Debug)]
pub(crate) struct OpenRecord {
    path: PathBuf,
    record: Record,
    before: Spent,
}

impl OpenRecord {
    /// The record in the file `path`; its last session is that of this process.
    pub(crate) fn new(path: PathBuf, record: Record) -> OpenRecord {
        let earlier = record
            .sessions
            .split_last()
            .map_or(&[][..], |(_, rest)| rest);
        OpenRecord {
            before: earlier.iter().map(|session| session.spent).sum(),
            path,
            record,
        }
    }

    /// Time of the sessions before this one.
    pub(crate) fn before(&self) -> Spent {
        self.before
    }

    /// Notes how far this session is.
    pub(crate) fn advance(&mut self, step: u64, spent: Spent) {
        if let Some(session) = self.record.sessions.last_mut() {
            session.steps[1] = step;
            session.spent = spent;
        }
    }

    /// The path of the file and its contents.
    pub(crate) fn file(&self) -> (PathBuf, Vec<u8>) {
        (self.path.clone(), self.record.to_json())
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn write(&self) -> Result<(), Error> {
        let (path, contents) = self.file();
        atomic::write(&path, &contents)
    }
}

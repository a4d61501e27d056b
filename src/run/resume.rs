//! A run that goes on: what may differ from before, and what is recorded of it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::base::atomic;
use crate::pack::pack::Pack;
use crate::run::checkpoint;
use crate::run::error::RunError;
use crate::run::facts::{Difference, differences};
use crate::run::folder::{ANALYSIS, CheckpointChoice, RunFolder};
use crate::run::record::{OpenRecord, Record, Session};
use crate::settings::experiment::Experiment;
use crate::settings::file::{parse, to_yaml};

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

impl RunFolder {
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
        folder.lock()?;
        // A change that a killed process has begun to write is completed first.
        atomic::sweep(path);
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
        for written in [folder.checkpoints(), path.join(ANALYSIS)] {
            atomic::sweep(&written);
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
        let record = OpenRecord::new(self.run_json(), record);
        let written = match is_changed {
            true => atomic::write_set(&[(self.config(), to_yaml(now).into_bytes()), record.file()]),
            false => record.write(),
        };
        let failed = |error| RunError::Write(self.path().to_path_buf(), error);
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
}

fn lines<'a>(differences: impl Iterator<Item = &'a Difference>) -> String {
    let lines: Vec<String> = differences.map(ToString::to_string).collect();
    lines.join("\n")
}

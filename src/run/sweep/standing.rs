//! How far a run of a sweep is, read from its folder.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use crate::base::files;
use crate::pack::part::Part;
use crate::run::checkpoint;
use crate::run::error::RunError;
use crate::run::facts::differences;
use crate::run::folder::{CONFIG, CheckpointChoice, RunFolder};
use crate::settings::experiment::Experiment;

/// Bytes at the end of `metrics.jsonl` among which its last line is looked for.
const TAIL: u64 = 1 << 16;

/// A folder in which a run of a sweep cannot be trained.
#[derive(Debug, Error)]
pub enum PlaceError {
    /// It holds a run with other settings.
    #[error(
        "{folder} holds a run with other settings:\n{differences}\nhint: name another folder with --output"
    )]
    OtherSettings {
        /// The folder.
        folder: PathBuf,
        /// The settings that differ, one per line.
        differences: String,
    },
    /// It holds files, but no run.
    #[error("{0} is not empty and holds no run\nhint: name another folder with --output")]
    NotEmpty(PathBuf),
    /// The run in it cannot be read.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// The accuracy that an evaluation has found.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Evaluated {
    /// Mean over episodes, a fraction.
    pub accuracy_mean: f64,
    /// Half width of its 95 % interval over episodes.
    pub accuracy_ci95: f64,
    episodes: u64,
    checkpoint_step: u64,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Steps in its last checkpoint, from which it would go on.
    pub steps: u64,
    /// Whether it has all its steps.
    pub is_finished: bool,
    best_step: Option<u64>,
}

/// Checks that a folder can take a run of this experiment: it does not exist, is empty or holds that run.
///
/// # Errors
/// If it holds another run or other files.
pub fn check_place(folder: &Path, experiment: &Experiment) -> Result<(), PlaceError> {
    if !holds_run(folder) {
        return match !folder.exists() || RunFolder::is_unborn(folder) {
            true => Ok(()),
            false => Err(PlaceError::NotEmpty(folder.to_path_buf())),
        };
    }
    if RunFolder::is_unborn(folder) {
        return Ok(());
    }
    let (_, found) = RunFolder::open(folder)?;
    let lines: Vec<String> = differences(&found, experiment)
        .into_iter()
        .filter(|difference| !difference.is_free())
        .map(|found| {
            format!(
                "  {}: {} there, here {}",
                found.key, found.before, found.after
            )
        })
        .collect();
    match lines.is_empty() {
        true => Ok(()),
        false => Err(PlaceError::OtherSettings {
            folder: folder.to_path_buf(),
            differences: lines.join("\n"),
        }),
    }
}

/// Whether there is a run in a folder, which can be resumed.
pub fn holds_run(folder: &Path) -> bool {
    folder.join(CONFIG).exists()
}

impl Standing {
    /// Reads the standing of the run of `experiment` in a folder. A run that cannot be read has no step; training it
    /// says what is wrong.
    pub fn read(folder: &Path, experiment: &Experiment) -> Standing {
        let last = RunFolder::at(folder).checkpoint(&CheckpointChoice::Last);
        let reached = checkpoint::reached(&last);
        reached.map_or_else(
            |_| Standing::default(),
            |reached| Standing {
                steps: reached.step,
                is_finished: reached.reported && reached.step >= experiment.total_steps(),
                best_step: reached.best_step,
            },
        )
    }

    /// The evaluation of the run's best checkpoint on this number of episodes, with the statistics of batch-norm of
    /// training, if there is one.
    pub fn evaluated(
        &self,
        folder: &Path,
        experiment: &Experiment,
        part: Part,
        episodes: u64,
    ) -> Option<Evaluated> {
        let name = format!("evaluation-{part}-{}.json", experiment.batch_norm);
        let text = files::read(&folder.join(name), files::LARGEST_TABLE).ok()?;
        let found: Evaluated = serde_json::from_slice(&text).ok()?;
        let is_it = found.episodes == episodes && Some(found.checkpoint_step) == self.best_step;
        is_it.then_some(found)
    }
}

/// The last step that a run being trained has recorded, 0 if none.
pub fn recorded_step(folder: &Path) -> u64 {
    let last = || -> Option<u64> {
        let mut file = files::open(&RunFolder::at(folder).metrics()).ok()?;
        let size = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(TAIL))).ok()?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        // The last line may be incomplete.
        let mut lines = text.lines().rev();
        lines.find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            line.get("step")?.as_u64()
        })
    };
    last().unwrap_or_default()
}

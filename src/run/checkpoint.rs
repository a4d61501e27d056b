//! Checkpoints: one safetensors file each, with every tensor by name and all that an exact resume needs.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use safetensors::tensor::{SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::base::{atomic, files, seal};
use crate::model::hypertransformer::HyperTransformer;
use crate::model::parameters::{ParameterLayout, concatenated};
use crate::model::state::ModelState;
use crate::pictures::preparation::Preparation;
use crate::run::entries::{entry, flat, missing, named, parameter, tensor};
use crate::run::error::CheckpointError;

/// Size in bytes of the largest accepted file.
const LARGEST: u64 = 8 << 30;

/// Version of the format of files. Those of version 1 have no checksum.
const FORMAT_VERSION: u32 = 2;

/// Key of the JSON object in the metadata of the file.
const METADATA_KEY: &str = "checkpoint";

#[derive(Serialize, Deserialize)]
struct Facts {
    format_version: u32,
    /// Before any text from elsewhere, see [`seal`]. None in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
    step: u64,
    best_step: Option<u64>,
    best_validation_accuracy: Option<String>,
    experiment: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    preparation: Option<Preparation>,
    #[serde(default, skip_serializing_if = "Progress::is_none")]
    progress: Progress,
}

/// What a resumed run needs to report the same numbers as one that was not interrupted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Sum and weight of each number that is averaged until the next line of the log.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub averages: BTreeMap<String, (f64, f64)>,
    /// Whether the log line or the validation of the step is still to come.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreported: bool,
}

impl Progress {
    fn is_none(&self) -> bool {
        *self == Progress::default()
    }
}

/// The state of a run after some step, with tensors on the CPU.
#[derive(Debug)]
pub struct Checkpoint {
    /// Optimizer steps done.
    pub step: u64,
    /// Best step so far and its validation accuracy, a fraction.
    pub best: Option<(u64, f64)>,
    /// φ and the moving averages.
    pub model: ModelState,
    /// The optimizer's state by name.
    pub optimizer: HashMap<String, Tensor>,
    /// The experiment as YAML.
    pub experiment: String,
    /// How pictures are prepared. Only a bundle has it, because it is used without its pack.
    pub preparation: Option<Preparation>,
    /// What was measured since the last line of the log.
    pub progress: Progress,
}

/// Writes a checkpoint of `model`. The file is written completely or not at all.
///
/// # Errors
/// If φ is not finite or the file cannot be written.
pub fn save(
    path: &Path,
    model: &HyperTransformer,
    checkpoint: &Checkpoint,
) -> Result<(), CheckpointError> {
    if checkpoint.model.phi.isfinite().all().int64_value(&[]) == 0 {
        return Err(CheckpointError::NotFinite(path.to_path_buf()));
    }
    let mut entries = named("phi", model.layout(), &checkpoint.model.phi);
    entries.extend(named("buffers", model.buffers(), &checkpoint.model.buffers));
    let mut states: Vec<_> = checkpoint.optimizer.iter().collect();
    states.sort_by_key(|(name, _)| name.as_str());
    entries.extend(states.into_iter().map(|(name, value)| {
        let shape = value.size().iter().map(|&length| length as usize).collect();
        entry(format!("optimizer.{name}"), shape, value)
    }));
    let facts = Facts {
        format_version: FORMAT_VERSION,
        checksum: Some(seal::BLANK.to_owned()),
        step: checkpoint.step,
        best_step: checkpoint.best.map(|(step, _)| step),
        // As text, because Rust prints the shortest one that parses to the same number.
        best_validation_accuracy: checkpoint.best.map(|(_, accuracy)| accuracy.to_string()),
        experiment: checkpoint.experiment.clone(),
        preparation: checkpoint.preparation.clone(),
        progress: checkpoint.progress.clone(),
    };
    // A single key, because a map with several keys would be written in a different order each time.
    let facts = serde_json::to_string(&facts).unwrap_or_default();
    let metadata = HashMap::from([(METADATA_KEY.to_owned(), facts)]);
    let damaged = |error: safetensors::SafeTensorError| {
        CheckpointError::Damaged(path.to_path_buf(), error.to_string())
    };
    let views = entries
        .iter()
        .map(|entry| {
            let view = TensorView::new(entry.dtype, entry.shape.clone(), &entry.bytes)?;
            Ok((entry.name.as_str(), view))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(damaged)?;
    let mut bytes = safetensors::serialize(views, Some(metadata)).map_err(damaged)?;
    seal::seal(&mut bytes);
    atomic::write(path, &bytes).map_err(|error| CheckpointError::Write(path.to_path_buf(), error))
}

/// Reads a checkpoint of `model`.
///
/// # Errors
/// If the file is missing, damaged, or belongs to another model.
pub fn load(path: &Path, model: &HyperTransformer) -> Result<Checkpoint, CheckpointError> {
    let damaged = |problem: String| CheckpointError::Damaged(path.to_path_buf(), problem);
    let (bytes, facts) = read(path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
    let accuracy = facts
        .best_validation_accuracy
        .and_then(|text| text.parse().ok());
    let best = facts.best_step.zip(accuracy);
    let optimizer = file
        .iter()
        .filter_map(|(name, view)| {
            Some((name.strip_prefix("optimizer.")?.to_owned(), tensor(&view)))
        })
        .collect();
    Ok(Checkpoint {
        step: facts.step,
        best,
        model: ModelState {
            phi: flat(path, &file, "phi", model.layout())?,
            buffers: flat(path, &file, "buffers", model.buffers())?,
        },
        optimizer,
        experiment: facts.experiment,
        preparation: facts.preparation,
        progress: facts.progress,
    })
}

/// Reads φ and the moving averages for a new run that starts from a checkpoint. Parameters that the checkpoint lacks are
/// initialised with `seed`; their names are returned too.
///
/// # Errors
/// If the file is missing or damaged, has a parameter with another shape, or has no parameter of this model.
pub(crate) fn load_start(
    path: &Path,
    model: &HyperTransformer,
    seed: u64,
) -> Result<(ModelState, Vec<String>), CheckpointError> {
    let (bytes, _) = read(path)?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|error| CheckpointError::Damaged(path.to_path_buf(), error.to_string()))?;
    let started = |prefix, layout: &ParameterLayout| {
        let initial = Tensor::from_slice(&layout.initial_values(seed));
        let (mut parts, mut fresh, mut start) = (Vec::new(), Vec::new(), 0);
        for spec in layout.specs() {
            let length = spec.len() as i64;
            match parameter(path, &file, prefix, spec)? {
                Some(values) => parts.push(values),
                None => {
                    parts.push(initial.narrow(0, start, length));
                    fresh.push(spec.name.clone());
                }
            }
            start += length;
        }
        match layout.specs() {
            [first, ..] if fresh.len() == layout.specs().len() => Err(missing(path, prefix, first)),
            _ => Ok((concatenated(&parts, Device::Cpu), fresh)),
        }
    };
    let (phi, fresh) = started("phi", model.layout())?;
    let (buffers, _) = started("buffers", model.buffers())?;
    Ok((ModelState { phi, buffers }, fresh))
}

/// Reads the experiment of a checkpoint, as YAML, and, if it is a bundle, how pictures are prepared.
///
/// # Errors
/// If the file is missing or damaged.
pub fn described(path: &Path) -> Result<(String, Option<Preparation>), CheckpointError> {
    let (_, facts) = read(path)?;
    Ok((facts.experiment, facts.preparation))
}

/// How far the run of a checkpoint was.
pub(crate) struct Reached {
    /// Optimizer steps done.
    pub(crate) step: u64,
    /// Whether the log line and the validation of that step are done, if it has them.
    pub(crate) reported: bool,
    /// The step of the best validation.
    pub(crate) best_step: Option<u64>,
}

/// Reads how far the run of a checkpoint was.
///
/// # Errors
/// If the file is missing or damaged.
pub(crate) fn reached(path: &Path) -> Result<Reached, CheckpointError> {
    let (_, facts) = read(path)?;
    Ok(Reached {
        step: facts.step,
        reported: !facts.progress.unreported,
        best_step: facts.best_step,
    })
}

fn read(path: &Path) -> Result<(Vec<u8>, Facts), CheckpointError> {
    let damaged = |problem: String| CheckpointError::Damaged(path.to_path_buf(), problem);
    let bytes = files::read(path, LARGEST).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => CheckpointError::Missing(path.to_path_buf()),
        _ => CheckpointError::Read(path.to_path_buf(), error),
    })?;
    let sealed = seal::check(&bytes).map_err(|error| damaged(error.to_string()))?;
    let (_, header) =
        SafeTensors::read_metadata(&bytes).map_err(|error| damaged(error.to_string()))?;
    let text = header
        .metadata()
        .as_ref()
        .and_then(|metadata| metadata.get(METADATA_KEY));
    let text = text.ok_or_else(|| damaged(format!("its metadata has no `{METADATA_KEY}`")))?;
    let facts: Facts =
        serde_json::from_str(text).map_err(|error| damaged(format!("metadata: {error}")))?;
    if !(1..=FORMAT_VERSION).contains(&facts.format_version) {
        return Err(CheckpointError::Version {
            path: path.to_path_buf(),
            found: facts.format_version,
            expected: FORMAT_VERSION,
        });
    }
    if facts.format_version > 1 && !sealed {
        return Err(damaged("it has lost its checksum".to_owned()));
    }
    if let Some(fault) = facts.preparation.as_ref().and_then(Preparation::fault) {
        return Err(damaged(fault));
    }
    Ok((bytes, facts))
}

/// Removes the oldest `step-N` checkpoints of a folder until `keep` are left.
///
/// # Errors
/// If the folder cannot be read or a file cannot be removed.
pub(crate) fn prune(folder: &Path, keep: usize) -> Result<(), CheckpointError> {
    let failed = |error| CheckpointError::Prune(folder.to_path_buf(), error);
    let steps = steps(folder).map_err(failed)?;
    let surplus = steps.len().saturating_sub(keep);
    steps[..surplus]
        .iter()
        .try_for_each(|(_, path)| std::fs::remove_file(path))
        .map_err(failed)
}

/// The `step-N` checkpoints of a folder, sorted by step.
pub(crate) fn steps(folder: &Path) -> std::io::Result<Vec<(u64, PathBuf)>> {
    let mut steps: Vec<(u64, PathBuf)> = std::fs::read_dir(folder)?
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let step = name
                .strip_prefix("step-")?
                .strip_suffix(".safetensors")?
                .parse()
                .ok()?;
            Some((step, entry.path()))
        })
        .collect();
    steps.sort();
    Ok(steps)
}

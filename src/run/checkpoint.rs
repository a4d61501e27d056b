//! Checkpoints: one safetensors file that names every tensor, and holds all that an exact resume needs.
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};
use thiserror::Error;

use crate::base::atomic;
use crate::model::parameters::{ParameterLayout, ParameterSpec, concatenated};
use crate::pictures::preparation::Preparation;

const FORMAT_VERSION: u32 = 1;

/// Key of the JSON object in the file's metadata.
const METADATA_KEY: &str = "checkpoint";

#[derive(Serialize, Deserialize)]
struct Facts {
    format_version: u32,
    step: u64,
    best_step: Option<u64>,
    best_validation_accuracy: Option<String>,
    experiment: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    preparation: Option<Preparation>,
}

/// Everything a resumed run needs, on the CPU.
#[derive(Debug)]
pub struct Checkpoint {
    /// Optimizer steps done.
    pub step: u64,
    /// Best step so far and its validation accuracy.
    pub best: Option<(u64, f64)>,
    /// φ, flat.
    pub phi: Tensor,
    /// Moving averages of batch-norm, flat.
    pub buffers: Tensor,
    /// The optimizer's state by name.
    pub optimizer: HashMap<String, Tensor>,
    /// The experiment as YAML.
    pub experiment: String,
    /// How pictures are prepared: in a bundle, which has to do without its pack.
    pub preparation: Option<Preparation>,
}

/// What can be wrong with a checkpoint.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// Nothing there.
    #[error("{0} is not there: the run has no such checkpoint (yet)")]
    Missing(PathBuf),
    /// The operating system's refusal.
    #[error("could not access {0}")]
    Access(PathBuf, #[source] std::io::Error),
    /// Not a checkpoint, or a torn one.
    #[error(
        "{0} is not a whole checkpoint ({1}): put another one of its run in its place, or name one with --checkpoint"
    )]
    Damaged(PathBuf, String),
    /// Of another version of this program.
    #[error(
        "{path} has format version {found}, expected {FORMAT_VERSION}: another version of this program wrote it"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: u32,
    },
    /// Written for another model.
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

struct Entry {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Writes `path` whole or not at all.
///
/// # Errors
/// If φ is not finite or writing fails.
pub fn save(
    path: &Path,
    layout: &ParameterLayout,
    buffers: &ParameterLayout,
    checkpoint: &Checkpoint,
) -> Result<(), CheckpointError> {
    if checkpoint.phi.isfinite().all().int64_value(&[]) == 0 {
        return Err(CheckpointError::NotFinite(path.to_path_buf()));
    }
    let mut entries = named("phi", layout, &checkpoint.phi);
    entries.extend(named("buffers", buffers, &checkpoint.buffers));
    let mut states: Vec<_> = checkpoint.optimizer.iter().collect();
    states.sort_by_key(|(name, _)| name.as_str());
    entries.extend(states.into_iter().map(|(name, value)| {
        let shape = value.size().iter().map(|&length| length as usize).collect();
        entry(format!("optimizer.{name}"), shape, value)
    }));
    let facts = Facts {
        format_version: FORMAT_VERSION,
        step: checkpoint.step,
        best_step: checkpoint.best.map(|(step, _)| step),
        // Rust prints the shortest text that reads back as the same number.
        best_validation_accuracy: checkpoint.best.map(|(_, accuracy)| accuracy.to_string()),
        experiment: checkpoint.experiment.clone(),
        preparation: checkpoint.preparation.clone(),
    };
    // One key only: a map of several would be written in another order each time.
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
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(damaged)?;
    atomic::write(path, &bytes).map_err(|error| CheckpointError::Access(path.to_path_buf(), error))
}

/// Reads what [`save`] wrote for a model of these layouts.
///
/// # Errors
/// If the file is missing, damaged or another model's.
pub fn load(
    path: &Path,
    layout: &ParameterLayout,
    buffers: &ParameterLayout,
) -> Result<Checkpoint, CheckpointError> {
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
        phi: flat(path, &file, "phi", layout)?,
        buffers: flat(path, &file, "buffers", buffers)?,
        optimizer,
        experiment: facts.experiment,
        preparation: facts.preparation,
    })
}

/// φ and the moving averages of a new run that starts from a checkpoint, and which parameters of φ the checkpoint does
/// not have: what it lacks is as at the start by `seed`.
///
/// # Errors
/// If the file is missing or damaged, has a parameter in another shape, or shares none with this model.
pub fn load_start(
    path: &Path,
    layout: &ParameterLayout,
    buffers: &ParameterLayout,
    seed: u64,
) -> Result<(Tensor, Tensor, Vec<String>), CheckpointError> {
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
    let (phi, fresh) = started("phi", layout)?;
    let (buffers, _) = started("buffers", buffers)?;
    Ok((phi, buffers, fresh))
}

/// The experiment of a checkpoint, as YAML, and how its pictures are prepared if it is a bundle.
///
/// # Errors
/// If the file is missing or damaged.
pub fn described(path: &Path) -> Result<(String, Option<Preparation>), CheckpointError> {
    let (_, facts) = read(path)?;
    Ok((facts.experiment, facts.preparation))
}

fn read(path: &Path) -> Result<(Vec<u8>, Facts), CheckpointError> {
    let damaged = |problem: String| CheckpointError::Damaged(path.to_path_buf(), problem);
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => CheckpointError::Missing(path.to_path_buf()),
        _ => CheckpointError::Access(path.to_path_buf(), error),
    })?;
    let (_, header) =
        SafeTensors::read_metadata(&bytes).map_err(|error| damaged(error.to_string()))?;
    let text = header
        .metadata()
        .as_ref()
        .and_then(|metadata| metadata.get(METADATA_KEY));
    let text = text.ok_or_else(|| damaged(format!("its metadata has no `{METADATA_KEY}`")))?;
    let facts: Facts =
        serde_json::from_str(text).map_err(|error| damaged(format!("metadata: {error}")))?;
    if facts.format_version != FORMAT_VERSION {
        return Err(CheckpointError::Version {
            path: path.to_path_buf(),
            found: facts.format_version,
        });
    }
    Ok((bytes, facts))
}

/// Removes the oldest `step-N` checkpoints beyond `keep`.
///
/// # Errors
/// If the folder cannot be read or a file not removed.
pub fn prune(folder: &Path, keep: usize) -> Result<(), CheckpointError> {
    let failed = |error| CheckpointError::Access(folder.to_path_buf(), error);
    let steps = steps(folder).map_err(failed)?;
    let surplus = steps.len().saturating_sub(keep);
    steps[..surplus]
        .iter()
        .try_for_each(|(_, path)| std::fs::remove_file(path))
        .map_err(failed)
}

/// The `step-N` checkpoints of a folder, from first to last.
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

fn named(prefix: &str, layout: &ParameterLayout, flat: &Tensor) -> Vec<Entry> {
    let mut start = 0;
    layout
        .specs()
        .iter()
        .map(|spec| {
            let values = flat.narrow(0, start, spec.len() as i64);
            start += spec.len() as i64;
            let shape = spec.shape.iter().map(|&length| length as usize).collect();
            entry(name_of(prefix, spec), shape, &values)
        })
        .collect()
}

/// A parameter's name in the file.
fn name_of(prefix: &str, spec: &ParameterSpec) -> String {
    format!("{prefix}.{}", spec.name)
}

fn entry(name: String, shape: Vec<usize>, value: &Tensor) -> Entry {
    let value = value.detach().contiguous().view([-1]);
    let length = value.numel();
    let (dtype, bytes) = if value.kind() == Kind::Int64 {
        let mut numbers = vec![0i64; length];
        value.copy_data(&mut numbers, length);
        (
            Dtype::I64,
            numbers
                .iter()
                .flat_map(|number| number.to_le_bytes())
                .collect(),
        )
    } else {
        let mut numbers = vec![0f32; length];
        value.to_kind(Kind::Float).copy_data(&mut numbers, length);
        (
            Dtype::F32,
            numbers
                .iter()
                .flat_map(|number| number.to_le_bytes())
                .collect(),
        )
    };
    Entry {
        name,
        dtype,
        shape,
        bytes,
    }
}

fn tensor(view: &TensorView) -> Tensor {
    let shape: Vec<i64> = view.shape().iter().map(|&length| length as i64).collect();
    let kind = if view.dtype() == Dtype::I64 {
        Kind::Int64
    } else {
        Kind::Float
    };
    Tensor::from_data_size(view.data(), &shape, kind)
}

fn flat(
    path: &Path,
    file: &SafeTensors,
    prefix: &str,
    layout: &ParameterLayout,
) -> Result<Tensor, CheckpointError> {
    let of = |spec| parameter(path, file, prefix, spec)?.ok_or_else(|| missing(path, prefix, spec));
    let parts: Result<Vec<_>, _> = layout.specs().iter().map(of).collect();
    Ok(concatenated(&parts?, Device::Cpu))
}

/// The values of a parameter, flat, if the file has it.
fn parameter(
    path: &Path,
    file: &SafeTensors,
    prefix: &str,
    spec: &ParameterSpec,
) -> Result<Option<Tensor>, CheckpointError> {
    let name = name_of(prefix, spec);
    let Ok(view) = file.tensor(&name) else {
        return Ok(None);
    };
    let shape: Vec<i64> = view.shape().iter().map(|&length| length as i64).collect();
    if shape != spec.shape || view.dtype() != Dtype::F32 {
        let (dtype, expected) = (view.dtype(), &spec.shape);
        return Err(CheckpointError::OtherModel {
            path: path.to_path_buf(),
            tensor: name,
            problem: format!("is {dtype:?} {shape:?}, expected F32 {expected:?}"),
        });
    }
    Ok(Some(tensor(&view).view([-1])))
}

fn missing(path: &Path, prefix: &str, spec: &ParameterSpec) -> CheckpointError {
    CheckpointError::OtherModel {
        path: path.to_path_buf(),
        tensor: name_of(prefix, spec),
        problem: "is missing".to_owned(),
    }
}

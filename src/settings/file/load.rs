//! Reads an experiment: files that it extends, the file itself, overrides.

use std::path::{Path, PathBuf};

use serde_yaml::{Mapping, Value};
use thiserror::Error;

use crate::settings::experiment::Experiment;
use crate::settings::file::check::faults;
use crate::settings::file::schema::{keep_valid, merge, nested, schema};

/// The key that names the file or files that a file extends.
const EXTENDS: &str = "extends";

/// Largest number of keys in the path of an override, more than any setting has; bounds recursion.
const MAX_DEPTH: usize = 8;

/// Errors in an experiment.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("could not read the experiment {0}")]
    Read(PathBuf, #[source] std::io::Error),
    /// A file is not valid YAML, or not a mapping.
    #[error("{0} is not an experiment in YAML: {1}")]
    Syntax(PathBuf, String),
    /// A file extends itself, directly or through other files.
    #[error("{0} extends itself through {1}")]
    Cycle(PathBuf, String),
    /// Keys or values are invalid.
    #[error("{file} has {count}:\n{list}", count = count(.faults), list = list(.faults))]
    Faults {
        /// The file that was to be loaded.
        file: PathBuf,
        /// All faults, each in the form `path: value: expected … (origin)`.
        faults: Vec<String>,
    },
}

fn count(faults: &[String]) -> String {
    if faults.len() == 1 {
        "a fault".to_owned()
    } else {
        format!("{} faults", faults.len())
    }
}

fn list(faults: &[String]) -> String {
    faults
        .iter()
        .map(|fault| format!("  {fault}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Reads the experiment at `path` with the files that it extends, applies `overrides`, each in the form
/// `KEY.PATH=VALUE`, and validates the result.
///
/// # Errors
/// [`ConfigError::Read`], [`ConfigError::Syntax`] or [`ConfigError::Cycle`] if a file cannot be used,
/// [`ConfigError::Faults`] with all invalid keys and values otherwise.
pub fn load(path: &Path, overrides: &[String]) -> Result<Experiment, ConfigError> {
    let mut all_faults = Vec::new();
    let mut merged = read(path, &mut Vec::new(), &mut all_faults)?;
    for text in overrides {
        match override_value(text) {
            Ok(value) => {
                let origin = format!("--set {text}");
                merge(&mut merged, keep_valid(value, &origin, &mut all_faults));
            }
            Err(fault) => all_faults.push(fault),
        }
    }
    let mut tree = Value::Mapping(schema());
    merge(&mut tree, merged);
    match serde_yaml::from_value::<Experiment>(tree) {
        Ok(experiment) => {
            // A value that was removed as invalid is not reported again for its default.
            for fault in faults(&experiment) {
                let path = fault.split_inclusive(": ").next().unwrap_or_default();
                if !all_faults.iter().any(|earlier| earlier.starts_with(path)) {
                    all_faults.push(fault);
                }
            }
            if all_faults.is_empty() {
                return Ok(experiment);
            }
        }
        Err(error) => all_faults.push(error.to_string()),
    }
    Err(ConfigError::Faults {
        file: path.to_path_buf(),
        faults: all_faults,
    })
}

/// Parses a complete experiment as [`to_yaml`] writes it, for example from a checkpoint, and validates it. `path` names
/// its origin in errors.
///
/// # Errors
/// [`ConfigError::Syntax`] if `text` cannot be parsed, [`ConfigError::Faults`] if values are invalid.
pub fn parse(text: &str, path: &Path) -> Result<Experiment, ConfigError> {
    let experiment: Experiment = serde_yaml::from_str(text)
        .map_err(|error| ConfigError::Syntax(path.to_path_buf(), error.to_string()))?;
    match faults(&experiment) {
        faults if faults.is_empty() => Ok(experiment),
        faults => Err(ConfigError::Faults {
            file: path.to_path_buf(),
            faults,
        }),
    }
}

/// Writes the whole experiment as YAML, with every key.
pub fn to_yaml(experiment: &Experiment) -> String {
    serde_yaml::to_string(experiment).unwrap_or_default()
}

/// Reads the file at `path` and merges it into the files that it extends. `open` holds the files that are being read.
fn read(
    path: &Path,
    open: &mut Vec<PathBuf>,
    faults: &mut Vec<String>,
) -> Result<Value, ConfigError> {
    let failed = |error| ConfigError::Read(path.to_path_buf(), error);
    let canonical = path.canonicalize().map_err(failed)?;
    if open.contains(&canonical) {
        let files: Vec<String> = open.iter().map(|path| path.display().to_string()).collect();
        return Err(ConfigError::Cycle(path.to_path_buf(), files.join(", ")));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let value: Value = serde_yaml::from_str(&text)
        .map_err(|error| ConfigError::Syntax(path.to_path_buf(), error.to_string()))?;
    let mut own = match value {
        Value::Mapping(mapping) => mapping,
        Value::Null => Mapping::new(),
        _ => {
            return Err(ConfigError::Syntax(
                path.to_path_buf(),
                "expected `key: value` lines".into(),
            ));
        }
    };
    let bases = match own.remove(EXTENDS) {
        None => Vec::new(),
        Some(Value::String(base)) => vec![base],
        Some(Value::Sequence(bases)) if bases.iter().all(Value::is_string) => bases
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        Some(_) => {
            let fault = format!(
                "{EXTENDS}: expected a file or a list of files ({})",
                path.display()
            );
            faults.push(fault);
            Vec::new()
        }
    };
    open.push(canonical);
    let mut merged = Value::Mapping(Mapping::new());
    for base in bases {
        let base = path.parent().unwrap_or(Path::new("")).join(base);
        match read(&base, open, faults) {
            Ok(value) => merge(&mut merged, value),
            Err(ConfigError::Read(base, error)) => {
                let (base, origin) = (base.display(), path.display());
                faults.push(format!("{EXTENDS}: {base}: {error} ({origin})"));
            }
            Err(error) => return Err(error),
        }
    }
    open.pop();
    let origin = path.display().to_string();
    let own = keep_valid(Value::Mapping(own), &origin, faults);
    merge(&mut merged, own);
    Ok(merged)
}

/// Parses an override `KEY.PATH=VALUE` into nested mappings.
fn override_value(text: &str) -> Result<Value, String> {
    let (path, value) = text
        .split_once('=')
        .filter(|(path, _)| path.split('.').all(|key| !key.is_empty()))
        .filter(|(path, _)| path.split('.').count() <= MAX_DEPTH)
        .ok_or_else(|| format!("--set {text}: expected KEY=VALUE, e.g. train.steps=1000"))?;
    let value: Value =
        serde_yaml::from_str(value).map_err(|error| format!("--set {text}: {error}"))?;
    Ok(nested(path, value))
}

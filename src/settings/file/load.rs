//! Loads an experiment: its files, then overrides, then checks of the whole.

use std::collections::BTreeMap;
use std::path::Path;

use serde_yaml::Value;

use crate::base::files::at_home;
use crate::settings::experiment::{Experiment, by_name};
use crate::settings::file::check::faults;
use crate::settings::file::error::ConfigError;
use crate::settings::file::read::{LARGEST, of_preset, read, read_text};
use crate::settings::file::schema::Schema;
use crate::settings::tree::{merge, nested};

/// Largest number of keys in the path of an override, more than any setting has; bounds recursion.
const MAX_DEPTH: usize = 8;

/// An experiment with the origin of each value.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The experiment.
    pub experiment: Experiment,
    /// The file or option that each setting comes from, by its dotted name. The others have their default.
    pub origins: BTreeMap<String, String>,
}

/// Reads the experiment at `path` as [`load_with`] does, with the preset that it names.
///
/// # Errors
/// As [`load_with`].
pub fn load(path: &Path, overrides: &[String]) -> Result<Experiment, ConfigError> {
    Ok(load_with(path, None, overrides)?.experiment)
}

/// Reads the experiment at `path` with the files that it extends, above the settings of a preset: `preset`, or else the
/// one that the files name. Applies `overrides`, each in the form `KEY.PATH=VALUE`, and validates the result.
///
/// # Errors
/// [`ConfigError::Faults`] with all invalid keys and values, or another [`ConfigError`] if a file cannot be used.
pub fn load_with(
    path: &Path,
    preset: Option<&str>,
    overrides: &[String],
) -> Result<Loaded, ConfigError> {
    let (schema, mut all_faults) = (Schema::new(), Vec::new());
    let files = read(path, &schema, &mut all_faults)?;
    let recipe = of_preset(&files, preset).unwrap_or_else(|fault| {
        all_faults.push(fault);
        Vec::new()
    });
    let given = given(overrides, &schema, &mut all_faults);
    let mut origins = BTreeMap::new();
    let mut tree = Value::Mapping(schema.all.clone());
    for layer in recipe.into_iter().chain(files) {
        origins.extend(names(&layer.settings).map(|name| (name, layer.origin.clone())));
        merge(&mut tree, layer.settings);
    }
    for value in given {
        origins.extend(names(&value).map(|name| (name, "--set".to_owned())));
        merge(&mut tree, value);
    }
    Ok(Loaded {
        experiment: valid(path, tree, all_faults)?,
        origins,
    })
}

/// Reads the complete experiment at `path`, as [`to_yaml`] has written it, and applies `overrides` as [`load`] does. Keys
/// that it lacks get the values of the version that wrote it.
///
/// # Errors
/// As [`load`].
pub fn reload(path: &Path, overrides: &[String]) -> Result<Experiment, ConfigError> {
    let complete = parse(&read_text(path)?, path)?;
    let mut tree = serde_yaml::to_value(complete).unwrap_or_default();
    let mut faults = Vec::new();
    for value in given(overrides, &Schema::new(), &mut faults) {
        merge(&mut tree, value);
    }
    valid(path, tree, faults)
}

/// The dotted names of the settings in a tree.
fn names(tree: &Value) -> impl Iterator<Item = String> + use<> {
    by_name(&serde_json::to_value(tree).unwrap_or_default()).into_keys()
}

/// What valid overrides set, each as a tree.
fn given(overrides: &[String], schema: &Schema, faults: &mut Vec<String>) -> Vec<Value> {
    let mut values = Vec::new();
    for text in overrides {
        match override_value(text) {
            Ok(value) => values.push(schema.keep_valid(value, &format!("--set {text}"), faults)),
            Err(fault) => faults.push(fault),
        }
    }
    values
}

/// The experiment of a complete tree, if all of it is valid and nothing else is at fault.
fn valid(path: &Path, tree: Value, mut all_faults: Vec<String>) -> Result<Experiment, ConfigError> {
    match serde_yaml::from_value::<Experiment>(tree) {
        Ok(mut experiment) => {
            experiment.data.pack = at_home(&experiment.data.pack);
            let start = &mut experiment.train.start_from;
            *start = start.as_deref().map(at_home);
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
    let wrong = |problem: String| ConfigError::Syntax(path.to_path_buf(), problem);
    let length = text.len() as u64;
    if length > LARGEST {
        return Err(wrong(format!(
            "it has {length} bytes, expected at most {LARGEST}"
        )));
    }
    let experiment: Experiment =
        serde_yaml::from_str(text).map_err(|error| wrong(error.to_string()))?;
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

//! YAML → [`Experiment`]: `extends`, overrides, and all faults of a file at once.

use std::path::{Path, PathBuf};

use serde_yaml::{Mapping, Value};
use thiserror::Error;

use super::experiment::Experiment;
use super::validate::faults;

/// Key that names the file(s) a file builds on.
const EXTENDS: &str = "extends";

/// Everything wrong with an experiment.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("could not read the experiment {0}")]
    Read(PathBuf, #[source] std::io::Error),
    /// Not YAML.
    #[error("{0} is not YAML: {1}")]
    Syntax(PathBuf, String),
    /// `extends` leads back to where it came from.
    #[error("{0} extends itself, by way of {1}")]
    Cycle(PathBuf, String),
    /// Faults by dotted path.
    #[error("{file} has {count}:\n{list}", count = count(.faults), list = list(.faults))]
    Faults {
        /// The file that was asked for.
        file: PathBuf,
        /// One a fault.
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

/// Reads an experiment; `overrides` are `key.path=VALUE`, applied last.
///
/// # Errors
/// If a file cannot be read or anything in it is wrong; all faults are told at once.
pub fn load(path: &Path, overrides: &[String]) -> Result<Experiment, ConfigError> {
    let mut faults_found = Vec::new();
    let mut merged = read(path, &mut Vec::new(), &mut faults_found)?;
    for text in overrides {
        match override_value(text) {
            Ok(value) => {
                check(&value, "", &format!("--set {text}"), &mut faults_found);
                merge(&mut merged, value);
            }
            Err(fault) => faults_found.push(fault),
        }
    }
    if faults_found.is_empty() {
        let mut tree = schema();
        merge(&mut tree, merged);
        match serde_yaml::from_value::<Experiment>(tree) {
            Ok(experiment) => {
                faults_found = faults(&experiment);
                if faults_found.is_empty() {
                    return Ok(experiment);
                }
            }
            Err(error) => faults_found.push(error.to_string()),
        }
    }
    Err(ConfigError::Faults {
        file: path.to_path_buf(),
        faults: faults_found,
    })
}

/// The whole experiment, every key written out.
pub fn to_yaml(experiment: &Experiment) -> String {
    serde_yaml::to_string(experiment).unwrap_or_default()
}

fn schema() -> Value {
    serde_yaml::to_value(Experiment::default()).unwrap_or(Value::Null)
}

/// A file over the files it extends. `open` holds the files being read, to find cycles.
fn read(
    path: &Path,
    open: &mut Vec<PathBuf>,
    faults: &mut Vec<String>,
) -> Result<Value, ConfigError> {
    let failed = |error| ConfigError::Read(path.to_path_buf(), error);
    let canonical = path.canonicalize().map_err(failed)?;
    if open.contains(&canonical) {
        let way: Vec<String> = open.iter().map(|path| path.display().to_string()).collect();
        return Err(ConfigError::Cycle(path.to_path_buf(), way.join(", ")));
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
        merge(&mut merged, read(&base, open, faults)?);
    }
    open.pop();
    let own = Value::Mapping(own);
    check(&own, "", &path.display().to_string(), faults);
    merge(&mut merged, own);
    Ok(merged)
}

/// `b` over `a`: mappings key by key, everything else replaced.
fn merge(a: &mut Value, b: Value) {
    match (a, b) {
        (Value::Mapping(a), Value::Mapping(b)) => {
            for (key, value) in b {
                match a.get_mut(&key) {
                    Some(old) => merge(old, value),
                    None => {
                        a.insert(key, value);
                    }
                }
            }
        }
        (a, b) => *a = b,
    }
}

/// `key.path=VALUE` as nested mappings.
fn override_value(text: &str) -> Result<Value, String> {
    let (path, value) = text
        .split_once('=')
        .filter(|(path, _)| !path.is_empty())
        .ok_or_else(|| format!("--set {text}: expected KEY=VALUE, e.g. train.steps=1000"))?;
    let value: Value =
        serde_yaml::from_str(value).map_err(|error| format!("--set {text}: {error}"))?;
    Ok(nested(path, value))
}

fn nested(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |value, key| {
        Value::Mapping(Mapping::from_iter([(Value::String(key.to_owned()), value)]))
    })
}

/// Notes unknown keys and values of the wrong type below `path`.
fn check(value: &Value, path: &str, origin: &str, faults: &mut Vec<String>) {
    let schema = schema();
    let known = path
        .split('.')
        .filter(|key| !key.is_empty())
        .try_fold(&schema, |at, key| at.get(key));
    let Some(known) = known else { return };
    let (Value::Mapping(given), Value::Mapping(known)) = (value, known) else {
        return check_leaf(value, path, origin, faults);
    };
    for (key, value) in given {
        let name = key
            .as_str()
            .map_or_else(|| format!("{key:?}"), str::to_owned);
        let full = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        if known.contains_key(key) {
            check(value, &full, origin, faults);
        } else {
            let hint = suggestion(&name, path, known, &schema);
            faults.push(format!("{full}: unknown key{hint} ({origin})"));
        }
    }
}

/// A value is right if the default experiment still reads with it in its place.
fn check_leaf(value: &Value, path: &str, origin: &str, faults: &mut Vec<String>) {
    let mut tree = schema();
    if path.is_empty() {
        return faults.push(format!("expected `key: value` lines ({origin})"));
    }
    merge(&mut tree, nested(path, value.clone()));
    if let Err(error) = serde_yaml::from_value::<Experiment>(tree) {
        let text = serde_yaml::to_string(value).unwrap_or_default();
        let problem = error.to_string();
        let problem = problem
            .strip_prefix(&format!("{path}: "))
            .unwrap_or(&problem)
            .to_owned();
        faults.push(format!("{path}: {}: {problem} ({origin})", text.trim()));
    }
}

/// The nearest sibling, else a key of that name elsewhere.
fn suggestion(name: &str, path: &str, siblings: &Mapping, schema: &Value) -> String {
    let prefix = if path.is_empty() {
        String::new()
    } else {
        format!("{path}.")
    };
    let near = siblings
        .keys()
        .filter_map(Value::as_str)
        .map(|key| (strsim::jaro_winkler(key, name), format!("{prefix}{key}")))
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .filter(|(likeness, _)| *likeness > 0.8)
        .map(|(_, key)| key);
    let elsewhere = || {
        schema.as_mapping()?.iter().find_map(|(section, keys)| {
            keys.as_mapping()?
                .contains_key(name)
                .then(|| Some(format!("{}.{name}", section.as_str()?)))?
        })
    };
    near.or_else(elsewhere)
        .map_or_else(String::new, |key| format!(", did you mean `{key}`?"))
}

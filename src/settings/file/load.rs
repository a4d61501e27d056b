//! YAML → [`Experiment`]: `extends`, overrides, and all faults of a file at once.
use std::path::{Path, PathBuf};

use serde_yaml::{Mapping, Value};
use thiserror::Error;

use crate::settings::experiment::Experiment;
use crate::settings::file::check::faults;
use crate::settings::generator::GeneratorOptions;

/// Key that names the file(s) a file builds on.
const EXTENDS: &str = "extends";

/// Below it stand the names of layers, and below each name settings of `generator`.
const PER_LAYER: &str = "generator.per_layer";

/// More keys than any path of an experiment has; bounds the recursion over an override.
const DEEPEST: usize = 8;

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
                let origin = format!("--set {text}");
                let known = checked(value, &schema(), "", &origin, &mut faults_found);
                merge(&mut merged, known);
            }
            Err(fault) => faults_found.push(fault),
        }
    }
    let mut tree = Value::Mapping(schema());
    merge(&mut tree, merged);
    match serde_yaml::from_value::<Experiment>(tree) {
        Ok(experiment) => {
            // What could not be read is told once, not again for the value that stands in for it.
            for fault in faults(&experiment) {
                let path = fault.split_inclusive(": ").next().unwrap_or_default();
                if !faults_found.iter().any(|told| told.starts_with(path)) {
                    faults_found.push(fault);
                }
            }
            if faults_found.is_empty() {
                return Ok(experiment);
            }
        }
        Err(error) => faults_found.push(error.to_string()),
    }
    Err(ConfigError::Faults {
        file: path.to_path_buf(),
        faults: faults_found,
    })
}

/// Reads an experiment that was written out whole, as checkpoints hold it; `path` is where it comes from.
///
/// # Errors
/// If anything in it is wrong.
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

/// The whole experiment, every key written out.
pub fn to_yaml(experiment: &Experiment) -> String {
    serde_yaml::to_string(experiment).unwrap_or_default()
}

/// Every key there is, with its default.
fn schema() -> Mapping {
    match serde_yaml::to_value(Experiment::default()) {
        Ok(Value::Mapping(schema)) => schema,
        _ => Mapping::new(),
    }
}

/// The keys that a single layer may set, with their defaults.
fn layer_schema() -> Mapping {
    let mut schema = match serde_yaml::to_value(GeneratorOptions::default()) {
        Ok(Value::Mapping(schema)) => schema,
        _ => Mapping::new(),
    };
    for key in GeneratorOptions::SHARED {
        schema.remove(key);
    }
    schema
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
    let own = checked(Value::Mapping(own), &schema(), "", &origin, faults);
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
        .filter(|(path, _)| path.split('.').all(|key| !key.is_empty()))
        .filter(|(path, _)| path.split('.').count() <= DEEPEST)
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

/// `value` without unknown keys and values of the wrong type, which are noted.
fn checked(
    value: Value,
    known: &Mapping,
    path: &str,
    origin: &str,
    faults: &mut Vec<String>,
) -> Value {
    let mut right = Mapping::new();
    let given = match value {
        Value::Mapping(given) => given,
        // A section with nothing below it says nothing in a file.
        Value::Null if !origin.starts_with("--set") => Mapping::new(),
        other => {
            let fault = format!("{path}: {}: expected keys below it", told(&other));
            faults.push(format!("{fault} ({origin})"));
            Mapping::new()
        }
    };
    for (key, value) in given {
        let name = key.as_str().map_or_else(|| told(&key), str::to_owned);
        let full = dotted(path, &name);
        let below = match path {
            PER_LAYER => Some(Value::Mapping(layer_schema())),
            _ => known.get(&key).cloned(),
        };
        let key = Value::String(name.clone());
        match below {
            None => {
                let hint = suggestion(&name, path, known);
                faults.push(format!("{full}: unknown key, {hint} ({origin})"));
            }
            Some(Value::Mapping(below)) => {
                right.insert(key, checked(value, &below, &full, origin, faults));
            }
            Some(_) => match leaf_fault(&value, &full) {
                Some(fault) => faults.push(format!("{fault} ({origin})")),
                None => {
                    right.insert(key, value);
                }
            },
        }
    }
    Value::Mapping(right)
}

/// A value is right if the default experiment still reads with it in its place; that of a single layer, in the place
/// of the one for all layers.
fn leaf_fault(value: &Value, path: &str) -> Option<String> {
    let for_all = path
        .strip_prefix(PER_LAYER)
        .and_then(|rest| rest.rsplit_once('.'))
        .map_or_else(|| path.to_owned(), |(_, key)| format!("generator.{key}"));
    let mut tree = Value::Mapping(schema());
    merge(&mut tree, nested(&for_all, value.clone()));
    let error = serde_yaml::from_value::<Experiment>(tree).err()?;
    let problem = error.to_string().replacen(&format!("{for_all}: "), "", 1);
    Some(format!("{path}: {}: {problem}", told(value)))
}

fn dotted(path: &str, key: &str) -> String {
    format!("{path}.{key}").trim_start_matches('.').to_owned()
}

/// A value on one line.
fn told(value: &Value) -> String {
    let line = match value {
        Value::Sequence(_) | Value::Mapping(_) => serde_json::to_string(value).ok(),
        _ => serde_yaml::to_string(value).ok(),
    };
    line.unwrap_or_default().trim().replace('\n', " ")
}

/// The nearest sibling, else the nearest key elsewhere, else what there is.
fn suggestion(name: &str, path: &str, siblings: &Mapping) -> String {
    let schema = schema();
    let mut everywhere = Vec::new();
    for (section, value) in &schema {
        let section = section.as_str().unwrap_or_default();
        let keys = value.as_mapping().into_iter().flat_map(Mapping::keys);
        everywhere.extend(keys.filter_map(Value::as_str).map(|key| (section, key)));
    }
    if let Some((section, key)) = everywhere
        .iter()
        .find(|(section, key)| format!("{section}.{key}") == name)
    {
        return format!("write `{section}:` with `{key}:` below it");
    }
    let beside: Vec<&str> = siblings.keys().filter_map(Value::as_str).collect();
    nearest(name, beside.iter().map(|key| (path, *key)))
        .or_else(|| nearest(name, everywhere.into_iter()))
        .map_or_else(
            || format!("expected one of {}", beside.join(", ")),
            |key| format!("did you mean `{key}`?"),
        )
}

/// The dotted path of the (section, key) whose key is most like `name`, if any is like it at all.
fn nearest<'a>(name: &str, keys: impl Iterator<Item = (&'a str, &'a str)>) -> Option<String> {
    let (likeness, section, key) = keys
        .map(|(section, key)| (strsim::jaro_winkler(key, name), section, key))
        .max_by(|left, right| left.0.total_cmp(&right.0))?;
    (likeness > 0.8).then(|| dotted(section, key))
}

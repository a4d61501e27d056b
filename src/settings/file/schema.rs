//! Checks the keys and value types of a YAML tree against those that an experiment has.

use serde_yaml::{Mapping, Value};

use crate::settings::experiment::Experiment;
use crate::settings::generator::GeneratorOptions;

/// The section whose keys are names of layers; each of them holds settings of `generator`.
const PER_LAYER: &str = "generator.per_layer";

/// All keys of an experiment with their default values.
pub(super) fn schema() -> Mapping {
    match serde_yaml::to_value(Experiment::default()) {
        Ok(Value::Mapping(schema)) => schema,
        _ => Mapping::new(),
    }
}

/// The keys that can be set for a single layer, with their default values.
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

/// Returns `tree` without unknown keys and values of the wrong type, each of which is added to `faults`. `origin` is
/// the file or option that `tree` comes from.
pub(super) fn keep_valid(tree: Value, origin: &str, faults: &mut Vec<String>) -> Value {
    keep_valid_below(tree, &schema(), "", origin, faults)
}

/// [`keep_valid`] for the section at the dotted path `path`, which may have the keys `known`.
fn keep_valid_below(
    section: Value,
    known: &Mapping,
    path: &str,
    origin: &str,
    faults: &mut Vec<String>,
) -> Value {
    let mut valid = Mapping::new();
    let given = match section {
        Value::Mapping(given) => given,
        // In a file, a section without keys sets nothing.
        Value::Null if !origin.starts_with("--set") => Mapping::new(),
        other => {
            let fault = format!("{path}: {}: expected keys below it", on_one_line(&other));
            faults.push(format!("{fault} ({origin})"));
            Mapping::new()
        }
    };
    for (key, value) in given {
        let name = key
            .as_str()
            .map_or_else(|| on_one_line(&key), str::to_owned);
        let full = dotted(path, &name);
        let expected = match path {
            PER_LAYER => Some(Value::Mapping(layer_schema())),
            _ => known.get(&key).cloned(),
        };
        let key = Value::String(name.clone());
        match expected {
            None => {
                let suggestion = suggestion(&name, path, known);
                faults.push(format!("{full}: unknown key, {suggestion} ({origin})"));
            }
            Some(Value::Mapping(below)) => {
                let below = keep_valid_below(value, &below, &full, origin, faults);
                valid.insert(key, below);
            }
            Some(_) => match type_fault(&value, &full) {
                Some(fault) => faults.push(format!("{fault} ({origin})")),
                None => {
                    valid.insert(key, value);
                }
            },
        }
    }
    Value::Mapping(valid)
}

/// Describes what is wrong with the type of `value`. It is valid if the default experiment can be parsed with `value`
/// at `path`; settings of a single layer are tried as settings for all layers.
fn type_fault(value: &Value, path: &str) -> Option<String> {
    let for_all = path
        .strip_prefix(PER_LAYER)
        .and_then(|rest| rest.rsplit_once('.'))
        .map_or_else(|| path.to_owned(), |(_, key)| format!("generator.{key}"));
    let mut tree = Value::Mapping(schema());
    merge(&mut tree, nested(&for_all, value.clone()));
    let error = serde_yaml::from_value::<Experiment>(tree).err()?;
    let problem = error.to_string().replacen(&format!("{for_all}: "), "", 1);
    Some(format!("{path}: {}: {problem}", on_one_line(value)))
}

/// Merges `changes` into `tree`: mappings key by key; other values are replaced.
pub(super) fn merge(tree: &mut Value, changes: Value) {
    match (tree, changes) {
        (Value::Mapping(tree), Value::Mapping(changes)) => {
            for (key, value) in changes {
                match tree.get_mut(&key) {
                    Some(old) => merge(old, value),
                    None => {
                        tree.insert(key, value);
                    }
                }
            }
        }
        (tree, changes) => *tree = changes,
    }
}

/// Wraps `value` in one mapping per key of the dotted path `path`.
pub(super) fn nested(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |value, key| {
        Value::Mapping(Mapping::from_iter([(Value::String(key.to_owned()), value)]))
    })
}

fn dotted(path: &str, key: &str) -> String {
    format!("{path}.{key}").trim_start_matches('.').to_owned()
}

fn on_one_line(value: &Value) -> String {
    let line = match value {
        Value::Sequence(_) | Value::Mapping(_) => serde_json::to_string(value).ok(),
        _ => serde_yaml::to_string(value).ok(),
    };
    line.unwrap_or_default().trim().replace('\n', " ")
}

/// Suggests the most similar key of the same section, otherwise of any section, otherwise lists the section's keys.
fn suggestion(name: &str, path: &str, siblings: &Mapping) -> String {
    let schema = schema();
    let mut all_keys = Vec::new();
    for (section, value) in &schema {
        let section = section.as_str().unwrap_or_default();
        let keys = value.as_mapping().into_iter().flat_map(Mapping::keys);
        all_keys.extend(keys.filter_map(Value::as_str).map(|key| (section, key)));
    }
    if let Some((section, key)) = all_keys
        .iter()
        .find(|(section, key)| format!("{section}.{key}") == name)
    {
        return format!("write `{section}:` with `{key}:` below it");
    }
    let siblings: Vec<&str> = siblings.keys().filter_map(Value::as_str).collect();
    nearest(name, siblings.iter().map(|key| (path, *key)))
        .or_else(|| nearest(name, all_keys.into_iter()))
        .map_or_else(
            || format!("expected one of {}", siblings.join(", ")),
            |key| format!("did you mean `{key}`?"),
        )
}

/// Returns the dotted path of the (section, key) whose key is most similar to `name`, if it is similar enough.
fn nearest<'a>(name: &str, keys: impl Iterator<Item = (&'a str, &'a str)>) -> Option<String> {
    let (similarity, section, key) = keys
        .map(|(section, key)| (strsim::jaro_winkler(key, name), section, key))
        .max_by(|left, right| left.0.total_cmp(&right.0))?;
    (similarity > 0.8).then(|| dotted(section, key))
}

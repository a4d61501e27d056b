//! Checks the keys and value types of a YAML tree against those that an experiment has.

use serde::Serialize;
use serde_yaml::{Mapping, Value};

use crate::settings::cnn::CnnOptions;
use crate::settings::experiment::Experiment;
use crate::settings::generator::GeneratorOptions;
use crate::settings::tree::{merge, nested};

/// The section whose keys are names of layers; each of them holds settings of `generator`.
const PER_LAYER: &str = "generator.per_layer";

/// Largest number of layers whose settings differ from those for all: those of all convolutions and the logits layer.
const MOST_LAYERS: usize = CnnOptions::MOST_LAYERS + 1;

/// Number of faults after which no more are looked for.
const MOST_FAULTS: usize = 100;

/// Longest text of a value in a message, and longest unknown key for which a similar one is looked for, in bytes.
const LONGEST_SHOWN: usize = 200;

/// The keys that an experiment may have, with their default values.
pub(super) struct Schema {
    /// All keys.
    pub(super) all: Mapping,
    /// The keys that can be set for a single layer.
    layer: Mapping,
}

impl Schema {
    pub(super) fn new() -> Schema {
        let mut layer = keys(&GeneratorOptions::default());
        for key in GeneratorOptions::SHARED {
            layer.remove(key);
        }
        Schema {
            all: keys(&Experiment::default()),
            layer,
        }
    }

    /// Returns `tree` without unknown keys and values of the wrong type, each of which is added to `faults`. `origin` is
    /// the file or option that `tree` comes from.
    pub(super) fn keep_valid(&self, tree: Value, origin: &str, faults: &mut Vec<String>) -> Value {
        self.keep_valid_below(tree, &self.all, "", origin, faults)
    }

    /// [`Schema::keep_valid`] for the section at the dotted path `path`, which may have the keys `known`.
    fn keep_valid_below(
        &self,
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
        if path == PER_LAYER && given.len() > MOST_LAYERS {
            let count = given.len();
            let fault = format!("{path}: {count} layers: expected at most {MOST_LAYERS}");
            faults.push(format!("{fault} ({origin})"));
            return Value::Mapping(valid);
        }
        for (key, value) in given {
            if faults.len() >= MOST_FAULTS {
                break;
            }
            let name = key.as_str().map_or_else(|| on_one_line(&key), shortened);
            let full = dotted(path, &name);
            let below = match (path, known.get(&key)) {
                (PER_LAYER, _) => Some(&self.layer),
                (_, Some(Value::Mapping(below))) => Some(below),
                (_, Some(_)) => None,
                (_, None) => {
                    let suggestion = self.suggestion(&name, path, known);
                    faults.push(format!("{full}: unknown key, {suggestion} ({origin})"));
                    continue;
                }
            };
            let key = Value::String(name);
            if let Some(below) = below {
                let below = self.keep_valid_below(value, below, &full, origin, faults);
                valid.insert(key, below);
            } else if let Some(fault) = self.type_fault(&value, &full) {
                faults.push(format!("{fault} ({origin})"));
            } else {
                valid.insert(key, value);
            }
        }
        Value::Mapping(valid)
    }

    /// Describes what is wrong with the type of `value`. It is valid if the default experiment can be parsed with
    /// `value` at `path`; settings of a single layer are tried as settings for all layers.
    fn type_fault(&self, value: &Value, path: &str) -> Option<String> {
        let for_all = path
            .strip_prefix(PER_LAYER)
            .and_then(|rest| rest.rsplit_once('.'))
            .map_or_else(|| path.to_owned(), |(_, key)| format!("generator.{key}"));
        let mut tree = Value::Mapping(self.all.clone());
        merge(&mut tree, nested(&for_all, value.clone()));
        let error = serde_yaml::from_value::<Experiment>(tree).err()?;
        let problem = error.to_string().replacen(&format!("{for_all}: "), "", 1);
        let problem = shortened(&problem);
        Some(format!("{path}: {}: {problem}", on_one_line(value)))
    }

    /// Suggests the most similar key of the same section, otherwise of any section, otherwise lists the section's keys.
    fn suggestion(&self, name: &str, path: &str, siblings: &Mapping) -> String {
        let mut all_keys = Vec::new();
        for (section, value) in &self.all {
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
}

/// The keys of a section with their values.
fn keys(section: &impl Serialize) -> Mapping {
    match serde_yaml::to_value(section) {
        Ok(Value::Mapping(keys)) => keys,
        _ => Mapping::new(),
    }
}

fn dotted(path: &str, key: &str) -> String {
    format!("{path}.{key}").trim_start_matches('.').to_owned()
}

fn on_one_line(value: &Value) -> String {
    let line = match value {
        Value::Sequence(_) | Value::Mapping(_) => serde_json::to_string(value).ok(),
        _ => serde_yaml::to_string(value).ok(),
    };
    shortened(&line.unwrap_or_default().trim().replace('\n', " "))
}

/// The beginning of a long text.
fn shortened(text: &str) -> String {
    match text
        .char_indices()
        .find(|(start, _)| *start >= LONGEST_SHOWN)
    {
        Some((start, _)) => format!("{}…", &text[..start]),
        None => text.to_owned(),
    }
}

/// Returns the dotted path of the (section, key) whose key is most similar to `name`, if it is similar enough.
fn nearest<'a>(name: &str, keys: impl Iterator<Item = (&'a str, &'a str)>) -> Option<String> {
    let (similarity, section, key) = keys
        .map(|(section, key)| (strsim::jaro_winkler(key, name), section, key))
        .max_by(|left, right| left.0.total_cmp(&right.0))?;
    (similarity > 0.8).then(|| dotted(section, key))
}

//! Reads experiment files: the settings of each, of the files that it extends, and of its presets.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{Error, ErrorKind};
use std::path::{Component, Path, PathBuf};

use serde_yaml::{Mapping, Value};

use crate::base::files;
use crate::settings::file::error::ConfigError;
use crate::settings::file::schema::Schema;

/// The key that names the file or files that a file extends.
const EXTENDS: &str = "extends";
/// The key that names the preset whose settings lie beneath those of the file.
const PRESET: &str = "preset";
/// The key below which each preset has settings of its own.
const PRESETS: &str = "presets";

/// Size in bytes of the largest experiment. One that sets every key of every layer is smaller, and aliases in a larger
/// one could take gigabytes.
pub(super) const LARGEST: u64 = 64 << 10;
/// Largest number of values in an experiment. One that sets every key of every layer has fewer; aliases in a short text
/// can stand for millions.
const MOST_VALUES: usize = 100_000;
/// How often files may be named by `extends`, all files together.
const MOST_FILES: usize = 100;
/// Length of the longest chain of files that extend each other.
const DEEPEST: usize = 32;

/// Reads the text of an experiment, without the mark that some editors put first.
///
/// # Errors
/// [`ConfigError::Read`] if the file is not a readable text in UTF-8 of at most 64 KiB.
pub(crate) fn read_text(path: &Path) -> Result<String, ConfigError> {
    let failed = |error| ConfigError::Read(path.to_path_buf(), error);
    let bytes = files::read(path, LARGEST).map_err(failed)?;
    let bytes = match &bytes[..] {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            let problem = "it is text in UTF-16\nhint: save it as UTF-8";
            return Err(failed(Error::new(ErrorKind::InvalidData, problem)));
        }
        [0xef, 0xbb, 0xbf, rest @ ..] => rest.to_vec(),
        _ => bytes,
    };
    let problem = "it is not text in UTF-8\nhint: save it as UTF-8";
    String::from_utf8(bytes).map_err(|_| failed(Error::new(ErrorKind::InvalidData, problem)))
}

/// What one file sets, or one preset in it.
#[derive(Clone)]
pub(super) struct Layer {
    /// The file, its links resolved, and the preset.
    source: (PathBuf, String),
    /// The file as it was named, and the preset.
    pub(super) origin: String,
    /// The settings.
    pub(super) settings: Value,
    /// The preset that is used if the user names none.
    preset: Option<String>,
    /// The layers of each preset that the file has settings for.
    presets: BTreeMap<String, Vec<Layer>>,
}

/// Reads the file at `path` and those that it extends. Later layers replace settings of earlier ones.
pub(super) fn read(
    path: &Path,
    schema: &Schema,
    faults: &mut Vec<String>,
) -> Result<Vec<Layer>, ConfigError> {
    let mut files = Files {
        schema,
        faults,
        open: Vec::new(),
        layers: HashMap::new(),
        named: 0,
    };
    files.read(path)
}

/// The layers of the preset `chosen`, or else of the one that the files name, which lie beneath all others.
///
/// # Errors
/// A fault, if the files have no such preset or name none of theirs.
pub(super) fn of_preset(layers: &[Layer], chosen: Option<&str>) -> Result<Vec<Layer>, String> {
    let known: BTreeSet<&str> = layers
        .iter()
        .flat_map(|layer| layer.presets.keys().map(String::as_str))
        .collect();
    let known: Vec<&str> = known.into_iter().collect();
    let mut named = layers.iter().rev();
    let named = named.find_map(|layer| layer.preset.as_deref());
    match chosen.or(named) {
        None if known.is_empty() => Ok(Vec::new()),
        Some(name) if known.contains(&name) => {
            let of_layer = layers.iter().filter_map(|layer| layer.presets.get(name));
            Ok(last_of_each(of_layer.flatten().cloned().collect()))
        }
        Some(name) if known.is_empty() => {
            Err(format!("{PRESET}: {name}: the experiment has no presets"))
        }
        name => {
            let (name, known) = (name.unwrap_or("none"), known.join(", "));
            Err(format!("{PRESET}: {name}: expected one of {known}"))
        }
    }
}

/// The layers, of equal ones only the last: it replaces what the others set.
fn last_of_each(layers: Vec<Layer>) -> Vec<Layer> {
    let mut seen = HashSet::new();
    let mut kept: Vec<Layer> = layers
        .into_iter()
        .rev()
        .filter(|layer| seen.insert(layer.source.clone()))
        .collect();
    kept.reverse();
    kept
}

struct Files<'a> {
    schema: &'a Schema,
    faults: &'a mut Vec<String>,
    /// The files that are being read: each extends the one after it.
    open: Vec<PathBuf>,
    /// What was read from each file, so that a file that several extend is read once.
    layers: HashMap<PathBuf, Vec<Layer>>,
    named: usize,
}

impl Files<'_> {
    fn read(&mut self, path: &Path) -> Result<Vec<Layer>, ConfigError> {
        let failed = |error| ConfigError::Read(path.to_path_buf(), error);
        let canonical = path.canonicalize().map_err(failed)?;
        if self.open.contains(&canonical) {
            let files = self.open.iter().map(|path| path.display().to_string());
            let files = files.collect::<Vec<_>>().join(", ");
            return Err(ConfigError::Cycle(path.to_path_buf(), files));
        }
        self.named += 1;
        if self.named > MOST_FILES || self.open.len() > DEEPEST {
            return Err(ConfigError::TooMany(path.to_path_buf()));
        }
        if let Some(layers) = self.layers.get(&canonical) {
            return Ok(layers.clone());
        }
        let own = mapping(&read_text(path)?, path)?;
        self.open.push(canonical.clone());
        let layers = self.section(own, path, &canonical, "")?;
        self.open.pop();
        self.layers.insert(canonical, layers.clone());
        Ok(layers)
    }

    /// The layers of a file, or of a preset in it: those that it extends, then its own.
    fn section(
        &mut self,
        mut own: Mapping,
        path: &Path,
        canonical: &Path,
        preset: &str,
    ) -> Result<Vec<Layer>, ConfigError> {
        let origin = match preset {
            "" => shown(path),
            preset => format!("{}, preset {preset}", shown(path)),
        };
        let mut layers = Vec::new();
        for base in self.bases(&mut own, &origin) {
            layers.extend(self.base(&base, path)?);
        }
        if !preset.is_empty() {
            // A preset has no presets.
            for layer in &mut layers {
                layer.presets.clear();
            }
        }
        let (named, presets) = match preset {
            "" => (
                self.named_preset(&mut own, &origin),
                self.presets(&mut own, path, canonical)?,
            ),
            _ => (None, BTreeMap::new()),
        };
        let settings = Value::Mapping(own);
        layers.push(Layer {
            source: (canonical.to_path_buf(), preset.to_owned()),
            settings: self.schema.keep_valid(settings, &origin, self.faults),
            origin,
            preset: named,
            presets,
        });
        Ok(last_of_each(layers))
    }

    /// The layers of a file that the file `path` extends.
    fn base(&mut self, base: &str, path: &Path) -> Result<Vec<Layer>, ConfigError> {
        let base = path
            .parent()
            .unwrap_or(Path::new(""))
            .join(files::at_home(Path::new(base)));
        match self.read(&base) {
            Ok(layers) => Ok(layers),
            Err(ConfigError::Read(base, error)) => {
                let (base, origin) = (base.display(), path.display());
                let fault = format!("{EXTENDS}: {base}: {error} ({origin})");
                self.faults.push(fault.replace("\nhint: ", "; "));
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    /// Takes the name of the preset that a file uses out of it.
    fn named_preset(&mut self, own: &mut Mapping, origin: &str) -> Option<String> {
        let name = own.remove(PRESET)?;
        let text = name.as_str().map(str::to_owned);
        if text.is_none() {
            let fault = format!("{PRESET}: expected the name of a preset ({origin})");
            self.faults.push(fault);
        }
        text
    }

    /// Takes the settings that belong to presets out of a file.
    fn presets(
        &mut self,
        own: &mut Mapping,
        path: &Path,
        canonical: &Path,
    ) -> Result<BTreeMap<String, Vec<Layer>>, ConfigError> {
        let mut found = BTreeMap::new();
        let Some(presets) = own.remove(PRESETS) else {
            return Ok(found);
        };
        let named = match presets {
            Value::Mapping(presets) => presets,
            _ => Mapping::from_iter([(Value::Null, Value::Null)]),
        };
        for (name, settings) in named {
            match (name, settings) {
                (Value::String(name), Value::Mapping(settings)) if !name.is_empty() => {
                    let layers = self.section(settings, path, canonical, &name)?;
                    found.insert(name, layers);
                }
                _ => self.faults.push(format!(
                    "{PRESETS}: expected names of presets with settings below each ({})",
                    path.display()
                )),
            }
        }
        Ok(found)
    }

    /// Takes the names of the files that a file extends out of it.
    fn bases(&mut self, own: &mut Mapping, origin: &str) -> Vec<String> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let bases = match own.remove(EXTENDS) {
            None => Some(Vec::new()),
            Some(Value::Sequence(bases)) => bases.iter().map(text).collect(),
            Some(base) => text(&base).map(|base| vec![base]),
        };
        bases.unwrap_or_else(|| {
            self.faults.push(format!(
                "{EXTENDS}: expected a file or a list of files ({origin})"
            ));
            Vec::new()
        })
    }
}

/// A path without detours over folders that are left again.
fn shown(path: &Path) -> String {
    let mut kept = PathBuf::new();
    for part in path.components() {
        let leaves = part == Component::ParentDir;
        if !(leaves
            && matches!(kept.components().next_back(), Some(Component::Normal(_)))
            && kept.pop())
        {
            kept.push(part);
        }
    }
    kept.display().to_string()
}

/// The top level of an experiment.
fn mapping(text: &str, path: &Path) -> Result<Mapping, ConfigError> {
    let wrong = |problem: String| ConfigError::Syntax(path.to_path_buf(), problem);
    let tree = serde_yaml::from_str(text).map_err(|error| wrong(error.to_string()))?;
    if count(&tree, MOST_VALUES) > MOST_VALUES {
        return Err(wrong(format!(
            "it has more than {MOST_VALUES} values with its aliases"
        )));
    }
    match tree {
        Value::Mapping(mapping) => Ok(mapping),
        Value::Null => Err(ConfigError::Empty(path.to_path_buf())),
        _ => Err(wrong("expected `key: value` lines".to_owned())),
    }
}

/// Number of values in a tree, at least `most` + 1 if there are more than that.
fn count(tree: &Value, most: usize) -> usize {
    let add = |total: usize, value: &Value| match total > most {
        true => total,
        false => total + count(value, most),
    };
    match tree {
        Value::Sequence(values) => values.iter().fold(1, add),
        Value::Mapping(values) => values.values().fold(1, add),
        Value::Tagged(tagged) => count(&tagged.value, most),
        _ => 1,
    }
}

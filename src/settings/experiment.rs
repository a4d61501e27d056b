//! The top level of an experiment. All settings have defaults, so a file states only what differs from them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::settings::cnn::{BatchNormMode, CnnOptions};
use crate::settings::episode::EpisodeConfig;
use crate::settings::generator::{GeneratorOptions, Initialization};
use crate::settings::train::TrainConfig;

/// All settings of an experiment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Experiment {
    /// The data set.
    pub data: DataConfig,
    /// Sizes, sampling and augmentation of episodes.
    pub episode: EpisodeConfig,
    /// The target CNN.
    pub cnn: CnnOptions,
    /// The weight generator.
    pub generator: GeneratorOptions,
    /// Source of the batch-norm statistics: `query`, `support` or `running`.
    pub batch_norm: BatchNormMode,
    /// Initial values of φ.
    pub initialization: Initialization,
    /// Training of φ.
    pub train: TrainConfig,
    /// Validation during training.
    pub validation: ValidationConfig,
}

impl Experiment {
    /// All settings by their dotted names, e.g. `cnn.channels`; lists are values, and settings that are null are left
    /// out.
    pub fn by_name(&self) -> BTreeMap<String, Value> {
        by_name(&serde_json::to_value(self).unwrap_or_default())
    }
}

/// The values in nested sections by their dotted names.
pub(crate) fn by_name(sections: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    flatten("", sections, &mut found);
    found
}

fn flatten(path: &str, value: &Value, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = match path {
                    "" => key.clone(),
                    path => format!("{path}.{key}"),
                };
                flatten(&path, value, found);
            }
        }
        Value::Null => {}
        _ => {
            found.insert(path.to_owned(), value.clone());
        }
    }
}

/// The data set of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Path of the pack, relative to the working directory.
    pub pack: PathBuf,
    /// Name of the class split in the pack; null uses the pack's default split.
    pub split: Option<String>,
}

/// Validation during training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidationConfig {
    /// Number of training steps between validations.
    pub every: u64,
    /// Number of validation episodes; each validation uses the same ones.
    pub episodes: usize,
}

impl Default for DataConfig {
    fn default() -> Self {
        DataConfig {
            pack: PathBuf::from("data/synthetic.safetensors"),
            split: None,
        }
    }
}

impl Default for ValidationConfig {
    fn default() -> Self {
        ValidationConfig {
            every: 1_000,
            episodes: 400,
        }
    }
}

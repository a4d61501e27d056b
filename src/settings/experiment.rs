//! The experiment file, typed. Every field has a default, so that a file says only what is its own.
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::settings::cnn::{BatchNormMode, CnnOptions};
use crate::settings::episode::EpisodeConfig;
use crate::settings::generator::{GeneratorOptions, Initialization};
use crate::settings::train::TrainConfig;

/// One experiment: data, episodes, model, training, validation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Experiment {
    /// Where images come from.
    pub data: DataConfig,
    /// What an episode is.
    pub episode: EpisodeConfig,
    /// The target CNN.
    pub cnn: CnnOptions,
    /// The weight generator.
    pub generator: GeneratorOptions,
    /// Whose statistics normalise (`query` | `support` | `running`).
    pub batch_norm: BatchNormMode,
    /// How φ starts.
    pub initialization: Initialization,
    /// How φ is learned.
    pub train: TrainConfig,
    /// How training is watched.
    pub validation: ValidationConfig,
}

/// Where images come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// The pack; a relative path is taken from the working directory.
    pub pack: PathBuf,
    /// Name of the class split in the pack; null takes the pack's own default.
    pub split: Option<String>,
}

/// How training is watched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidationConfig {
    /// Steps between validations.
    pub every: u64,
    /// Episodes of a validation, the same list each time.
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

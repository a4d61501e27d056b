//! What a run folder tells of its run: how it was started, and with which settings.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::pack::pack::Pack;
use crate::settings::experiment::Experiment;

/// The seed of a run.
pub const SEED: &str = "train.seed";

/// Settings that may differ in a resumed run, because they change no step.
const FREE: [&str; 7] = [
    "data.pack",
    "train.log_every",
    "train.checkpoint_every",
    "train.checkpoint_minutes",
    "train.keep_checkpoints",
    "train.log_test_accuracy",
    "train.log_histograms",
];

/// Settings that a resumed run may change with `--change`.
pub const CHANGEABLE: [&str; 10] = [
    "train.steps",
    "train.phases",
    "train.learning_rate",
    "train.generator_rate",
    "train.convolution_generator_rate",
    "train.schedule",
    "train.warmup_steps",
    "train.decay_rate",
    "train.decay_steps",
    "validation.every",
];

/// The command line of this process. Bytes that are not UTF-8 are replaced.
pub fn argv() -> Vec<String> {
    let words = std::env::args_os();
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

/// What identifies a pack: its images, which class is in which part, and all else that it says.
pub(crate) fn identity(pack: &Pack) -> Value {
    let metadata = pack.metadata();
    let splits = serde_json::to_vec(&metadata.splits).unwrap_or_default();
    json!({
        "content_hash": metadata.content_hash,
        "splits_hash": blake3::hash(&splits).to_hex().to_string(),
        "whole_hash": pack.whole_hash(),
    })
}

/// A setting that differs between two experiments. A key that one side lacks, e.g. settings of a single layer, is null
/// there.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Its dotted name.
    pub key: String,
    /// The value before.
    pub before: Value,
    /// The value now.
    pub after: Value,
}

impl Difference {
    /// Whether the setting changes no step that training takes.
    pub(crate) fn is_free(&self) -> bool {
        changes_no_step(&self.key)
    }

    /// Whether the setting may change in a resumed run if the user says so.
    pub(crate) fn is_changeable(&self) -> bool {
        CHANGEABLE.contains(&&*self.key)
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Difference { key, before, after } = self;
        write!(formatter, "  {key}: started with {before}, now {after}")
    }
}

/// Whether this setting may differ between runs that take the same steps.
pub(crate) fn changes_no_step(key: &str) -> bool {
    FREE.contains(&key)
}

/// The settings that differ.
pub(crate) fn differences(before: &Experiment, now: &Experiment) -> Vec<Difference> {
    let (before, now) = (before.by_name(), now.by_name());
    let keys: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let of = |settings: &BTreeMap<String, Value>, key: &String| {
        settings.get(key).cloned().unwrap_or_default()
    };
    keys.into_iter()
        .map(|key| Difference {
            key: key.clone(),
            before: of(&before, key),
            after: of(&now, key),
        })
        .filter(|difference| difference.before != difference.after)
        .collect()
}

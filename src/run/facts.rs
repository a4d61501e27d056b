//! What a run folder tells of its run: how it was started, and with which settings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::absolute;

use serde_json::{Value, json};

use crate::pack::pack::Pack;
use crate::settings::experiment::Experiment;

/// Settings that may differ in a resumed run, because they change no step.
const FREE: [&str; 6] = [
    "train.log_every",
    "train.checkpoint_every",
    "train.checkpoint_minutes",
    "train.keep_checkpoints",
    "train.log_test_accuracy",
    "train.log_histograms",
];

/// The contents of `run.json`: how a run was started.
pub(crate) fn facts(device: &str, threads: usize, seed: u64, pack: &Pack) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "git_commit": env!("HYPERTRANSFORMER_GIT_COMMIT"),
        "libtorch": env!("HYPERTRANSFORMER_LIBTORCH_VERSION"),
        "device": device,
        "threads": threads,
        "seed": seed,
        "pack": identity(pack),
        "argv": argv(),
    })
}

/// The command line of this process. Bytes that are not UTF-8 are replaced.
pub fn argv() -> Vec<String> {
    let words = std::env::args_os();
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

/// What identifies a pack: its images, which class is in which part, and all else that it says; and where it is.
pub(crate) fn identity(pack: &Pack) -> Value {
    let metadata = pack.metadata();
    let splits = serde_json::to_vec(&metadata.splits).unwrap_or_default();
    json!({
        "path": absolute(pack.path()).unwrap_or_default().to_string_lossy(),
        "content_hash": metadata.content_hash,
        "splits_hash": blake3::hash(&splits).to_hex().to_string(),
        "whole_hash": pack.whole_hash(),
    })
}

/// Whether this setting may differ between runs that take the same steps.
pub(crate) fn changes_no_step(key: &str) -> bool {
    FREE.contains(&key)
}

/// `  key: started with A, now B`, for each setting that differs.
pub(crate) fn differences(began: &Experiment, now: &Experiment) -> Vec<String> {
    let (began, now) = (began.by_name(), now.by_name());
    let keys: BTreeSet<&String> = began.keys().chain(now.keys()).collect();
    // A key that one side lacks, e.g. settings of a single layer, counts as null there.
    let of = |settings: &BTreeMap<String, Value>, key: &String| {
        settings.get(key).cloned().unwrap_or_default()
    };
    keys.into_iter()
        .filter(|key| !changes_no_step(key))
        .map(|key| (key, of(&began, key), of(&now, key)))
        .filter(|(_, began, now)| began != now)
        .map(|(key, began, now)| format!("  {key}: started with {began}, now {now}"))
        .collect()
}

//! `results`: runs are averaged over seeds and compared on the same episodes.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::hypertransformer;
use crate::common::runs::finished_run;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::{Value, json};

/// A run of this seed and width with an evaluation in which each episode has one of these accuracies.
fn evaluated(folder: &Path, seed: u64, channels: u64, accuracies: &[f64]) -> PathBuf {
    let run = finished_run(folder, &format!("{channels}-{seed}"));
    let config = fs::read_to_string(run.join("config.yaml")).unwrap();
    let config = config
        .replacen("\n  seed: 0\n", &format!("\n  seed: {seed}\n"), 1)
        .replacen(
            "\n  channels: 8\n",
            &format!("\n  channels: {channels}\n"),
            1,
        );
    fs::write(run.join("config.yaml"), config).unwrap();
    evaluation(&run, "test", accuracies);
    run
}

fn evaluation(run: &Path, split: &str, accuracies: &[f64]) {
    let facts = json!({
        "split": split, "batch_norm": "support", "query_sampling": "balanced", "seed": 0, "scheme": "default",
        "pack_content_hash": "0123", "way": 5, "shot": 1, "unlabeled": 0, "distractors": 0, "query": 5,
        "episodes": accuracies.len(),
    });
    let lines: String = accuracies
        .iter()
        .enumerate()
        .map(|(episode, accuracy)| {
            format!(
                "{}\n",
                json!({ "episode": episode, "accuracy": accuracy, "loss": 1.0 })
            )
        })
        .collect();
    let name = run.join(format!("evaluation-{split}-support"));
    fs::write(name.with_extension("json"), facts.to_string()).unwrap();
    fs::write(name.with_extension("jsonl"), lines).unwrap();
}

fn printed(words: &[&str], runs: &[&PathBuf], against: &[&PathBuf]) -> String {
    let mut command = hypertransformer();
    command.arg("results").args(runs).args(words);
    if !against.is_empty() {
        command.arg("--against").args(against);
    }
    let output = command.assert().success().get_output().stdout.clone();
    String::from_utf8(output).unwrap()
}

/// Seeds 0.6, 0.7, 0.8: mean 70, s.d. 10, t = 4.303: 4.303 · 10 / √3 = 24.84. Two episodes 0.1 apart each: s.d. 7.07
/// points, 1.96 · 7.07 / √2 = 9.80.
#[test]
fn seeds_are_averaged_and_widths_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let narrow: Vec<_> = (0..3u8)
        .map(|seed| {
            let mean = 0.6 + 0.1 * f64::from(seed);
            let run = evaluated(folder.path(), seed.into(), 8, &[mean - 0.05, mean + 0.05]);
            evaluation(&run, "train", &[0.9, 0.9]);
            run
        })
        .collect();
    let wide = evaluated(folder.path(), 0, 16, &[0.8, 0.9]);
    let runs: Vec<_> = narrow.iter().chain([&wide]).collect();
    let table = printed(&[], &runs, &[]);
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(
        rows[2],
        "| 8 | 70.00 ± 24.84 | 9.80 | 90.00 ± 0.00 | 3 | 2 | support |"
    );
    assert_eq!(
        rows[3],
        "| 16 | 85.00 (one seed) | 9.80 |  | 1 | 2 | support |"
    );
    assert!(
        printed(&["--format", "latex"], &runs, &[]).contains("  8 & 70.00 $\\pm$ 24.84 & 9.80")
    );
    assert!(printed(&["--format", "csv"], &runs, &[]).contains("\n8,70.00 ± 24.84,9.80"));
    let numbers: Value = serde_json::from_str(&printed(&["--format", "json"], &runs, &[])).unwrap();
    assert_eq!(numbers[1]["settings"], json!({ "cnn.channels": 16 }));
}

/// By pairs of episodes the difference is 10 points without spread, although episodes differ by 40; one seed is no finding.
#[test]
fn differences_are_between_the_same_episodes_and_seeds() {
    let folder = tempfile::tempdir().unwrap();
    let better = [0, 1].map(|seed| evaluated(folder.path(), seed, 8, &[0.5, 0.9]));
    let worse = [0, 1].map(|seed| evaluated(folder.path(), seed, 4, &[0.4, 0.8]));
    let all = printed(&[], &better.each_ref(), &worse.each_ref());
    assert!(all.contains("| +10.00 ± 0.00 (2 seeds) |"), "{all}");
    let one = printed(&[], &[&worse[1]], &better.each_ref());
    assert!(
        one.contains("| −10.00 ± 0.00 over episodes, one seed: no finding |"),
        "{one}"
    );
}

#[test]
fn runs_that_cannot_be_compared_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let one = evaluated(folder.path(), 0, 8, &[0.5, 0.9]);
    let longer = evaluated(folder.path(), 1, 8, &[0.5, 0.9, 0.7]);
    let wide = evaluated(folder.path(), 0, 16, &[0.5, 0.9]);
    let none = finished_run(folder.path(), "none");
    for (runs, words, message) in [
        (
            [&one, &longer],
            &[][..],
            contains("not of the same episodes"),
        ),
        (
            [&one, &wide],
            &["--by", "train.steps"],
            contains("have the same seed, 0"),
        ),
        (
            [&one, &wide],
            &["--by", "cnn.chanels"],
            contains("no run has this setting"),
        ),
        (
            [&one, &none],
            &[],
            contains("has no evaluation-test-support.json; it has no evaluation"),
        ),
    ] {
        let mut command = hypertransformer();
        command.arg("results").args(runs).args(words);
        command
            .assert()
            .code(1)
            .stderr(message.and(contains("hint: ")));
    }
}

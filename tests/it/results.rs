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
            let log = r#"{"step": 20, "time/cpu_seconds": 90, "time/wall_seconds": 60}"#;
            fs::write(run.join("metrics.jsonl"), format!("{log}\n")).unwrap();
            run
        })
        .collect();
    let wide = evaluated(folder.path(), 0, 16, &[0.8, 0.9]);
    fs::remove_file(wide.join("metrics.jsonl")).unwrap();
    let runs: Vec<_> = narrow.iter().chain([&wide]).collect();
    let table = printed(&[], &runs, &[]);
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(
        rows[2],
        "| 8 | 70.00 ± 24.84 | 9.80 | 90.00 ± 0.00 | 3 | 2 | support | 1.5 / 1.0 | – |"
    );
    assert_eq!(
        rows[3],
        "| 16 | 85.00 (one seed) | 9.80 | – | 1 | 2 | support | – | – |"
    );
    assert!(
        printed(&["--format", "latex"], &runs, &[]).contains("  8 & 70.00 $\\pm$ 24.84 & 9.80")
    );
    assert!(printed(&["--format", "csv"], &runs, &[]).contains("\n8,70.00 ± 24.84,9.80"));
    let numbers: Value = serde_json::from_str(&printed(&["--format", "json"], &runs, &[])).unwrap();
    assert_eq!(numbers[1]["settings"], json!({ "cnn.channels": 16 }));
    assert!(table.starts_with("| cnn.channels | test accuracy, % |"));
    let words = ["--evaluation", "evaluation-train-support"];
    let training = printed(&words, &[&narrow[0]], &[]);
    assert!(training.contains("| train accuracy, % |"), "{training}");
}

/// By pairs of episodes the difference is 10 points without spread, although episodes differ by 40; one seed is no finding.
#[test]
fn differences_are_between_the_same_episodes_and_seeds() {
    let folder = tempfile::tempdir().unwrap();
    let better = [0, 1].map(|seed| evaluated(folder.path(), seed, 8, &[0.5, 0.9]));
    let worse = [0, 1].map(|seed| evaluated(folder.path(), seed, 4, &[0.4, 0.8]));
    let all = printed(&[], &better.each_ref(), &worse.each_ref());
    let ahead = "| +10.00 ± 0.00 over 2 seeds, ± 0.00 over episodes: ahead |";
    assert!(all.contains(ahead), "{all}");
    // Runs of two systems are no two seeds.
    let wide = evaluated(folder.path(), 0, 16, &[0.5, 0.9]);
    let mut command = hypertransformer();
    command.arg("results").arg(&better[0]).arg("--against");
    command.args([&worse[0], &wide]);
    command.assert().code(1).stderr(
        contains("have the same seed, 0").and(contains("hint: name the runs of one system")),
    );
    let one = printed(&[], &[&worse[1]], &better.each_ref());
    assert!(
        one.contains("| −10.00 ± 0.00 over episodes, one seed: no finding |"),
        "{one}"
    );
}

/// Pairs of seeds differ by +20 and −10 points: mean 5, s.d. 21.2, t = 12.706: 12.706 · 21.2 / √2 = 190.59.
#[test]
fn a_difference_within_its_interval_over_seeds_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let some = [0.9, 0.5].map(|accuracy| vec![accuracy; 3]);
    let runs = [0, 1].map(|seed| evaluated(folder.path(), seed as u64, 8, &some[seed]));
    let others = [(0, 0.7), (1, 0.6)]
        .map(|(seed, accuracy)| evaluated(folder.path(), seed, 4, &[accuracy; 3]));
    let table = printed(&[], &runs.each_ref(), &others.each_ref());
    let open = "| +5.00 ± 190.59 over 2 seeds, ± 0.00 over episodes: open |";
    assert!(table.contains(open), "{table}");
    let json = printed(&["--format", "json"], &runs.each_ref(), &others.each_ref());
    assert!(json.contains("\"verdict\": \"open\""), "{json}");
}

/// Steps 96 and 100 are the last 5 % of 100; the time of a run is that of its last line.
#[test]
fn training_accuracy_and_cost_are_those_of_the_log_where_nothing_else_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let runs = [0, 1].map(|seed| evaluated(folder.path(), seed, 8, &[0.5, 0.9]));
    for (run, hours) in runs.iter().zip([1.0, 2.0]) {
        let line = |step: u64, accuracy: f64| {
            let cpu = 36.0 * hours * step as f64;
            let line = json!({
                "step": step, "train/accuracy": accuracy, "time/cpu_seconds": cpu, "time/wall_seconds": cpu / 2.0,
            });
            format!("{line}\n")
        };
        let lines = [(50, 0.1), (95, 0.2), (96, 0.7), (100, 0.9)];
        let lines = lines.map(|(step, accuracy)| line(step, accuracy)).concat();
        // The last line is not complete yet.
        fs::write(run.join("metrics.jsonl"), lines + "{\"step\": 1").unwrap();
    }
    let table = printed(&[], &runs.each_ref(), &[]);
    assert!(table.contains("| 80.00 ± 0.00, by the log |"), "{table}");
    assert!(table.contains("| 90.0 / 45.0 |"), "{table}");
    // An evaluation of one run is not averaged with the log of another.
    evaluation(&runs[0], "train", &[0.6, 0.6]);
    let table = printed(&[], &runs.each_ref(), &[]);
    assert!(table.contains("| 80.00 ± 0.00, by the log |"), "{table}");
    evaluation(&runs[1], "train", &[0.6, 0.6]);
    let table = printed(&[], &runs.each_ref(), &[]);
    assert!(table.contains("| 60.00 ± 0.00 |"), "{table}");
}

/// Makes a run and its evaluation one of Omniglot, 20-way 5-shot.
fn omniglot(run: &Path, shot: u64) {
    let change = |name: &str, pairs: &[(&str, String)]| {
        let mut text = fs::read_to_string(run.join(name)).unwrap();
        for (old, new) in pairs {
            assert!(text.contains(old), "{old}");
            text = text.replacen(old, new, 1);
        }
        fs::write(run.join(name), text).unwrap();
    };
    let [way, shots] = ["way: 5", "shot: 1"].map(|old| format!("\n  {old}\n"));
    let settings = [
        (&*way, "\n  way: 20\n".to_owned()),
        (&shots, format!("\n  shot: {shot}\n")),
    ];
    change("config.yaml", &settings);
    let facts = [
        (
            "\"way\":5",
            "\"pack_name\":\"omniglot\",\"way\":20".to_owned(),
        ),
        ("\"shot\":1", format!("\"shot\":{shot}")),
    ];
    change("evaluation-test-support.json", &facts);
}

#[test]
fn the_papers_number_stands_beside_runs_of_its_system_only() {
    let folder = tempfile::tempdir().unwrap();
    let run = |channels: u64, shot: u64| {
        let run = evaluated(folder.path(), shot, channels, &[0.9, 0.9]);
        omniglot(&run, shot);
        run
    };
    let table = |runs: &[&PathBuf]| printed(&[], runs, &[]);
    let found = table(&[&run(8, 5)]);
    assert!(
        found.contains("| 94.7 (Table 1); 94.4 / 95.8 (Table 4) |"),
        "{found}"
    );
    assert!(table(&[&run(4, 5)]).contains("| 77.9 / 79.2 (Table 4) |"));
    assert!(table(&[&run(64, 1)]).contains("| 96.2 (Table 1) |"));
    // No table has 5 channels, or 2 shots.
    assert!(table(&[&run(5, 5)]).contains("| – |\n"));
    assert!(table(&[&run(8, 2)]).contains("| – |\n"));
    // On another data set than in training there is no such number.
    let file = run(16, 5).join("evaluation-test-support.json");
    let text = fs::read_to_string(&file).unwrap();
    let other = text.replacen('{', "{\"pack_differs_in\":\"images\",", 1);
    fs::write(file, other).unwrap();
    let found = table(&[&folder.path().join("16-5")]);
    assert!(found.contains("| – |\n"), "{found}");
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

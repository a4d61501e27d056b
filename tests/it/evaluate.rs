//! `evaluate`: fewer classes, other packs, all checkpoints, several runs, and packs of runs that were moved.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::runs::{ONE_STEP, finished_run, train};
use crate::common::{data_pack, glyphs, hypertransformer, write_glyphs};
use hypertransformer::import::sources::synthetic::{SyntheticOptions, write_synthetic_pack};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

fn evaluate(runs: &[&Path], words: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = hypertransformer();
    command.arg("evaluate").args(runs).args(words).assert()
}

fn summary(run: &Path, name: &str) -> Value {
    let text = fs::read_to_string(run.join(name).with_extension("json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn stdout(assert: assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.success().get_output().stdout.clone()).unwrap()
}

#[test]
fn episodes_may_have_fewer_classes_than_in_training_but_not_more() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    // Unlabelled images have the label after the last slot of the model, not of the episode.
    train(folder.path(), "run", &ONE_STEP)
        .args(["--set", "episode.unlabeled=2"])
        .assert()
        .success();
    let some = ["--episodes", "40"];
    evaluate(&[&run], &some).success();
    evaluate(
        &[&run],
        &[&some[..], &["--way", "2", "--query", "3"]].concat(),
    )
    .success()
    .stdout(contains("2-way 1-shot, trained 5-way"));
    let [all, two] = [
        "evaluation-test-support",
        "evaluation-test-support-2way-3query",
    ]
    .map(|name| summary(&run, name));
    assert_eq!((&two["way"], &two["query"]), (&2.into(), &3.into()));
    let accuracy = |summary: &Value| summary["accuracy_mean"].as_f64().unwrap();
    assert!(accuracy(&two) > accuracy(&all).max(0.6), "{two} {all}");
    evaluate(&[&run], &["--way", "6"])
        .code(1)
        .stderr(contains("was trained 5-way").and(contains("hint: ")));
}

#[test]
fn all_checkpoints_give_a_curve_in_the_order_of_steps() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished_run(folder.path(), "run");
    let text = stdout(evaluate(
        &[&run],
        &["--checkpoint", "all", "--episodes", "20"],
    ));
    let table = text.split_once("\n\n").unwrap().1;
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect())
        .collect();
    let steps: Vec<u64> = rows.iter().map(|row| row[2].parse().unwrap()).collect();
    assert!(steps.is_sorted(), "{table}");
    let mut names: Vec<&str> = rows.iter().map(|row| row[1]).collect();
    for row in &rows {
        assert_eq!((row[4], row[6]), ("±", "%"), "{table}");
        let suffix = match row[1] {
            "best" => String::new(),
            name => format!("-{name}"),
        };
        let name = format!("evaluation-test-support{suffix}");
        assert_eq!(summary(&run, &name)["checkpoint_step"].to_string(), row[2]);
        assert!(run.join(name).with_extension("jsonl").exists());
    }
    names.sort_unstable();
    assert_eq!(names, ["best", "last", "step-16", "step-8"]);
    let output = folder.path().join("one.json");
    let output = ["--checkpoint", "all", "--output", output.to_str().unwrap()];
    evaluate(&[&run], &output)
        .code(1)
        .stderr(contains("one file cannot hold several evaluations"));
}

#[test]
fn several_runs_are_evaluated_one_after_the_other_and_a_faulty_one_before_all() {
    let folder = tempfile::tempdir().unwrap();
    let runs = ["one", "two"].map(|name| finished_run(folder.path(), name));
    let [one, two] = [&*runs[0], &*runs[1]];
    let missing = folder.path().join("missing");
    evaluate(&[one, &missing], &["--episodes", "20"])
        .code(1)
        .stderr(contains("missing does not exist"));
    assert!(!one.join("evaluation-test-support.json").exists());
    let text = stdout(evaluate(&[one, two], &["--episodes", "20"]));
    let lines: Vec<&str> = text.lines().collect();
    for (index, run) in [one, two].iter().enumerate() {
        let run = run.display().to_string();
        assert!(
            lines[index].starts_with(&format!("{run}: test accuracy ")),
            "{text}"
        );
        assert!(lines[index + 4].starts_with(&run), "{text}");
    }
    assert_eq!(lines.len(), 6);
}

fn pack(path: PathBuf, options: SyntheticOptions) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    write_synthetic_pack(&path, &options).unwrap();
    path
}

#[test]
fn another_pack_is_named_in_the_result() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished_run(folder.path(), "run");
    let on = |pack: &Path, words: &[&str]| {
        let words = [
            &["--episodes", "20", "--pack", pack.to_str().unwrap()],
            words,
        ]
        .concat();
        evaluate(&[&run], &words)
    };
    let other = |classes, seed, size| SyntheticOptions {
        classes,
        seed,
        size,
    };
    let new = pack(folder.path().join("new.safetensors"), other(60, 1, 28));
    on(&new, &[]).success().stdout(contains(
        "on synthetic, another data set than it was trained on",
    ));
    let found = summary(&run, "evaluation-test-support-on-new");
    assert_eq!(found["pack_differs_in"], "images");
    // Of two packs of the same name the second does not replace the evaluation of the first.
    let same = pack(folder.path().join("2/new.safetensors"), other(60, 2, 28));
    on(&same, &[])
        .code(1)
        .stderr(contains("on another pack of the same name"));
    let large = pack(folder.path().join("large.safetensors"), other(60, 1, 32));
    on(&large, &[])
        .code(1)
        .stderr(contains("its images are 32×32×1").and(contains("trained on images of 28×28×1")));
    let few = pack(folder.path().join("few.safetensors"), other(12, 1, 28));
    on(&few, &[])
        .code(1)
        .stderr(contains("the episodes need 5 classes").and(contains("--way")));
    on(&few, &["--way", "2"]).success();
    on(&folder.path().join("none.safetensors"), &[])
        .code(1)
        .stderr(contains("none.safetensors` does not exist"));
    // The run's own pack, elsewhere, is not another data set.
    let copy = folder.path().join("copy.safetensors");
    fs::copy(glyphs(), &copy).unwrap();
    on(&copy, &[]).success().stdout(contains(", on synthetic)"));
    assert!(run.join("evaluation-test-support.json").exists());
}

#[test]
fn a_moved_run_finds_its_pack_by_its_contents() {
    let folder = tempfile::tempdir().unwrap();
    let [before, after] = ["before", "after"].map(|name| folder.path().join(name));
    fs::create_dir_all(before.join("data")).unwrap();
    let path = before.join("data/own.safetensors");
    write_glyphs(&path, 3);
    let own = data_pack(&path);
    train(
        &before,
        "runs/run",
        &[&ONE_STEP[..], &["--set", &own]].concat(),
    )
    .assert()
    .success();
    fs::rename(&before, &after).unwrap();
    let run = after.join("runs/run");
    let renamed = after.join("data/renamed.safetensors");
    fs::rename(after.join("data/own.safetensors"), &renamed).unwrap();
    write_glyphs(&after.join("data/another.safetensors"), 4);
    let found = format!("using {}", renamed.display());
    evaluate(&[&run], &["--episodes", "4"])
        .success()
        .stderr(contains("before/data/own.safetensors is missing").and(contains(&*found)));
    let bundle = |code| {
        let mut command = hypertransformer();
        command.arg("bundle").arg(&run).arg("--output");
        command.arg(folder.path().join(format!("{code}.safetensors")));
        command.assert().code(code)
    };
    bundle(0).stderr(contains(&*found));
    let away = folder.path().join("away.safetensors");
    fs::rename(&renamed, &away).unwrap();
    let missing = || {
        contains("no pack with the same images and splits is in ")
            .and(contains(after.join("data").to_str().unwrap()))
            .and(contains("evaluate --pack FILE"))
    };
    evaluate(&[&run], &[]).code(1).stderr(missing());
    bundle(1).stderr(missing());
    evaluate(
        &[&run],
        &["--episodes", "4", "--pack", away.to_str().unwrap()],
    )
    .success()
    .stdout(contains(", on synthetic)"));
}

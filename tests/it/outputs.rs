//! Which files commands replace and which they keep, and arguments that make no sense.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::common::runs::{ONE_STEP, STEPS, finished_run, train};
use crate::common::{glyphs, hypertransformer};
use predicates::prelude::*;
use predicates::str::contains;

/// Evaluates the run in `folder`.
fn evaluate(folder: &Path, episodes: &str, more: &[&OsStr]) -> assert_cmd::assert::Assert {
    let mut command = hypertransformer();
    command.arg("evaluate").arg(folder.join("run"));
    command.args(["--episodes", episodes]).args(more).assert()
}

#[test]
fn an_evaluation_replaces_neither_other_files_nor_a_longer_evaluation() {
    let folder = tempfile::tempdir().unwrap();
    finished_run(folder.path(), "run");
    for name in ["run.json", "metrics.json"] {
        let output = folder.path().join("run").join(name);
        let [run, metrics] = ["run.json", "metrics.jsonl"]
            .map(|name| fs::read(folder.path().join("run").join(name)).unwrap());
        evaluate(
            folder.path(),
            "4",
            &["--output".as_ref(), output.as_os_str()],
        )
        .code(1)
        .stderr(contains("exists and is not an evaluation"));
        assert!(run == fs::read(folder.path().join("run/run.json")).unwrap());
        assert!(metrics == fs::read(folder.path().join("run/metrics.jsonl")).unwrap());
    }
    evaluate(folder.path(), "6", &[]).success();
    evaluate(folder.path(), "6", &[]).success();
    evaluate(folder.path(), "4", &[])
        .code(1)
        .stderr(contains("has an evaluation of 6 episodes"));
}

#[test]
fn contact_sheets_and_episode_lists_replace_only_files_of_their_kind() {
    let folder = tempfile::tempdir().unwrap();
    let pack = folder.path().join("pack.safetensors");
    fs::copy(glyphs(), &pack).unwrap();
    let before = fs::read(&pack).unwrap();
    let ask = |what: &[&str], output: &Path| {
        let mut command = hypertransformer();
        command.args(what).arg(&pack).arg("--output").arg(output);
        command.assert()
    };
    let preview = ["data", "preview"];
    let export = ["episodes", "export", "--way", "5", "--episodes", "3"];
    ask(&preview, &pack)
        .code(1)
        .stderr(contains("ends in .png"));
    ask(&export, &pack)
        .code(1)
        .stderr(contains("is not a list of episodes"));
    assert!(before == fs::read(&pack).unwrap());
    let [text, picture, list] =
        ["notes.png", "classes.png", "list.safetensors"].map(|name| folder.path().join(name));
    fs::write(&text, "notes").unwrap();
    ask(&preview, &text)
        .code(1)
        .stderr(contains("is not a PNG"));
    for _ in 0..2 {
        ask(&preview, &picture).success();
        ask(&export, &list).success();
    }
}

#[test]
fn force_removes_what_a_run_writes_and_keeps_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    finished_run(folder.path(), "run");
    let run = folder.path().join("run");
    evaluate(folder.path(), "4", &[]).success();
    fs::create_dir(run.join("evaluation-mine")).unwrap();
    fs::write(run.join("evaluation-notes.txt"), "mine").unwrap();
    fs::create_dir(run.join("analysis")).unwrap();
    fs::write(run.join("analysis/adaptation.json"), "{}").unwrap();
    fs::write(run.join("analysis/notes.txt"), "mine").unwrap();
    train(folder.path(), "run", &["--force"])
        .args(ONE_STEP)
        .assert()
        .success();
    for kept in [
        "evaluation-mine",
        "evaluation-notes.txt",
        "analysis/notes.txt",
    ] {
        assert!(run.join(kept).exists(), "{kept}");
    }
    for gone in ["evaluation-test-support.json", "analysis/adaptation.json"] {
        assert!(!run.join(gone).exists(), "{gone}");
    }
}

/// However early a run ends, its configuration and the parameters it started from are kept.
#[test]
fn a_run_that_failed_in_its_first_step_can_be_resumed() {
    let folder = tempfile::tempdir().unwrap();
    finished_run(folder.path(), "run");
    let best = folder.path().join("run/checkpoints/best.safetensors");
    let start = format!("train.start_from={}", best.display());
    // After the first step the loss is not finite: the run ends before it saves anything of its own.
    let more = ["--set", &*start, "--set", "train.learning_rate=1e38"];
    let more = [&more[..], &["--set", "train.warmup_steps=0"]].concat();
    train(folder.path(), "run", &[&["--force"], &more[..]].concat())
        .assert()
        .code(1);
    assert!(!best.exists());
    train(folder.path(), "run", &[&["--resume"], &more[..]].concat())
        .assert()
        .code(1)
        .stderr(contains(format!("steps 0 to {STEPS}")));
    // Files of a process that was killed before the folder became a run.
    let early = folder.path().join("early");
    fs::create_dir(&early).unwrap();
    fs::write(early.join(".partial-x"), "").unwrap();
    fs::write(early.join("run.json"), "{}").unwrap();
    train(folder.path(), "early", &ONE_STEP).assert().success();
}

#[test]
fn file_names_need_not_be_utf_8() {
    let folder = tempfile::tempdir().unwrap();
    finished_run(folder.path(), "run");
    let output = folder.path().join(OsStr::from_bytes(b"e\xff.json"));
    evaluate(
        folder.path(),
        "4",
        &["--output".as_ref(), output.as_os_str()],
    )
    .success();
    assert!(output.exists());
    let run = folder.path().join(OsStr::from_bytes(b"r\xff"));
    fs::rename(folder.path().join("run"), &run).unwrap();
    let mut command = hypertransformer();
    command.arg("evaluate").arg(&run).args(["--episodes", "4"]);
    command.assert().success();
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let pack = folder.path().join("pack.safetensors");
    let pack = pack.to_str().unwrap();
    let synthetic = ["data", "import", "synthetic", "--output", pack];
    let oracle = [
        "analyze",
        "oracle",
        "experiments/synthetic.yaml",
        "--learning-rate",
    ];
    let inspect = ["inspect", "experiments/synthetic.yaml", "--image"];
    for (words, more, message) in [
        (&synthetic[..], &["--size", "0"][..], "1 to 1024 pixels"),
        (&synthetic, &["--from", "nowhere"], "--from does not apply"),
        (&synthetic, &["--channels", "3"], "--channels applies to"),
        (&oracle, &["nan"], "expected a number more than 0"),
        (&inspect, &["1x28x28xfoo"], "e.g. 1x28x28"),
        (&inspect, &["0x28x28"], "e.g. 1x28x28"),
        (&["bench"], &["--episodes", "0"], "--episodes"),
    ] {
        let mut command = hypertransformer();
        command.args(words).args(more);
        command.assert().failure().stderr(contains(message));
    }
    assert!(!Path::new(pack).exists());
}

#[test]
fn the_earlier_spelling_of_output_is_accepted_but_not_shown() {
    for command in ["generate", "bundle"] {
        let mut given = hypertransformer();
        given.args([command, "nowhere", "--out", "mine"]);
        if command == "generate" {
            given.args(["--support", "nowhere"]);
        }
        given.assert().code(1).stderr(
            contains("error: nowhere does not exist (relative to ").and(contains("\nhint: ")),
        );
        let mut help = hypertransformer();
        help.args([command, "--help"]);
        help.assert()
            .success()
            .stdout(contains("--output <").and(contains("--out <").not()));
    }
}

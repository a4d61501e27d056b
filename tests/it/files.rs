//! Which files are read at all: regular ones of bounded size, named as the user wrote them.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::common::runs::{ONE_STEP, finished_run, train};
use crate::common::{hypertransformer, repository};
use predicates::prelude::*;
use predicates::str::contains;

const MODEL: &str = "models/omniglot-20way.safetensors";
const SUPPORT: &str = "examples/glyphs/support";
const PICTURE: &str = "examples/glyphs/query/glyph0001/4.png";

/// How long a command may wait for a file before a test calls that blocked.
const LONG: Duration = Duration::from_secs(60);

/// The commands that read `file`, each with what it takes it for.
fn readers(file: &Path) -> Vec<(&'static str, assert_cmd::Command)> {
    let file = file.to_str().unwrap();
    let list = ["generate", MODEL, "--list", file];
    let words: [(&str, &[&str]); 6] = [
        ("experiment", &["inspect", file]),
        ("experiment", &["train", file, "--run-dir", "nowhere"]),
        ("pack", &["data", "info", file]),
        ("CNN", &["classify", file, PICTURE]),
        ("list", &list),
        (
            "model",
            &[
                "generate",
                file,
                "--support",
                SUPPORT,
                "--output",
                "nowhere",
            ],
        ),
    ];
    let command = |words: &[&str]| {
        let mut command = hypertransformer();
        command.args(words).timeout(LONG);
        command
    };
    let commands = words.map(|(what, words)| (what, command(words)));
    commands.into_iter().collect()
}

#[test]
fn pipes_devices_and_folders_are_told_by_name_and_nothing_waits_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    for (file, kind) in [
        (&*pipe, "a named pipe"),
        (Path::new("/dev/zero"), "a device"),
        (folder.path(), "a folder"),
    ] {
        for (what, mut command) in readers(file) {
            // A folder may be a run.
            if (what, kind) != ("model", "a folder") {
                let named = contains(file.to_str().unwrap());
                let told = contains(kind).or(contains("is not a run folder"));
                command.assert().failure().stderr(named.and(told));
            }
        }
    }
    let pictures = folder.path().join("pictures");
    for name in ["a/1", "a/2.png"] {
        let path = pictures.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::rename(&pipe, &path).unwrap();
        let mut command = hypertransformer();
        command.args([
            "generate",
            "models/omniglot-20way.safetensors",
            "--output",
            "no",
        ]);
        command.arg("--support").arg(&pictures).timeout(LONG);
        command.assert().code(1).stderr(contains("pictures"));
        fs::rename(&path, &pipe).unwrap();
    }
    let run = finished_run(folder.path(), "run");
    for name in ["checkpoints/last.safetensors", "run.json", "config.yaml"] {
        let path = run.join(name);
        let kept = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::rename(&pipe, &path).unwrap();
        let mut command = train(folder.path(), "run", &["--resume"]);
        let told = contains(name).and(contains("a named pipe"));
        command.timeout(LONG).assert().failure().stderr(told);
        fs::rename(&path, &pipe).unwrap();
        fs::write(&path, kept).unwrap();
    }
}

#[test]
fn a_file_larger_than_its_kind_can_be_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large.yaml");
    // The file has a size but takes no room on the disk.
    File::create(&file).unwrap().set_len((8 << 30) + 1).unwrap();
    for (what, mut command) in readers(&file) {
        let refused = command.assert().failure();
        if what != "pack" {
            refused.stderr(contains(
                "it has 8589934593 bytes, expected at most".to_owned(),
            ));
        }
    }
}

#[test]
fn what_is_missing_is_called_missing_and_where_it_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let place = format!("(relative to {})", folder.path().display());
    let support = repository(SUPPORT);
    let generate = ["generate", "no-such.safetensors", "--output", "x"];
    for words in [&generate[..], &["evaluate", "no-such"]] {
        let mut command = hypertransformer();
        command.current_dir(folder.path()).args(words);
        if words[0] == "generate" {
            command.arg("--support").arg(&support);
        }
        let told = contains(format!("{} does not exist {place}", words[1]));
        command.assert().code(1).stderr(told);
    }
    fs::write(folder.path().join("x.yaml"), "data: {pack: none}\n").unwrap();
    for words in [&["train", "x.yaml"][..], &["inspect", "x.yaml"]] {
        let mut command = hypertransformer();
        command.current_dir(folder.path()).args(words);
        let told = contains("the pack none").and(contains(&*place));
        command.assert().code(1).stderr(told);
    }
}

#[test]
fn the_included_model_is_found_from_another_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = hypertransformer();
    command.current_dir(folder.path());
    command.args(["generate", MODEL, "--output", "mine", "--support"]);
    command.arg(repository(SUPPORT)).assert().success();
    assert!(folder.path().join("mine.onnx").exists());
}

#[test]
fn a_tilde_is_the_home_folder_in_arguments_and_in_experiments() {
    let folder = tempfile::tempdir().unwrap();
    let text = "data: {pack: ~/packs/mine}\ntrain: {start_from: ~/start}\n";
    fs::write(folder.path().join("x.yaml"), text).unwrap();
    fs::write(folder.path().join("y.yaml"), "extends: ~/x.yaml\n").unwrap();
    let mut command = hypertransformer();
    command.env("HOME", folder.path());
    command.args(["inspect", "~/y.yaml", "--image=1x28x28"]);
    let path = |name: &str| contains(folder.path().join(name).display().to_string());
    let found = path("packs/mine").and(path("start"));
    command.assert().success().stdout(found);
    let mut command = hypertransformer();
    command.env("HOME", folder.path());
    command.args(["generate", MODEL, "--support", SUPPORT, "--output=~/mine"]);
    command.assert().success();
    assert!(folder.path().join("mine.onnx").exists());
}

#[test]
fn a_warm_up_that_is_not_shorter_than_the_training_is_shortened_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let more = [&ONE_STEP[..2], &["--set", "train.warmup_steps=1"]].concat();
    train(folder.path(), "run", &more)
        .assert()
        .success()
        .stderr(contains(
            "train.warmup_steps: 1 is not less than train.steps (1): the learning rate rises for 0 steps",
        ));
    let mut command = hypertransformer();
    command.args(["inspect", "experiments/synthetic.yaml", "--image=1x28x28"]);
    command.args(["--set=train.steps=50", "--set=train.warmup_steps=80"]);
    let told = contains("the learning rate rises for 5 steps");
    command.assert().success().stderr(told);
}

//! Run folders: their files are neither lost nor mixed with files of another run, configuration or pack.

use std::fs::{self, File};

use crate::common::runs::{
    CHECKPOINT_EVERY, ONE_STEP, STEPS, finished_run, last_checkpoint, train,
};
use crate::common::{data_pack, hypertransformer, write_glyphs};
use predicates::prelude::*;
use predicates::str::contains;

#[test]
fn a_run_is_never_overwritten_silently() {
    let folder = tempfile::tempdir().unwrap();
    finished_run(folder.path(), "run");
    let before = last_checkpoint(folder.path(), "run");
    train(folder.path(), "run", &[])
        .assert()
        .code(1)
        .stderr(contains("--resume").and(contains("--force")));
    let other = ["--resume", "--set", "train.seed=7"];
    train(folder.path(), "run", &other)
        .assert()
        .code(1)
        .stderr(contains("train.seed: started with 0, now 7"));
    train(folder.path(), "run", &["--resume"])
        .assert()
        .success()
        .stderr(contains("nothing left to do"));
    assert!(before == last_checkpoint(folder.path(), "run"));
    train(folder.path(), "run", &["--force"])
        .args(ONE_STEP)
        .assert()
        .success();
    assert!(before != last_checkpoint(folder.path(), "run"));
}

#[test]
fn a_folder_with_other_files_is_refused_even_with_force() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("photos")).unwrap();
    fs::write(folder.path().join("photos/cat.png"), "cat").unwrap();
    train(folder.path(), "photos", &["--force"])
        .assert()
        .code(1)
        .stderr(contains("holds no run"));
    assert!(folder.path().join("photos/cat.png").exists());
}

#[test]
fn a_run_stopped_before_its_first_step_can_be_resumed() {
    let folder = tempfile::tempdir().unwrap();
    finished_run(folder.path(), "whole");
    let config = fs::read(folder.path().join("whole/config.yaml")).unwrap();
    fs::create_dir(folder.path().join("stopped")).unwrap();
    fs::write(folder.path().join("stopped/config.yaml"), config).unwrap();
    let resume = ["--resume"];
    train(folder.path(), "stopped", &resume).assert().success();
    assert!(last_checkpoint(folder.path(), "whole") == last_checkpoint(folder.path(), "stopped"));
}

/// A process that is killed while it makes its folder leaves the first of these, or of a replaced run's, and no more.
#[test]
fn what_a_killed_start_leaves_is_no_run_that_is_in_the_way() {
    let whole = tempfile::tempdir().unwrap();
    let source = finished_run(whole.path(), "whole");
    let expected = last_checkpoint(whole.path(), "whole");
    let (config, facts) = ("config.yaml", "run.json");
    for left in [
        &[][..],
        &[".partial-1"],
        &[config],
        &[config, facts],
        &[config, facts, "checkpoints/.partial-2"],
        &[
            config,
            facts,
            "checkpoints/.partial-2",
            "metrics.jsonl",
            "events.out.tfevents.1.host.1.0",
        ],
        &[facts],
    ] {
        for option in [&[][..], &["--resume"], &["--force"]] {
            let folder = tempfile::tempdir().unwrap();
            let run = folder.path().join("run");
            fs::create_dir(&run).unwrap();
            for name in left {
                fs::create_dir_all(run.join(name).parent().unwrap()).unwrap();
                let bytes = fs::read(source.join(name)).unwrap_or_default();
                let bytes = if *name == "metrics.jsonl" {
                    Vec::new()
                } else {
                    bytes
                };
                fs::write(run.join(name), bytes).unwrap();
            }
            let resumed = [option, &["--quiet"]].concat();
            train(folder.path(), "run", &resumed).assert().success();
            assert!(
                expected == last_checkpoint(folder.path(), "run"),
                "{left:?} {option:?}"
            );
            let names = fs::read_dir(&run)
                .unwrap()
                .map(|entry| entry.unwrap().file_name());
            let partial =
                |name: &std::ffi::OsString| name.to_string_lossy().starts_with(".partial");
            assert_eq!(names.filter(partial).count(), 0, "{left:?} {option:?}");
            assert_eq!(fs::read_dir(run.join("checkpoints")).unwrap().count(), 4);
        }
    }
}

#[test]
fn a_run_whose_checkpoints_are_gone_is_not_replaced_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished_run(folder.path(), "run");
    fs::remove_dir_all(run.join("checkpoints")).unwrap();
    train(folder.path(), "run", &[])
        .assert()
        .code(1)
        .stderr(contains("already holds a run"));
    assert!(fs::metadata(run.join("metrics.jsonl")).unwrap().len() > 0);
}

#[test]
fn a_run_can_start_from_the_parameters_of_another_unless_shapes_differ() {
    let folder = tempfile::tempdir().unwrap();
    let best = finished_run(folder.path(), "first").join("checkpoints/best.safetensors");
    let start = format!("train.start_from={}", best.display());
    let more = [
        &ONE_STEP[..],
        &["--set", &start],
        &["--set", "episode.shot=3"],
        &["--set", "train.learning_rate=1e-12"],
    ]
    .concat();
    train(folder.path(), "second", &more).assert().success();
    // With so small a learning rate φ does not change.
    let phi = |run: &str| {
        let bytes = last_checkpoint(folder.path(), run);
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        tensors
            .tensor("phi.cnn.layer1.kernel")
            .unwrap()
            .data()
            .to_vec()
    };
    let started = fs::read(&best).unwrap();
    let started = safetensors::SafeTensors::deserialize(&started).unwrap();
    assert_eq!(
        started.tensor("phi.cnn.layer1.kernel").unwrap().data(),
        phi("second")
    );
    // Parameters that the first run lacks start at their initial values, and the program says so.
    let more = [
        &more[..],
        &["--set", "generator.generates=last 1"],
        &["--set", "generator.learned_base=true"],
    ]
    .concat();
    train(folder.path(), "generating", &more)
        .assert()
        .success()
        .stderr(contains(
            "parameters that it does not have: `generator.layer4.",
        ));
    assert_eq!(phi("second"), phi("generating"));
    let other = ["--set", &start, "--set", "cnn.channels=4"];
    train(folder.path(), "third", &other)
        .assert()
        .code(1)
        .stderr(contains("belongs to another configuration"));
}

#[test]
fn resuming_with_other_settings_of_a_layer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    finished_run(folder.path(), "run");
    let dropout = "generator.per_layer.logits.dropout=0.1";
    let other = ["--resume", "--set", dropout];
    train(folder.path(), "run", &other)
        .assert()
        .code(1)
        .stderr(contains(
            "generator.per_layer.logits.dropout: started with null, now 0.1",
        ));
}

/// Before `train.weight_decay_on` existed, weight decay acted on all of φ; runs of that time lack the key.
#[test]
fn a_run_from_before_weight_decay_on_resumes_only_with_decay_on_all() {
    let folder = tempfile::tempdir().unwrap();
    let all = [&ONE_STEP[..], &["--set", "train.weight_decay_on=all"]].concat();
    train(folder.path(), "run", &all).assert().success();
    let config = folder.path().join("run/config.yaml");
    let text = fs::read_to_string(&config).unwrap();
    let older = text.replace("  weight_decay_on: all\n", "");
    assert!(older.len() < text.len());
    fs::write(&config, older).unwrap();
    train(folder.path(), "run", &["--resume"])
        .args(ONE_STEP)
        .assert()
        .code(1)
        .stderr(contains(
            r#"train.weight_decay_on: started with "all", now "matrices""#,
        ));
    // The checkpoint says the same as such a configuration, so there is nothing to warn of.
    let mut evaluate = hypertransformer();
    evaluate.arg("evaluate").arg(folder.path().join("run"));
    evaluate
        .args(["--episodes", "4"])
        .assert()
        .success()
        .stderr(contains("was edited").not());
    let resume = [&["--resume"], &all[..]].concat();
    train(folder.path(), "run", &resume).assert().success();
}

#[test]
fn a_run_without_its_last_checkpoint_is_not_restarted() {
    let folder = tempfile::tempdir().unwrap();
    finished_run(folder.path(), "run");
    let last = folder.path().join("run/checkpoints/last.safetensors");
    let metrics = folder.path().join("run/metrics.jsonl");
    let step = STEPS / CHECKPOINT_EVERY * CHECKPOINT_EVERY;
    let kept = format!("step-{step}.safetensors");
    fs::remove_file(&last).unwrap();
    let before = fs::read(&metrics).unwrap();
    train(folder.path(), "run", &["--resume"])
        .assert()
        .code(1)
        .stderr(contains("last.safetensors is missing").and(contains(&*kept)));
    assert!(before == fs::read(&metrics).unwrap());
    fs::copy(last.with_file_name(kept), &last).unwrap();
    train(folder.path(), "run", &["--resume"])
        .assert()
        .success()
        .stderr(contains(format!("steps {step} to {STEPS}")));
}

#[test]
fn an_unreadable_start_removes_no_run_and_a_start_inside_the_run_is_read_first() {
    let folder = tempfile::tempdir().unwrap();
    finished_run(folder.path(), "run");
    let before = last_checkpoint(folder.path(), "run");
    let wrong = ["--force", "--set", "train.start_from=nowhere.safetensors"];
    train(folder.path(), "run", &wrong)
        .assert()
        .code(1)
        .stderr(contains(
            "train.start_from: nowhere.safetensors: expected a checkpoint",
        ));
    assert!(before == last_checkpoint(folder.path(), "run"));
    let best = folder.path().join("run/checkpoints/best.safetensors");
    let start = format!("train.start_from={}", best.display());
    train(folder.path(), "run", &["--force", "--set", &start])
        .args(ONE_STEP)
        .assert()
        .success();
    // A failed first attempt leaves no folder that would stop the second.
    train(folder.path(), "new", &wrong[1..]).assert().code(1);
    train(folder.path(), "new", &ONE_STEP).assert().success();
}

#[test]
fn two_trainings_do_not_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    finished_run(folder.path(), "run");
    let before = last_checkpoint(folder.path(), "run");
    let directory = File::open(folder.path().join("run")).unwrap();
    directory.lock().unwrap();
    for option in ["--resume", "--force"] {
        train(folder.path(), "run", &[option])
            .assert()
            .code(1)
            .stderr(contains("another process trains there"));
    }
    assert!(before == last_checkpoint(folder.path(), "run"));
}

#[test]
fn a_run_refuses_a_changed_pack() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.safetensors");
    write_glyphs(&path, 0);
    let pack = data_pack(&path);
    let own = [&ONE_STEP[..], &["--set", &pack]].concat();
    train(folder.path(), "run", &own).assert().success();
    write_glyphs(&path, 1);
    let refused = contains("its images differ");
    train(folder.path(), "run", &[&["--resume"], &own[..]].concat())
        .assert()
        .code(1)
        .stderr(refused.clone());
    let run = folder.path().join("run");
    let bundle = folder.path().join("bundle.safetensors");
    let glyphs = [
        "--support",
        "examples/glyphs/support",
        "--output",
        "nowhere",
    ];
    for (command, more) in [("evaluate", &[][..]), ("generate", &glyphs)] {
        let mut program = hypertransformer();
        program.arg(command).arg(&run).args(more);
        program.assert().code(1).stderr(refused.clone());
    }
    let mut program = hypertransformer();
    program.arg("bundle").arg(&run).arg("--output").arg(&bundle);
    program.assert().code(1).stderr(refused);
    assert!(!bundle.exists());
}

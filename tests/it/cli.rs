//! The program as users run it: training, interruption, evaluation, errors.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

use crate::common::runs::{finished_run, last_checkpoint, train};
use crate::common::{hypertransformer, hypertransformer_process, repository};
use predicates::prelude::*;
use predicates::str::contains;

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    for threads in ["1", "2", "3"] {
        train(folder.path(), threads, &["--threads", threads])
            // Four batches a step, so that a third thread has work.
            .args(["--set", "train.tasks_together=1", "--set", "train.steps=10"])
            .args(["--set", "generator.generates=last 1"])
            .args(["--set", "generator.dropout=0.1"])
            .args(["--set", "generator.feature_dropout=0.1"])
            .assert()
            .success();
    }
    let one = last_checkpoint(folder.path(), "1");
    assert!(
        one == last_checkpoint(folder.path(), "2"),
        "2 threads differ from 1"
    );
    assert!(
        one == last_checkpoint(folder.path(), "3"),
        "3 threads differ from 1"
    );
}

/// The training loss in the last line of the metrics.
fn last_loss(folder: &Path, run: &str) -> f64 {
    let metrics = std::fs::read_to_string(folder.join(run).join("metrics.jsonl")).unwrap();
    let mut losses = metrics.lines().filter_map(|line| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["train/loss"].as_f64()
    });
    losses.next_back().unwrap()
}

/// On processors without reduced precision both runs are the same.
#[test]
fn training_with_reduced_precision_learns_as_well_and_the_run_records_it() {
    let folder = tempfile::tempdir().unwrap();
    finished_run(folder.path(), "full");
    let reduced = ["--set", "train.precision=reduced"];
    train(folder.path(), "reduced", &reduced).assert().success();
    let loss = |run| last_loss(folder.path(), run);
    let difference = loss("full") - loss("reduced");
    assert!(difference.abs() < 0.05, "losses differ by {difference}");
    let config = std::fs::read_to_string(folder.path().join("reduced/config.yaml")).unwrap();
    assert!(config.contains("precision: reduced"), "{config}");
}

#[cfg(unix)]
#[test]
fn a_killed_and_resumed_run_gives_the_bits_of_an_uninterrupted_one() {
    let folder = tempfile::tempdir().unwrap();
    finished_run(folder.path(), "whole");
    // Killed by SIGKILL once its first checkpoint exists.
    let mut child = hypertransformer_process()
        .args(train(folder.path(), "killed", &[]).get_args())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let last = folder.path().join("killed/checkpoints/last.safetensors");
    while !last.exists() {
        assert!(
            child.try_wait().unwrap().is_none() || last.exists(),
            "ended without a checkpoint"
        );
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    train(folder.path(), "killed", &["--resume"])
        .assert()
        .success();
    let last = |run| last_checkpoint(folder.path(), run);
    assert!(last("whole") == last("killed"));
    // The metrics report each step once, in order.
    let steps = |run: &str| -> Vec<u64> {
        let text = std::fs::read_to_string(folder.path().join(run).join("metrics.jsonl")).unwrap();
        let objects = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        objects
            .map(|object| object["step"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(steps("whole"), steps("killed"));
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_a_checkpoint_and_exits_with_130() {
    let folder = tempfile::tempdir().unwrap();
    let endless = train(folder.path(), "run", &["--set", "train.steps=100000"]);
    let mut program = hypertransformer_process();
    program.args(endless.get_args()).stderr(Stdio::piped());
    // SAFETY: `signal` is allowed between fork and exec. The tests may run in a script's background job, which ignores
    // Ctrl-C, and so would the program.
    unsafe {
        program.pre_exec(|| {
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            Ok(())
        });
    }
    let child = program.spawn().unwrap();
    let last = folder.path().join("run/checkpoints/last.safetensors");
    while !last.exists() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let id = child.id().to_string();
    let signal = std::process::Command::new("kill")
        .args(["-INT", &id])
        .status();
    assert!(signal.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let stderr = String::from_utf8_lossy(&output.stderr);
    let step = stderr
        .split("interrupted after step ")
        .nth(1)
        .expect(&stderr);
    let step: u64 = step.split(',').next().unwrap().parse().unwrap();
    let bytes = std::fs::read(last).unwrap();
    let header = safetensors::SafeTensors::read_metadata(&bytes).unwrap().1;
    let facts = header.metadata().as_ref().unwrap().values().next().unwrap();
    let facts: serde_json::Value = serde_json::from_str(facts).unwrap();
    assert_eq!(facts["step"], step);
}

#[test]
fn evaluation_gives_the_same_summary_and_records_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished_run(folder.path(), "run");
    let evaluate = |threads: &str| {
        let mut command = hypertransformer();
        command
            .arg("evaluate")
            .arg(&run)
            .args(["--episodes", "70", "--threads", threads]);
        command
            .assert()
            .success()
            .stdout(contains("95 % interval, batch-norm support"));
        let text = |name: &str| std::fs::read_to_string(run.join(name)).unwrap();
        (
            text("evaluation-test-support.json"),
            text("evaluation-test-support.jsonl"),
        )
    };
    let (summary, records) = evaluate("1");
    assert_eq!(records, evaluate("2").1);
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    let accuracies: Vec<f64> = records
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|record| record["accuracy"].as_f64().unwrap())
        .collect();
    assert_eq!(accuracies.len(), 70);
    let mean = accuracies.iter().sum::<f64>() / 70.0;
    assert!((summary["accuracy_mean"].as_f64().unwrap() - mean).abs() < 1e-12);
    for key in [
        "accuracy_ci95",
        "episodes",
        "split",
        "batch_norm",
        "seed",
        "checkpoint_step",
    ] {
        assert!(!summary[key].is_null(), "{key}");
    }
    // An evaluation with overlapping queries says so wherever its accuracy stands, and has its own file.
    let mut command = hypertransformer();
    command.arg("evaluate").arg(&run);
    // 20 shots are all images of a class, so only overlapping queries are possible.
    command.args(["--episodes", "20", "--overlapping", "--shot", "20"]);
    command
        .assert()
        .success()
        .stdout(contains("queries overlap the support").and(contains("20-shot")));
    let name = "evaluation-test-support-20shot-overlapping.json";
    let text = std::fs::read_to_string(run.join(name));
    assert!(
        text.unwrap()
            .contains("\"query_sampling\": \"overlapping\"")
    );
    // So does one of another checkpoint or seed.
    let mut command = hypertransformer();
    command.arg("evaluate").arg(&run);
    command.args(["--episodes", "20", "--checkpoint", "last", "--seed", "7"]);
    command.assert().success();
    let name = "evaluation-test-support-last-seed7";
    assert!(run.join(format!("{name}.json")).exists());
    assert!(run.join(format!("{name}.jsonl")).exists());
    let kept = std::fs::read_to_string(run.join("evaluation-test-support.jsonl"));
    assert_eq!(kept.unwrap(), records);
}

#[test]
fn an_evaluation_and_its_records_go_to_two_files() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished_run(folder.path(), "run");
    let evaluate = |output: &str| {
        let mut command = hypertransformer();
        command.arg("evaluate").arg(&run);
        command.args(["--episodes", "2", "--output"]);
        command.arg(folder.path().join(output)).assert()
    };
    for output in ["results.jsonl", "results-v1.0", "results"] {
        let message = format!("{output}: expected a name that ends in .json");
        evaluate(output).code(1).stderr(contains(message));
        assert!(!folder.path().join(output).exists());
    }
    evaluate("results-v1.0.json").success();
    let records = std::fs::read_to_string(folder.path().join("results-v1.0.jsonl"));
    assert_eq!(records.unwrap().lines().count(), 2);
}

const MODEL: &str = "models/omniglot-20way.safetensors";
const GLYPHS: &str = "examples/glyphs/support";

#[test]
fn a_card_says_why_it_has_no_accuracy() {
    let folder = tempfile::tempdir().unwrap();
    let single = folder.path().join("single");
    for class in std::fs::read_dir(repository(GLYPHS)).unwrap() {
        let class = class.unwrap().path();
        let copy = single.join(class.file_name().unwrap());
        std::fs::create_dir_all(&copy).unwrap();
        std::fs::copy(class.join("1.png"), copy.join("1.png")).unwrap();
    }
    let list = folder.path().join("tasks.csv");
    let several = repository(GLYPHS);
    let several = several.display();
    let rows = format!("support,output\n{several},several\nsingle,single\n");
    std::fs::write(&list, rows).unwrap();
    let mut command = hypertransformer();
    command.args(["generate", MODEL, "--list"]).arg(&list);
    command.assert().success();
    for (name, expected) in [
        ("several", "not measured with `generate --list`"),
        ("single", "not known: no class has two pictures"),
    ] {
        let card = std::fs::read(folder.path().join(format!("{name}.json"))).unwrap();
        let card: serde_json::Value = serde_json::from_slice(&card).unwrap();
        assert!(card["held_out"].is_null());
        let message = card["held_out_missing"].as_str().unwrap();
        assert!(message.starts_with(expected), "{message}");
        let page = std::fs::read_to_string(folder.path().join(format!("{name}.html")));
        assert!(page.unwrap().contains(message));
    }
}

#[test]
fn evaluate_folder_replaces_only_its_own_results() {
    let folder = tempfile::tempdir().unwrap();
    let mine = folder.path().join("mine");
    let mut command = hypertransformer();
    command.args(["generate", MODEL, "--support", GLYPHS, "--output"]);
    command.arg(&mine).assert().success();
    let evaluate = |output: &str| {
        let mut command = hypertransformer();
        command.arg("evaluate-folder");
        command.arg(mine.with_extension("onnx"));
        command.args(["examples/glyphs/query", "--output"]);
        command.arg(folder.path().join(output)).assert()
    };
    let card = std::fs::read(mine.with_extension("json")).unwrap();
    evaluate("mine.onnx")
        .code(1)
        .stderr(contains("mine.json exists").and(contains("--output")));
    assert!(card == std::fs::read(mine.with_extension("json")).unwrap());
    std::fs::write(folder.path().join("cat.png"), "cat").unwrap();
    evaluate("cat").code(1).stderr(contains("cat.png exists"));
    evaluate("result").success();
    evaluate("result").success();
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_saves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let extra = [
        "--set",
        "train.optimizer=sgd",
        "--set",
        "train.learning_rate=1e30",
        "--set",
        "train.clip_norm=null",
    ];
    train(folder.path(), "run", &extra).assert().code(1).stderr(
        contains("is not finite at step")
            .and(contains("episodes"))
            .and(contains("checkpoint")),
    );
}

#[test]
fn errors_in_a_configuration_exit_with_code_2_and_without_a_backtrace() {
    hypertransformer()
        .args([
            "train",
            "experiments/synthetic.yaml",
            "--set",
            "train.stpes=3",
        ])
        .assert()
        .code(2)
        .stderr(contains("did you mean `train.steps`?").and(contains("panicked").not()));
}

#[test]
fn the_error_for_a_missing_pack_names_the_files_and_the_import_command() {
    for (experiment, pack, files, source) in [
        (
            "omniglot-1shot-8ch",
            "omniglot",
            "images_background.zip",
            "omniglot",
        ),
        (
            "tiered-imagenet-1shot-8ch",
            "tiered-imagenet",
            "_images_png.pkl",
            "tiered-imagenet",
        ),
        ("mini-imagenet-1shot-8ch", "cub", "CUB_200_2011.tgz", "cub"),
    ] {
        let pack = format!("nowhere/{pack}.safetensors");
        let next = format!("hypertransformer data import {source} --from FOLDER --output {pack}");
        hypertransformer()
            .args(["train", &format!("experiments/table1/{experiment}.yaml")])
            .args(["--set", &format!("data.pack={pack}")])
            .assert()
            .code(1)
            .stderr(contains(files).and(contains(next)));
    }
}

#[test]
fn images_too_small_for_the_network_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "run", &["--set", "cnn.layers=5"])
        .assert()
        .code(1)
        .stderr(contains("cnn.layers: 5"));
}

#[test]
fn doctor_finds_nothing_wrong() {
    hypertransformer()
        .arg("doctor")
        .assert()
        .success()
        .stdout(contains("2.13"));
}

#[test]
fn inspect_shows_sizes_and_costs_without_a_pack() {
    let output = hypertransformer()
        .args([
            "inspect",
            "experiments/table1/omniglot-1shot-8ch.yaml",
            "--json",
        ])
        .args(["--image", "1x28x28", "--set", "generator.generates=last 1"])
        .args(["--set", "generator.learned_base=true"])
        .assert()
        .success();
    let found: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    let (model, layers) = (&found["model"], &found["model"]["layers"]);
    // By hand: weights times places of the output.
    for (layer, weights, places) in [(0, 72, 784), (1, 576, 196), (2, 576, 49), (3, 576, 9)] {
        assert_eq!(layers[layer]["weights"], weights);
        assert_eq!(layers[layer]["multiply_adds"], weights * places);
    }
    assert_eq!(layers[4]["weights"], 20 * 9);
    assert_eq!(model["cnn_weights"], 72 + 3 * 576 + 180);
    assert_eq!(model["theta"], 576 + 180);
    let generator = &layers[3]["generator"];
    assert_eq!(
        (&generator["slices"], &generator["slice_length"]),
        (&8.into(), &72.into())
    );
    // d + the slice; 20 samples of 8 + 32 features: on 3×3 maps a second convolution of h no longer fits.
    assert_eq!(generator["weight_token"], 32 + 72);
    assert_eq!(
        (&generator["samples"], &generator["features"]),
        (&20.into(), &40.into())
    );
    // 28 tokens of 104 numbers: what two whole layers make, and a third that is asked for 8 tokens; h_φ's one place, twice.
    let kept = (2 * 9 * 28 + 7 * 8 + 2 * 28) * 104 + 20 * 2 * 8;
    assert_eq!(generator["kept_bytes"], 4 * kept);
    assert_eq!(generator["transformer_layers"], serde_json::json!([3]));
    assert_eq!(layers[3]["learned"], true);
    assert_eq!(found["experiment"]["generator"]["generates"], "last 1");
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_is_not_an_error() {
    let mut program = hypertransformer_process()
        .args([
            "inspect",
            "experiments/synthetic.yaml",
            "--image",
            "1x28x28",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(program.stdout.take());
    let output = program.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn inspect_prints_the_resolved_configuration_and_the_layers() {
    hypertransformer()
        .args([
            "inspect",
            "experiments/synthetic.yaml",
            "--image",
            "1x28x28",
        ])
        .assert()
        .success()
        .stdout(contains("tasks_per_step: 4").and(contains("8×3×3        8×1×1")));
}

//! A run over several processes: what may change between them, and what `run.json` tells of them.

use std::fs;
use std::path::Path;

use crate::common::glyphs;
use crate::common::hypertransformer;
use crate::common::runs::{STEPS, finished_run, tensors, train};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

/// Two phases after the first: other queries and images, then another schedule.
const PHASES: &str = "train.phases=[\
    {steps: 8, settings: {episode: {query_sampling: overlapping, jitter: {rotation: 3}}, train: {learning_rate: 0.002}}}, \
    {steps: 6, settings: {train: {schedule: decay, masking: {labeled: 0.1}}}}]";

/// `train RUN --resume`: nothing but the folder.
fn resume(run: &Path, extra: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = hypertransformer();
    command.arg("train").arg(run).arg("--resume").args(extra);
    command.assert()
}

/// The recorded numbers that do not depend on time.
fn numbers(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| {
        let mut line: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        line.retain(|tag, _| !tag.starts_with("speed/") && !tag.starts_with("time/"));
        Value::Object(line)
    });
    lines.collect()
}

fn sessions(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("run.json")).unwrap();
    let record: Value = serde_json::from_str(&text).unwrap();
    record["sessions"].as_array().unwrap().clone()
}

#[test]
fn a_moved_run_with_a_moved_pack_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let whole = finished_run(folder.path(), "whole");
    let pack = folder.path().join("pack.safetensors");
    fs::copy(glyphs(), &pack).unwrap();
    let place = format!("data.pack={}", pack.display());
    let started = ["--set", &place, "--until-step", "7"];
    train(folder.path(), "part", &started)
        .assert()
        .success()
        .stderr(contains("stopped after step 7"));
    let moved = folder.path().join("elsewhere/moved");
    fs::create_dir_all(folder.path().join("elsewhere/data")).unwrap();
    fs::rename(folder.path().join("part"), &moved).unwrap();
    let renamed = folder.path().join("elsewhere/data/renamed.safetensors");
    fs::rename(&pack, &renamed).unwrap();
    resume(&moved, &["--until-step", "12"])
        .success()
        .stderr(contains("pack.safetensors is missing: using"));
    resume(&moved, &["--set", "data.pack=misspelt.safetensors"])
        .code(1)
        .stderr(contains("the pack misspelt.safetensors is missing"));
    let place = format!("data.pack={}", glyphs().display());
    resume(&moved, &["--set", &place]).success();
    assert!(tensors(&whole) == tensors(&moved));
    assert_eq!(numbers(&whole), numbers(&moved));
    let sessions = sessions(&moved);
    let steps: Vec<_> = sessions.iter().map(|session| &session["steps"]).collect();
    assert_eq!(
        serde_json::json!(steps),
        serde_json::json!([[0, 7], [7, 12], [12, STEPS]])
    );
    for session in &sessions {
        assert!(session["cpu_seconds"].as_f64().unwrap() > 0.0, "{session}");
        assert!(session["wall_seconds"].as_f64().unwrap() > 0.0, "{session}");
        assert!(!session["host"].as_str().unwrap().is_empty(), "{session}");
    }
    let [first, second] = [1, 2].map(|number| &sessions[number]["changes"]["data.pack"]);
    assert!(
        first[1]
            .as_str()
            .unwrap()
            .ends_with("elsewhere/data/renamed.safetensors")
    );
    assert!(second[1] == glyphs().display().to_string());
}

#[test]
fn time_is_added_up_over_sessions() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "run", &["--until-step", "12"])
        .assert()
        .success();
    let run = folder.path().join("run");
    resume(&run, &[]).success();
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let seconds: Vec<f64> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["time/cpu_seconds"].clone())
        .map(|seconds| seconds.as_f64().unwrap())
        .collect();
    assert!(seconds.is_sorted(), "{seconds:?}");
    let first = sessions(&run)[0]["cpu_seconds"].as_f64().unwrap();
    assert!(seconds.last().unwrap() > &first);
}

#[test]
fn a_finished_run_goes_on_with_more_steps_at_another_rate() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished_run(folder.path(), "run");
    let changes = [
        "--change",
        "train.steps=30",
        "--change",
        "train.learning_rate=0.001",
    ];
    resume(&run, &changes)
        .success()
        .stderr(contains("steps 20 to 30"));
    let last = &sessions(&run)[1];
    assert_eq!(last["steps"], serde_json::json!([STEPS, 30]));
    assert_eq!(
        last["changes"]["train.steps"],
        serde_json::json!([STEPS, 30])
    );
    // The change stays.
    resume(&run, &[])
        .success()
        .stderr(contains("already has all its 30 steps"));
    train(folder.path(), "run", &["--resume"])
        .assert()
        .code(1)
        .stderr(contains("train.steps: started with 30, now 20").and(contains("--change")));
}

#[test]
fn only_steps_rate_and_schedule_may_change() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished_run(folder.path(), "run");
    let before = fs::read(run.join("config.yaml")).unwrap();
    for (option, setting, expected) in [
        (
            "--change",
            "cnn.channels=9",
            "`cnn.channels` cannot be changed",
        ),
        (
            "--set",
            "cnn.channels=9",
            "cnn.channels: started with 8, now 9",
        ),
        ("--set", "train.steps=30", "--change"),
    ] {
        let found = resume(&run, &[option, setting]).failure();
        found.stderr(contains(expected));
    }
    assert!(before == fs::read(run.join("config.yaml")).unwrap());
}

#[test]
fn an_edited_configuration_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished_run(folder.path(), "run");
    let config = run.join("config.yaml");
    let text = fs::read_to_string(&config).unwrap();
    let edited = text
        .replace("seed: 0", "seed: 1")
        .replace("batch_norm: support", "batch_norm: query");
    assert!(text != edited);
    fs::write(&config, edited).unwrap();
    resume(&run, &[])
        .code(1)
        .stderr(contains("was edited").and(contains("train.seed: started with 0, now 1")));
    let mut evaluate = hypertransformer();
    evaluate.arg("evaluate").arg(&run).args(["--episodes", "4"]);
    evaluate
        .assert()
        .success()
        .stderr(contains("was edited").and(contains("batch_norm: started with \"support\"")));
}

/// Whatever the step: within a phase, at its end, or at the start of the next.
#[test]
fn phases_resume_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let phases = ["--set", PHASES];
    train(folder.path(), "whole", &phases)
        .assert()
        .success()
        .stderr(
            contains("phase 2 of 3: steps 20 to 28").and(contains("phase 3 of 3: steps 28 to 34")),
        );
    let whole = folder.path().join("whole");
    for step in ["13", "20", "21", "28", "33"] {
        let name = format!("stopped-{step}");
        let until = [&phases[..], &["--until-step", step]].concat();
        train(folder.path(), &name, &until).assert().success();
        let run = folder.path().join(&name);
        resume(&run, &[]).success();
        assert!(tensors(&whole) == tensors(&run), "{step}");
        assert_eq!(numbers(&whole), numbers(&run), "{step}");
    }
}

/// The first phase is a training without phases, and a later one has its own rate, schedule and optimizer.
#[test]
fn a_phase_starts_like_a_run_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let plain = finished_run(folder.path(), "plain");
    let until = ["--set", PHASES, "--until-step", "20"];
    train(folder.path(), "phases", &until).assert().success();
    let run = folder.path().join("phases");
    assert!(tensors(&plain) == tensors(&run));
    resume(&run, &[]).success();
    let rates: Vec<(u64, f64)> = numbers(&run)
        .iter()
        .filter_map(|line| {
            let rate = line.get("train/learning_rate")?.as_f64()?;
            Some((line["step"].as_u64()?, rate))
        })
        .collect();
    let rate = |step| rates.iter().find(|(at, _)| *at == step).unwrap().1;
    // Five steps of warm-up, then a half cosine over three; `decay` starts at the highest rate.
    assert!((rate(25) - 0.002).abs() < 1e-12, "{rates:?}");
    assert!(rate(34) > 0.005, "{rates:?}");
    let steps = &tensors(&run)["optimizer.steps"];
    assert_eq!(i64::from_le_bytes(steps[..].try_into().unwrap()), 6);
}

#[test]
fn faults_of_phases_are_told() {
    let folder = tempfile::tempdir().unwrap();
    for (phases, expected) in [
        ("[{steps: 0}]", "train.phases[1].steps: 0: expected 1 to"),
        (
            "[{steps: 1, settings: {cnn: {channels: 4}}}]",
            "cnn.channels: expected one of episode.query",
        ),
        (
            "[{steps: 1, settings: {train: {learning_rate: -1}}}]",
            "train.phases[1].settings.train.learning_rate: -1",
        ),
        (
            "[{steps: 1, settings: {train: {learning_rat: 1}}}]",
            "train.learning_rat",
        ),
        ("[{step: 1}]", "unknown field `step`"),
    ] {
        let set = format!("train.phases={phases}");
        train(folder.path(), "run", &["--set", &set])
            .assert()
            .failure()
            .stderr(contains(expected));
    }
}

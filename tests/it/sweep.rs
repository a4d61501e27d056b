//! `sweep`: the runs of a grid, each in a process of its own, whatever happens to the sweep.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::common::runs::{finished_run, settings, tensors};
use crate::common::{hypertransformer, hypertransformer_process, repository};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

/// The runs of `words`.
const NAMES: [&str; 4] = [
    "channels=4-seed0",
    "channels=8-seed0",
    "channels=4-seed1",
    "channels=8-seed1",
];

/// Number of test episodes.
const EPISODES: &str = "20";

/// A sweep of two widths and two seeds in the folder `output`, with the settings of `common::runs`.
fn words(output: &Path) -> Vec<String> {
    let mut words: Vec<String> = ["sweep", "experiments/synthetic.yaml", "--output"]
        .map(str::to_owned)
        .to_vec();
    words.push(output.display().to_string());
    words.extend(settings());
    let rest = "--grid cnn.channels=4,8 --seeds 2 --threads 1 --device cpu";
    words.extend(rest.split(' ').map(str::to_owned));
    words
}

/// The same as a command, outside of any Slurm array.
fn sweep(output: &Path, more: &[&str]) -> assert_cmd::Command {
    let mut command = hypertransformer();
    command.args(words(output)).args(more);
    if !more.contains(&"--episodes") {
        command.args(["--episodes", EPISODES]);
    }
    command.env_remove("SLURM_ARRAY_TASK_ID");
    command
}

/// A sweep that was left alone, made once per test program; no test changes it.
fn whole() -> &'static Path {
    static PATH: LazyLock<PathBuf> = LazyLock::new(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("whole-sweep");
        let _ = fs::remove_dir_all(&path);
        sweep(&path, &["--training-accuracy"]).assert().success();
        path
    });
    &PATH
}

/// A copy of runs of `whole` in `folder`.
fn copied(folder: &Path, names: &[&str]) -> PathBuf {
    let target = folder.join("sweep");
    for name in names {
        for part in ["", "checkpoints"] {
            let (from, to) = (whole().join(name).join(part), target.join(name).join(part));
            fs::create_dir_all(&to).unwrap();
            for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
                if entry.path().is_file() {
                    fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
                }
            }
        }
    }
    target
}

fn text(run: &Path, name: &str) -> String {
    let path = run.join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// When each file below a folder was changed.
fn times(folder: &Path) -> BTreeMap<PathBuf, std::time::SystemTime> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut found = BTreeMap::new();
    for entry in entries {
        if entry.path().is_dir() {
            found.extend(times(&entry.path()));
        } else {
            found.insert(entry.path(), entry.metadata().unwrap().modified().unwrap());
        }
    }
    found
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(120), "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn runs_are_trained_and_evaluated_on_the_same_episodes() {
    let names: BTreeSet<String> = fs::read_dir(whole())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, NAMES.map(str::to_owned).into());
    let alone = tempfile::tempdir().unwrap();
    let alone = finished_run(alone.path(), "alone");
    assert!(tensors(&alone) == tensors(&whole().join("channels=8-seed0")));
    assert!(tensors(&alone) != tensors(&whole().join("channels=8-seed1")));
    for part in ["test", "train"] {
        let facts = NAMES.map(|name| -> [Value; 6] {
            let text = text(
                &whole().join(name),
                &format!("evaluation-{part}-support.json"),
            );
            let facts: Value = serde_json::from_str(&text).unwrap();
            let keys = [
                "episodes",
                "seed",
                "split",
                "batch_norm",
                "query",
                "pack_content_hash",
            ];
            keys.map(|key| facts[key].clone())
        });
        assert_eq!(facts[0][0].to_string(), EPISODES);
        assert!(facts.iter().all(|other| *other == facts[0]), "{facts:?}");
    }
}

#[test]
fn a_second_call_does_nothing_and_prints_the_command_of_the_table() {
    let before = times(whole());
    let assert = sweep(whole(), &["--training-accuracy"]).assert().success();
    assert!(before == times(whole()));
    let output = assert.get_output();
    let shown = String::from_utf8_lossy(&output.stderr);
    for name in NAMES {
        assert!(
            shown.contains(&format!("{name}: test accuracy ")),
            "{shown}"
        );
    }
    let command = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(command.contains("/* --by cnn.channels\n"), "{command}");
    let table = std::process::Command::new("sh")
        .args(["-c", &command])
        .current_dir(repository(""))
        .output()
        .unwrap();
    assert!(table.status.success(), "{table:?}");
    let table = String::from_utf8(table.stdout).unwrap();
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 4, "{table}");
    for (row, channels) in [(2, "| 4 |"), (3, "| 8 |")] {
        assert!(rows[row].starts_with(channels), "{table}");
        assert!(rows[row].contains("| 2 | 20 | support |"), "{table}");
    }
    // Other episodes are another evaluation of the same runs.
    let dry = sweep(whole(), &["--dry-run", "--episodes", "30"]);
    assert_eq!(lines(dry).len(), 4);
}

/// The lines that a command prints on stdout.
fn lines(mut command: assert_cmd::Command) -> Vec<String> {
    let output = command.assert().success().get_output().stdout.clone();
    let text = String::from_utf8(output).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn shards_are_disjoint_and_complete_and_their_commands_run_in_a_shell() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("it's a sweep");
    let all = lines(sweep(&output, &["--dry-run"]));
    assert_eq!(all.len(), 4);
    let mut shared: Vec<String> = (1..=3)
        .flat_map(|number| {
            lines(sweep(
                &output,
                &["--dry-run", "--shard", &format!("{number}/3")],
            ))
        })
        .collect();
    let mut tasks: Vec<String> = ["7", "8", "9"]
        .into_iter()
        .flat_map(|task| {
            let mut command = sweep(&output, &["--dry-run"]);
            command.env("SLURM_ARRAY_TASK_ID", task);
            command.env("SLURM_ARRAY_TASK_MIN", "7");
            command.env("SLURM_ARRAY_TASK_COUNT", "3");
            lines(command)
        })
        .collect();
    let mut sorted = all.clone();
    for list in [&mut sorted, &mut shared, &mut tasks] {
        list.sort();
    }
    assert_eq!(sorted, shared);
    assert_eq!(sorted, tasks);
    let mut command = sweep(&output, &["--dry-run"]);
    command.env("SLURM_ARRAY_TASK_ID", "1");
    command.env_remove("SLURM_ARRAY_TASK_COUNT");
    command.assert().code(1).stderr(contains("--shard I/N"));
    assert!(!output.exists());
    let shell = std::process::Command::new("sh")
        .args(["-c", &all[1]])
        .current_dir(repository(""))
        .output()
        .unwrap();
    assert!(shell.status.success(), "{shell:?}");
    assert!(tensors(&output.join(NAMES[1])) == tensors(&whole().join(NAMES[1])));
    assert_eq!(lines(sweep(&output, &["--dry-run"])).len(), 3);
}

#[test]
fn a_run_that_is_invalid_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("sweep");
    for (more, code, message) in [
        (
            ["--grid", "generator.heads=2,0"],
            2,
            "heads=0-seed0 is invalid",
        ),
        (["--grid", "generator.head=2"], 2, "did you mean"),
        (
            ["--grid", "cnn.channels=2"],
            2,
            "--grid cnn.channels is given twice",
        ),
        (
            ["--grid", "train.steps=1,2"],
            2,
            "both in --grid and in --set",
        ),
        (["--set", "train.seed=1"], 2, "--seeds"),
        (["--grid", "cnn.layers"], 2, "expected KEY=A,B"),
        (
            ["--grid", "generator.heads=1,1"],
            1,
            "have the same settings",
        ),
        (
            ["--grid", "cnn.layers=2,9"],
            1,
            "layers=9-seed0 cannot be trained",
        ),
        (["--grid", "validation.episodes=1"], 2, "both in --grid"),
        (["--set", "episode.way=50"], 1, "cannot be trained"),
    ] {
        let assert = sweep(&output, &more).assert().code(code);
        assert.stderr(contains(message).and(contains("panicked").not()));
    }
    assert!(!output.exists());
}

#[test]
fn a_run_with_other_settings_is_not_taken_for_a_run_of_the_sweep() {
    sweep(whole(), &["--set", "train.learning_rate=0.5"])
        .assert()
        .code(1)
        .stderr(contains("train.learning_rate").and(contains("hint: name another folder")));
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("sweep").join(NAMES[2]);
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("cat.png"), "cat").unwrap();
    sweep(&folder.path().join("sweep"), &[])
        .assert()
        .code(1)
        .stderr(contains("is not empty and holds no run"));
}

#[test]
fn a_run_that_fails_is_reported_and_the_others_are_done() {
    let folder = tempfile::tempdir().unwrap();
    let output = copied(folder.path(), &NAMES);
    let [broken, unmeasured] = [NAMES[0], NAMES[3]].map(|name| output.join(name));
    fs::write(broken.join("checkpoints/last.safetensors"), "nothing").unwrap();
    fs::remove_file(unmeasured.join("evaluation-test-support.json")).unwrap();
    sweep(&output, &[]).assert().code(1).stderr(
        contains("channels=4-seed0: failed, exit code 1")
            .and(contains("is not a complete checkpoint"))
            .and(contains("1 run failed:\n  channels=4-seed0"))
            .and(contains("left to do: 1 of 4 runs")),
    );
    assert!(text(&broken, "sweep.log").contains("is not a complete checkpoint"));
    let records = "evaluation-test-support.jsonl";
    assert_eq!(
        text(&unmeasured, records),
        text(&whole().join(NAMES[3]), records)
    );
}

#[test]
fn a_run_that_another_process_trains_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let output = copied(folder.path(), &NAMES[..3]);
    let run = output.join(NAMES[3]);
    fs::create_dir(&run).unwrap();
    let lock = File::open(&run).unwrap();
    lock.lock().unwrap();
    sweep(&output, &[])
        .assert()
        .success()
        .stderr(contains("channels=8-seed1: skipped").and(contains("left to do: 1 of 4 runs")));
    drop(lock);
    sweep(&output, &[]).assert().success();
    assert!(tensors(&run) == tensors(&whole().join(NAMES[3])));
}

/// A sweep that is not waited for, two runs at a time, which save each step. Its messages go to the file `said`.
fn start(output: &Path, said: &Path, more: &[&str]) -> Child {
    let mut command = hypertransformer_process();
    command
        .args(words(output))
        .args(["--episodes", EPISODES, "--jobs", "2"])
        .args(["--set", "train.checkpoint_minutes=1e-9"])
        .args(more)
        .env_remove("SLURM_ARRAY_TASK_ID")
        .stdout(Stdio::null())
        .stderr(File::create(said).unwrap());
    command.spawn().unwrap()
}

/// The processes that a process has started.
fn children(process: &Child) -> Vec<i32> {
    let id = process.id();
    let text = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    text.split_whitespace()
        .map(|id| id.parse().unwrap())
        .collect()
}

fn send(process: i32, signal: i32) {
    // SAFETY: the call only sends a signal.
    unsafe { libc::kill(process, signal) };
}

fn is_running(process: i32) -> bool {
    let state = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    !state.is_empty() && !state.contains(") Z ")
}

/// Number of lines of the log that a run has recorded.
fn recorded(run: &Path) -> usize {
    fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}

#[test]
fn a_killed_sweep_ends_as_one_that_was_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("sweep");
    // Killed when two runs are being trained, and again, when the other two are.
    for runs in [&NAMES[..2], &NAMES[2..]] {
        let mut process = start(&output, &folder.path().join("said"), &[]);
        wait_for("both are trained", || {
            runs.iter().all(|run| recorded(&output.join(run)) > 0)
        });
        let both = children(&process);
        process.kill().unwrap();
        both.iter().for_each(|child| send(*child, libc::SIGKILL));
        process.wait().unwrap();
        wait_for("their end", || !both.iter().any(|child| is_running(*child)));
    }
    sweep(&output, &["--training-accuracy"]).assert().success();
    for name in NAMES {
        let [run, alone] = [&output, &whole().to_path_buf()].map(|sweep| sweep.join(name));
        assert!(tensors(&run) == tensors(&alone), "{name}");
        for part in ["test", "train"] {
            let records = format!("evaluation-{part}-support.jsonl");
            assert_eq!(text(&run, &records), text(&alone, &records), "{name}");
        }
    }
}

/// SIGTERM reaches the sweep alone, as from `kill`; SIGKILL lets it do nothing more.
#[test]
fn runs_are_saved_when_their_sweep_is_stopped_or_killed() {
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("sweep");
        let said = folder.path().join("said");
        // No checkpoint by time, so that the one that is found was saved because of the signal.
        let endless = "--set train.checkpoint_minutes=100 --set train.checkpoint_every=100000 \
                       --set validation.every=100000 --set train.steps=100000";
        let endless: Vec<&str> = endless.split(' ').collect();
        let mut process = start(&output, &said, &endless);
        let runs = [NAMES[0], NAMES[1]].map(|name| output.join(name));
        wait_for("both are trained", || {
            runs.iter().all(|run| recorded(run) > 0)
        });
        let both = children(&process);
        send(process.id().cast_signed(), signal);
        let status = process.wait().unwrap();
        wait_for("their end", || !both.iter().any(|child| is_running(*child)));
        for run in &runs {
            let record: Value = serde_json::from_str(&text(run, "run.json")).unwrap();
            let steps = record["sessions"][0]["steps"][1].as_u64().unwrap();
            assert!(steps >= 5, "{record}");
            assert!(text(run, "sweep.log").contains("a checkpoint is saved"));
        }
        if signal == libc::SIGTERM {
            assert_eq!(status.code(), Some(130));
            let said = fs::read_to_string(said).unwrap();
            assert!(said.contains("hint: the same command goes on"), "{said}");
            assert!(!said.contains("failed"), "{said}");
            assert_eq!(fs::read_dir(&output).unwrap().count(), 2);
        }
    }
}

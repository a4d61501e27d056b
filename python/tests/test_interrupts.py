"""Trainings that are interrupted or lose their terminal, and output that cannot be written."""

import json
import os
import pty
import signal
import subprocess
import time

import pytest
from program import BINARY, ROOT, overrides, train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

FULL = "/dev/full"

# Checkpoints by time alone, one a step; lines of the log between validations.
SETTINGS = {
    "train.steps": 60,
    "train.log_every": 7,
    "train.checkpoint_every": 100_000,
    "train.checkpoint_minutes": 1e-9,
    "validation.every": 30,
}


@pytest.fixture(scope="module")
def whole(glyphs, tmp_path_factory):
    """A run that was not interrupted."""
    return train(tmp_path_factory.mktemp("whole") / "run", glyphs, SETTINGS)


def start(run, pack, settings=None, **arguments):
    """Start a training that is not waited for."""
    words = [*training(run, pack, settings), "--quiet"]
    return subprocess.Popen([BINARY, *words], cwd=ROOT, preexec_fn=heed_signals, **arguments)


def heed_signals():
    """Undo what a script's background job or nohup has set: the tests may run in one."""
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(one, signal.SIG_DFL)


def training(run, pack, settings=None):
    """The words of a training's command line."""
    chosen = overrides(pack, SETTINGS | (settings or {}))
    return ["train", "experiments/synthetic.yaml", "--run-dir", str(run), *chosen]


def wait_for(condition):
    """Wait until something is true."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


def lines(run):
    """The recorded numbers, without those that depend on time."""
    path = run / "metrics.jsonl"
    if not path.exists():
        return []
    objects = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
    timed = ("speed/", "time/")
    return [{k: v for k, v in found.items() if not k.startswith(timed)} for found in objects]


def checkpoint(run, name="last"):
    """The bytes of a checkpoint."""
    return (run / "checkpoints" / f"{name}.safetensors").read_bytes()


def assert_same(run, whole):
    """A run is, after its resume, one that was not interrupted."""
    assert checkpoint(run) == checkpoint(whole)
    assert checkpoint(run, "best") == checkpoint(whole, "best")
    assert lines(run) == lines(whole)


def test_a_killed_run_that_is_resumed_reports_the_same_numbers_once(glyphs, whole, tmp_path):
    run = tmp_path / "run"
    process = start(run, glyphs)
    wait_for(lambda: len(lines(run)) >= 2)
    process.kill()
    process.wait()
    train(run, glyphs, SETTINGS, "--resume")
    assert_same(run, whole)
    events = EventAccumulator(str(run))
    events.Reload()
    for tag in ("train/loss", "train/accuracy", "train/gradient_norm", "validation/accuracy"):
        shown = [event.step for event in events.Scalars(tag)]
        assert shown == [line["step"] for line in lines(run) if tag in line]


def test_a_run_whose_terminal_goes_away_is_saved(glyphs, whole, tmp_path):
    run = tmp_path / "run"
    process, terminal = pty.fork()
    if process == 0:
        heed_signals()
        os.chdir(ROOT)
        os.execv(BINARY, [BINARY, *training(run, glyphs)])
    os.set_blocking(terminal, False)

    def read():
        try:
            os.read(terminal, 1 << 16)
        except BlockingIOError:
            pass
        return len(lines(run)) >= 2

    wait_for(read)
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    train(run, glyphs, SETTINGS, "--resume")
    assert_same(run, whole)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_in_a_validation_saves_the_step_and_its_resume_validates(glyphs, sent, tmp_path):
    settings = {"train.steps": 40, "validation.every": 7, "validation.episodes": 400}
    whole = train(tmp_path / "whole", glyphs, SETTINGS | settings)
    run = tmp_path / "run"
    process = start(run, glyphs, settings)
    # The line of the log at the step of a validation is written before the validation.
    wait_for(lambda: len(lines(run)) == 3)
    process.send_signal(sent)
    assert process.wait() == 130
    train(run, glyphs, SETTINGS | settings, "--resume")
    assert_same(run, whole)


@pytest.mark.parametrize("change", ["cut", "overwrite"])
def test_a_pack_that_changes_under_a_training_ends_it(glyphs, whole, change, tmp_path):
    pack, run = tmp_path / "pack.safetensors", tmp_path / "run"
    pack.write_bytes(glyphs.read_bytes())
    # So long that it does not end before the change.
    endless = {"train.steps": 100_000, "validation.every": 100_000}
    settings = endless | {"train.checkpoint_minutes": 0.02}
    process = start(run, pack, settings, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(lines(run)) >= 3)
    with open(pack, "r+b") as file:
        if change == "cut":
            file.truncate(1000)
        else:
            file.seek(-1000, os.SEEK_END)
            file.write(bytes(1000))
    _, error = process.communicate()
    assert process.returncode == 1, error
    assert ("became shorter" if change == "cut" else "was overwritten") in error
    assert "--resume" in error


def test_signals_that_were_ignored_at_the_start_stay_ignored(glyphs, whole, tmp_path):
    run = tmp_path / "run"
    words = [BINARY, *training(run, glyphs), "--quiet"]
    ignoring = ["sh", "-c", 'trap "" INT HUP; exec "$@"', "sh", *words]
    process = subprocess.Popen(ignoring, cwd=ROOT)
    wait_for(lambda: lines(run))
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 0
    assert_same(run, whole)


def test_a_second_signal_ends_a_training_at_once(glyphs, tmp_path):
    run = tmp_path / "run"
    # A step of seconds, which the first signal waits for.
    process = start(run, glyphs, {"train.tasks_per_step": 2000}, stderr=subprocess.PIPE)
    wait_for(lambda: (run / "checkpoints" / "last.safetensors").exists())
    before = checkpoint(run)
    process.send_signal(signal.SIGTERM)
    assert process.stderr.readline() == b"\n"
    assert b"press Ctrl-C again" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 130
    assert checkpoint(run) == before


def test_a_sweep_that_tells_a_training_too_does_not_make_a_second_signal(glyphs, tmp_path):
    run = tmp_path / "run"
    # A step of seconds, in which all signals come.
    process = start(run, glyphs, {"train.tasks_per_step": 2000}, stderr=subprocess.PIPE)
    last = run / "checkpoints" / "last.safetensors"
    wait_for(last.exists)
    before = checkpoint(run)
    for sent in (signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR1):
        process.send_signal(sent)
        time.sleep(0.05)
    assert process.wait() == 130
    assert checkpoint(run) != before


def test_messages_that_cannot_be_written_stop_nothing(glyphs, whole, tmp_path):
    pack = tmp_path / "pack.safetensors"
    evaluation = tmp_path / "evaluation.json"
    for words in [
        training(tmp_path / "run", glyphs, {"train.steps": 6, "train.log_every": 1}),
        ["evaluate", whole, "--episodes", "8", "--output", evaluation],
        ["data", "import", "synthetic", "--output", pack],
        ["analyze", "attention", whole],
    ]:
        with open(FULL, "w") as full:
            command = subprocess.run(
                [BINARY, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=full
            )
        assert command.returncode == 0, words
    with open(FULL, "w") as full:
        command = subprocess.run([BINARY, "data", "info", "absent"], cwd=ROOT, stderr=full)
    assert command.returncode == 1


def test_a_result_that_cannot_be_written_is_a_plain_error(glyphs, whole, tmp_path):
    evaluation = tmp_path / "evaluation.json"
    for words in [
        ["data", "info", glyphs],
        ["data", "catalog"],
        ["doctor"],
        ["inspect", "experiments/synthetic.yaml", "--image", "1x28x28"],
        ["evaluate", whole, "--episodes", "8", "--output", evaluation],
        ["serve", "--port", "0"],
    ]:
        with open(FULL, "w") as full:
            command = subprocess.run(
                [BINARY, *words], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True
            )
        assert command.returncode == 1, words
        assert "could not write the result" in command.stderr
        assert "bug" not in command.stderr

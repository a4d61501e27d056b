"""Kills the program at random moments and lets its writes fail: nothing may be lost.

`make torture KILLS=200` prints what was done and how often something was wrong. What must hold: a
training that was killed or refused, started again until it ends, gives the bytes and the recorded
numbers of one that was left alone; files of other commands are whole or absent; nothing incomplete
is left in the end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BINARY = ROOT / "target" / "release" / "hypertransformer"

# Checkpoints by time alone, one a step, so that kills meet all kinds of saves.
SETTINGS = {
    "episode.way": 5,
    "train.steps": 40,
    "train.warmup_steps": 5,
    "train.log_every": 7,
    "train.checkpoint_every": 16,
    "train.checkpoint_minutes": 1e-9,
    "validation.every": 20,
    "validation.episodes": 8,
}

# Fails the FAIL_AT-th write, rename or synchronisation of a file, and all that follow, as on a full
# disk. With FAIL_AT=0 it only counts, and writes the number to the file COUNT_TO at the end.
FAILING_DISK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_long calls;

static int fails(void) {
    const char *at = getenv("FAIL_AT");
    long call = atomic_fetch_add(&calls, 1) + 1, first = at ? atol(at) : 0;
    if (first == 0 || call < first) return 0;
    errno = ENOSPC;
    return 1;
}

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

ssize_t write(int fd, const void *data, size_t size) {
    if (fd > 2 && fails()) return -1;
    return ((ssize_t (*)(int, const void *, size_t))next("write"))(fd, data, size);
}

int rename(const char *from, const char *to) {
    if (fails()) return -1;
    return ((int (*)(const char *, const char *))next("rename"))(from, to);
}

int fsync(int fd) {
    if (fails()) return -1;
    return ((int (*)(int))next("fsync"))(fd);
}

__attribute__((destructor)) static void count(void) {
    const char *path = getenv("COUNT_TO");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) {
        fprintf(file, "%ld", atomic_load(&calls));
        fclose(file);
    }
}
"""


@dataclass
class Torture:
    """What was done, and what was wrong."""

    folder: Path
    random: random.Random
    kills: int = 0
    refusals: int = 0
    faults: list[str] = field(default_factory=list)

    def __post_init__(self):
        """Make a pack, a run that is left alone, and what other commands make of it."""
        self.pack = self.folder / "pack.safetensors"
        ended(self.importing(self.pack))
        ended(self.training("whole"))
        self.expected = of_run(self.folder / "whole")
        self.seconds = timed(lambda: ended(self.training("timed")))

    def importing(self, pack):
        """The words of an import."""
        return ["data", "import", "synthetic", "--output", str(pack)]

    def training(self, run, *more):
        """The words of a training."""
        settings = {"data.pack": self.pack} | SETTINGS
        chosen = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        words = ["train", "experiments/synthetic.yaml", "--run-dir", str(self.folder / run)]
        return [*words, *chosen, *more]

    def check(self, correct, what):
        """Count a fault."""
        if not correct:
            self.faults.append(what)
            print(f"fault: {what}", flush=True)

    def check_run(self, run):
        """Compare a run with the one that was left alone."""
        (numbers, files), (expected, whole) = of_run(self.folder / run), self.expected
        names = [name for name in whole if files.get(name) != whole[name]]
        self.check(files == whole, f"{run}: other checkpoints: {names or sorted(files)}")
        lines = [line for line in numbers if line not in expected]
        self.check(numbers == expected, f"{run}: other numbers: {lines or len(numbers)}")

    def kill_trainings(self, kills):
        """Kill trainings until they have ended by themselves, each with `--resume`."""
        number = 0
        while self.kills < kills:
            number += 1
            run, end = f"killed-{number}", None
            while end is None:
                words = self.training(run, *self.option(self.folder / run))
                end = self.killed(words, self.random.random() * self.seconds)
            self.check(end == 0, f"{run}: ended with {end}")
            self.check_run(run)
            self.check(not leftovers(self.folder / run), f"{run}: incomplete files are left")

    def option(self, run):
        """How a training may be started again; before its first checkpoint in any way."""
        if (run / "checkpoints" / "last.safetensors").exists():
            return ["--resume"]
        return self.random.choice([[], ["--resume"], ["--force"]] if run.exists() else [[]])

    def kill_commands(self, kills):
        """Kill imports, evaluations and generations; what they leave is whole or absent."""
        output = self.folder / "made"
        output.mkdir()
        generate = [
            *("generate", "models/omniglot-20way.safetensors"),
            *("--support", "examples/glyphs/support", "--force", "--output", str(output / "cnn")),
        ]
        evaluate = [
            *("evaluate", str(self.folder / "whole"), "--episodes", "64"),
            *("--output", str(output / "evaluation.json")),
        ]
        pack = output / "pack.safetensors"
        for words in (self.importing(pack), generate, evaluate):
            seconds = timed(lambda words=words: ended(words))
            expected = made(output)
            for _ in range(kills):
                importing = words[1] == "import"
                if importing:
                    pack.unlink(missing_ok=True)
                self.killed(words, self.random.random() * seconds)
                found = made(output)
                whole = all(found[name] == expected[name] for name in found)
                self.check(whole, f"{words[0]}: a file is not whole")
                # An import replaces nothing.
                if not (importing and pack.exists()):
                    ended(words)
                self.check(made(output) == expected, f"{words[0]}: other files")
                self.check(not leftovers(output), f"{words[0]}: incomplete files are left")

    def fail_writes(self, library, most):
        """Let every write from the n-th on fail, for up to `most` n spread over a training."""
        count = self.folder / "count"
        variables = {"LD_PRELOAD": str(library), "COUNT_TO": str(count)}
        ended(self.training("counted"), variables)
        calls = int(count.read_text())
        for n in sorted(self.random.sample(range(1, calls + 1), min(most, calls))):
            run = f"refused-{n}"
            command = [BINARY, *self.training(run)]
            failing = os.environ | {"LD_PRELOAD": str(library), "FAIL_AT": str(n)}
            found = subprocess.run(command, cwd=ROOT, env=failing, capture_output=True, text=True)
            self.refusals += 1
            plain = found.returncode == 1 and "error: " in found.stderr
            self.check(plain and "bug" not in found.stderr, f"{run}: {found.stderr[-300:]}")
            ended(self.training(run, "--resume"))
            self.check_run(run)
            self.check(not leftovers(self.folder / run), f"{run}: incomplete files are left")

    def close_log(self):
        """Close the pipe that a training's messages go to."""
        words = [BINARY, *self.training("closed")]
        process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE)
        process.stderr.readline()
        process.stderr.close()
        self.check(process.wait() == 0, "a closed log ended a training")
        self.check_run("closed")

    def killed(self, words, seconds):
        """Run a command and kill it after this time; None if it was killed, else its exit code."""
        process = subprocess.Popen(
            [BINARY, *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            self.kills += 1
            return None


def timed(work):
    """The seconds that some work takes."""
    start = time.monotonic()
    work()
    return time.monotonic() - start


def ended(words, variables=None):
    """Run a command that must succeed."""
    environment = os.environ | (variables or {})
    subprocess.run([BINARY, *words], cwd=ROOT, env=environment, check=True, capture_output=True)


def recorded(run):
    """The recorded numbers of a run that do not depend on time."""
    path = run / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    objects = [json.loads(line) for line in lines]
    timed = ("speed/", "time/")
    return [{k: v for k, v in found.items() if not k.startswith(timed)} for found in objects]


def of_run(run):
    """What must be the same however often a run was killed."""
    checkpoints = sorted((run / "checkpoints").glob("*.safetensors"))
    return recorded(run), {path.name: path.read_bytes() for path in checkpoints}


def made(folder):
    """The files of a folder, without the times and commands in them."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        found[path.name] = path.read_bytes() if path.suffix in (".onnx", ".safetensors") else None
        if path.suffix == ".json":
            json.loads(path.read_text())
    return found


def leftovers(folder):
    """Incomplete files in a folder and those below it."""
    return list(folder.rglob(".partial-*"))


def failing_disk(folder):
    """Compile the library that lets writes fail; None without a C compiler."""
    source, library = folder / "disk.c", folder / "disk.so"
    source.write_text(FAILING_DISK)
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return library


def torture(folder, kills, seed):
    """Do all of it with this many kills of trainings; return what was found."""
    found = Torture(Path(folder), random.Random(seed))
    found.kill_trainings(kills)
    found.kill_commands(max(1, kills // 10))
    library = failing_disk(found.folder)
    if library is None:
        print("skipped: writes that fail, because there is no C compiler (cc)")
    else:
        found.fail_writes(library, max(2, kills // 5))
    found.close_log()
    return found


def main():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="kills of trainings")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = torture(folder, arguments.kills, arguments.seed)
    print(f"{found.kills} kills, {found.refusals} full disks, {len(found.faults)} faults")
    sys.exit(1 if found.faults else 0)


if __name__ == "__main__":
    main()

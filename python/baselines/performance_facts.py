"""Measurements of `make bench` outside its table: loader, memory, start-up, threads, sizes."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from baselines.performance_bench import Bench, Column

SMALL = Column(28, 8, "logits")
LARGE = Column(84, 8, "logits")
PHOTO = "episode.photo={}"
# Name, column, overrides and number of episodes; each takes about a second.
JITTER = [
    f"episode.jitter.{key}" for key in ("rotation=10", "scale=0.1", "shear=0.1", "shift=0.05")
]
LOADERS = [
    ("loader", SMALL, [], 20_000),
    ("jittered", SMALL, JITTER, 4_000),
    ("augmented_84", LARGE, [PHOTO], 300),
]
# Models and numbers of episodes per step with which a second thread is measured.
TWO_THREADS = [
    (column, tasks) for column in (SMALL, Column(28, 8, "all"), LARGE) for tasks in (16, 64)
]
# How often one thread and two threads take turns, and steps of each turn: enough, because in the
# first two or three steps a second thread still causes page faults.
PAIRS = 5
STEPS = 20


def small_facts(bench: Bench) -> dict[str, Any]:
    """Measure loader, waiting time, memory, start-up and the cost of sizes."""
    facts: dict[str, Any] = {}
    for name, column, settings, episodes in LOADERS:
        words = [word for setting in settings for word in ("--set", setting)]
        found = bench.ours(column, "loader", 1, *words, episodes=episodes)
        facts[f"{name}_images_per_second"] = found["images_per_second"]
    step = bench.ours(LARGE, "step", 1, "--set", PHOTO)
    facts["augmented_84_waiting_share"] = step["waiting_share"]
    step = bench.ours(SMALL, "step", 1)
    facts["waiting_share"] = step["waiting_share"]
    facts["peak_memory_mib"] = step["peak_memory_mib"]
    start = time.perf_counter()
    bench.program("inspect", "experiments/synthetic.yaml", "--json")
    facts["start_up_seconds"] = time.perf_counter() - start
    if bench.arguments.threads > 1:
        facts["second_thread"] = [second_thread(bench, *what) for what in TWO_THREADS]
    curves: dict[str, dict[int, float]] = {}
    values = {"cnn.channels": (4, 8, 16, 32), "episode.way": (5, 10, 20), "episode.shot": (1, 5)}
    for key, numbers in values.items():
        for number in numbers:
            found = bench.ours(SMALL, "step", 1, "--set", f"{key}={number}")
            curves.setdefault(key, {})[number] = found["milliseconds_per_episode"]
    facts["curves"] = curves
    return facts


def second_thread(bench: Bench, column: Column, tasks: int) -> dict[str, Any]:
    """Speed-up of a training step of `tasks` episodes by a second thread, one ratio per pair."""
    ratios = []
    for pair in range(PAIRS):
        found = {
            threads: bench.whole_steps(column, "step", threads, tasks, STEPS)
            for threads in ((1, 2), (2, 1))[pair % 2]
        }
        ratios.append(found[1] / found[2])
    return {**asdict(column), "tasks": tasks, "ratios": ratios}

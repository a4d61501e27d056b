"""The machine that a bench runs on: cores, name, how fast it multiplies, and a stopwatch."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


@contextmanager
def cores(count: int, device: str = "cpu") -> Iterator[None]:
    """As many cores as threads, and no other to help out, for this process and those it starts.

    Beside a GPU all cores stay.
    """
    if device != "cpu" or not hasattr(os, "sched_setaffinity"):
        yield
        return
    there = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(there)[-count:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, there)


def milliseconds(work: Callable[[], Any], times: int, threads: int, device: str = "cpu") -> float:
    """Median time of a call."""
    torch.set_num_threads(threads)

    def done() -> float:
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter()

    with cores(threads, device):
        work()
        found = []
        for _ in range(times):
            start = done()
            work()
            found.append(done() - start)
    return 1000 * statistics.median(found)


def gemm_rate(device: str, side: int) -> float:
    """Operations a second of a matrix product (on one thread): what arithmetic could reach."""
    left, right = torch.rand(side, side, device=device), torch.rand(side, side, device=device)
    return 2 * side**3 / (milliseconds(lambda: left @ right, 20, 1, device) / 1000)


def processor(device: str) -> str:
    """What the machine calls itself."""
    if device != "cpu":
        return f"{torch.cuda.get_device_name(device)}, beside {processor('cpu')}"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        return f"{names[0]}, {len(names)} cores"
    except (OSError, IndexError):
        return platform.processor()

"""The machine that a benchmark runs on: pinning to cores, timing, GEMM rate and name."""

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
    """Pin this process, and the processes it starts, to `count` cores.

    Does nothing with a GPU or where the system has no affinity.
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
    """Median milliseconds of a call, after one call to warm up."""
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
    """Operations per second of a matrix product on one thread: a bound for all else."""
    left, right = torch.rand(side, side, device=device), torch.rand(side, side, device=device)
    return 2 * side**3 / (milliseconds(lambda: left @ right, 20, 1, device) / 1000)


def processor(device: str) -> str:
    """Name of the processor or GPU."""
    if device != "cpu":
        return f"{torch.cuda.get_device_name(device)}, beside {processor('cpu')}"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        return f"{names[0]}, {len(names)} cores"
    except (OSError, IndexError):
        return platform.processor()

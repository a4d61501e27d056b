"""Tests the report of `make bench` against ratios by hand, and the pinning to cores."""

import os

import pytest

pytest.importorskip("torch", reason="no torch: `make parity` installs it and runs these tests")

from baselines.machine import cores  # noqa: E402
from baselines.performance_report import of_second_thread, table  # noqa: E402


def column(size, **milliseconds):
    return {
        "size": size,
        "channels": 8,
        "generates": "logits",
        "milliseconds": {name.replace("_", " "): rounds for name, rounds in milliseconds.items()},
        "limit_milliseconds": 2.0,
        "authors_ratio": 2.5 if size == 28 else None,
    }


def test_ratios_are_of_medians_and_missing_contenders_leave_cells_empty():
    two = {"step, 2 threads": [2.0, 2.0]}
    small = column(28, step=[4.0, 6.0], PyTorch_step=[24.0, 26.0], PyTorch_compiled_step=[10.0])
    small["milliseconds"] |= two
    large = column(84, step=[10.0], PyTorch_step=[30.0], PyTorch_compiled_step=[40.0])
    large["milliseconds"] |= two
    title, _, *rows = (
        [cell.strip() for cell in line.split("|")[1:-1]] for line in table([small, large])
    )
    first, second = (dict(zip(title, row, strict=True)) for row in rows)
    assert first["ours"] == "5.00 (4.00–6.00)" and second["ours"] == "10.00"
    assert first["eager / ours"] == "5.00" and first["best / ours"] == "2.00"
    assert second["best / ours"] == "3.00"
    assert first["1 / 2 threads"] == "2.50" and first["ours / limit"] == "2.5"
    assert first["authors' graph / ours"] == "2.00" and second["authors' graph / ours"] == ""


def test_a_second_thread_has_a_row_a_model_and_a_column_a_number_of_tasks():
    entry = {"size": 28, "channels": 8, "generates": "logits"}
    found = [
        {**entry, "tasks": 64, "ratios": [1.9, 2.0, 1.8]},
        {**entry, "tasks": 16, "ratios": [1.7]},
        {**entry, "generates": "all", "tasks": 16, "ratios": [1.6]},
    ]
    *_, title, _, first, second, _ = of_second_thread(found)
    assert title == "| model | T = 16 | T = 64 |"
    assert first == "| 28×28, 8 logits | 1.70 | 1.90 (1.80–2.00) |"
    assert second == "| 28×28, 8 all | 1.60 |  |"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_cores_are_given_back():
    before = os.sched_getaffinity(0)
    with cores(1):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before

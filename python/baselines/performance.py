"""Times training and evaluation episodes of the Rust program and PyTorch, for `make bench`.

    python -m baselines.performance --output docs/performance.md

Each column is a model: image size, channels, episode shape and generated layers. In every round the
Rust program and PyTorch take turns on the same column, so that other load on the machine affects
both; medians over rounds are compared. PyTorch runs the plain implementation in
`hypertransformer.py` with the same φ: eager; eager with images and learned kernels in channels-last
layout; and, with `--compile`, by `torch.compile`, which chooses layouts itself. On a GPU it runs
episodes one at a time and, with `torch.vmap`, T at once. `--quick` measures two small columns only.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

from baselines.machine import processor
from baselines.performance_bench import Bench, Column
from baselines.performance_facts import small_facts
from baselines.performance_report import markdown, picture_of, write_report

COLUMNS = [
    *(Column(84, channels, what) for channels in (8, 32, 64) for what in ("logits", "all")),
    *(Column(28, channels, what) for channels in (4, 8, 16, 64) for what in ("logits", "all")),
]
QUICK = [Column(28, 8, "logits"), Column(28, 8, "all")]


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--output", type=Path, help="Markdown file; a .json and an .svg are written beside it")
    add("--rounds", type=int, default=3)
    add("--threads", type=int, default=1, choices=(1, 2), help="2: also measure two threads")
    add("--device", default="cpu", help="cpu or cuda:0, for both programs")
    add(
        "--columns",
        nargs="+",
        metavar="SIZE:CHANNELS",
        help="measure only these columns (such as 28:8), and no curves",
    )
    add(
        "--compile", action="store_true", help="also measure torch.compile; adds minutes per column"
    )
    add("--note", default="", help="a sentence for the report, such as other load on the machine")
    add("--quick", action="store_true", help="measure two small columns only")
    add("--binary", type=Path, default=Path("target/release/hypertransformer"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments, Path(folder))
        columns = QUICK if arguments.quick else COLUMNS
        if arguments.columns:
            columns = [c for c in COLUMNS if f"{c.size}:{c.channels}" in arguments.columns]
        report: dict[str, Any] = {
            "machine": processor(arguments.device),
            "device": arguments.device,
            "pytorch": torch.__version__,
            "gemm_gflops": bench.gemm / 1e9,
            "pytorch_gemm_gflops": bench.pytorch_gemm / 1e9,
            "rounds": arguments.rounds,
            "note": arguments.note,
            "columns": [],
            "facts": None,
        }
        for column in columns:
            report["columns"].append(bench.measure(column))
            # After each column, so that an interrupted benchmark keeps its results.
            write_report(arguments.output, report)
        if not arguments.columns:
            report["facts"] = small_facts(bench)
            write_report(arguments.output, report)
    print(markdown(report, picture_of(arguments.output).name))


if __name__ == "__main__":
    main()

"""The report of `make compare`: JSON, a Markdown table and a plot."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from baselines.evaluation import Interval
from baselines.paper import paper_accuracy

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

REFERENCE = "hypertransformer"


@dataclass
class Result:
    """Result of one method with one number of channels."""

    method: str
    channels: int
    parameters: int
    """Number of trained values."""
    minutes: float
    """CPU minutes of training and validation."""
    milliseconds: float
    """Median CPU time from support set to classifier, in PyTorch."""
    batch_norm: str
    way: int
    shot: int
    accuracies: list[float]
    """Accuracy of each episode."""

    @property
    def accuracy(self) -> Interval:
        """Mean over episodes."""
        return Interval.of(np.array(self.accuracies))


def difference(one: Result, other: Result) -> Interval:
    """Mean difference of two methods on the same episodes."""
    return Interval.of(np.array(one.accuracies) - np.array(other.accuracies))


def write_report(
    folder: Path, facts: dict[str, Any], budget: dict[str, Any], results: list[Result]
) -> None:
    """Write `results.json`, `table.md`, `accuracy.png` and `accuracy.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for result in results:
        row = asdict(result)
        row["accuracies"] = [round(value, 4) for value in result.accuracies]
        row["accuracy_mean"], row["accuracy_ci95"] = result.accuracy.mean, result.accuracy.half
        row["paper_accuracy"] = paper_of(facts, result)
        rows.append(row)
    document = {"episodes": facts, "budget": budget, "results": rows}
    (folder / "results.json").write_text(json.dumps(document) + "\n")
    (folder / "table.md").write_text(table(facts, budget, results))
    plot(folder, facts, budget, results)


def paper_of(facts: dict[str, Any], result: Result) -> float | None:
    """The paper's accuracy for a result, if it has one."""
    return paper_accuracy(facts["pack"], result.method, result.way, result.shot, result.channels)


def title(facts: dict[str, Any], budget: dict[str, Any]) -> str:
    """One line on what was measured."""
    return (
        f"{facts['pack']}, {facts['way']}-way {facts['shot']}-shot, "
        f"{budget['minutes']:g} CPU minutes of training, {facts['episodes']} {facts['split']} "
        "episodes"
    )


def table(facts: dict[str, Any], budget: dict[str, Any], results: list[Result]) -> str:
    """All results, and paired differences to the HyperTransformer."""
    lines = [
        f"# {title(facts, budget)}",
        "",
        "Accuracy in percent with the 95 % interval over episodes, which are the same for all "
        "methods. Training: CPU minutes, validation included. Ready: median CPU milliseconds from "
        "support set to classifier, all in PyTorch on one thread.",
        "",
        "| method | channels | accuracy | batch-norm | the paper's number | parameters | training "
        "| ready |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        paper = paper_of(facts, result)
        lines.append(
            f"| {result.method} | {result.channels} | {result.accuracy} | {result.batch_norm} "
            f"| {'' if paper is None else paper} | {result.parameters:,} | {result.minutes:.1f} "
            f"| {result.milliseconds:.1f} |"
        )
    pairs = [
        (reference, other)
        for reference in results
        for other in results
        if reference.method == REFERENCE != other.method and reference.channels == other.channels
    ]
    if pairs:
        lines += [
            "",
            "HyperTransformer minus the other method on the same episodes, in points; tied where "
            "the interval contains 0:",
            "",
            "| other | channels | difference | |",
            "|---|---|---|---|",
        ]
    for reference, other in pairs:
        found = difference(reference, other)
        verdict = "tied"
        if abs(found.mean) > found.half:
            verdict = "ahead" if found.mean > 0 else "behind"
        lines.append(f"| {other.method} | {other.channels} | {found} | {verdict} |")
    return "\n".join(lines) + "\n"


def plot(
    folder: Path, facts: dict[str, Any], budget: dict[str, Any], results: list[Result]
) -> None:
    """Plot accuracy against channels, one line per method."""
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for method in dict.fromkeys(result.method for result in results):
        own = sorted((r for r in results if r.method == method), key=lambda r: r.channels)
        axes.errorbar(
            [result.channels for result in own],
            [100 * result.accuracy.mean for result in own],
            [100 * result.accuracy.half for result in own],
            label=f"{method} ({own[0].batch_norm})",
            marker="o",
            capsize=3,
        )
    channels = sorted({result.channels for result in results})
    axes.set_xscale("log", base=2)
    axes.set_xticks(channels, [str(count) for count in channels])
    axes.set_xlabel("channels of the CNN")
    axes.set_ylabel("accuracy, %")
    axes.set_title(title(facts, budget), fontsize=9)
    axes.legend(title="method (batch-norm)", fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(folder / "accuracy.png", dpi=150)
    figure.savefig(folder / "accuracy.svg", metadata={"Date": None})
    pyplot.close(figure)

"""The report of `make bench`: Markdown, JSON and a plot."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

TABLE = [
    ("ours", "step"),
    ("PyTorch eager", "PyTorch step"),
    ("channels-last", "PyTorch channels-last step"),
    ("compiled", "PyTorch compiled step"),
    ("by vmap, T = 16", "PyTorch vmap step"),
    ("ours, T = 64", "step, T = 64"),
    ("ours, T = 4", "step, T = 4"),
    ("ours, T = 1", "step, T = 1"),
    ("ours, 2 threads", "step, 2 threads"),
    ("eager, 2 threads", "PyTorch step, 2 threads"),
    ("evaluation", "evaluation"),
    ("eager evaluation", "PyTorch evaluation"),
]

# Ways to compute one episode at a time in PyTorch; the fastest is compared.
AT_BEST = ["PyTorch step", "PyTorch channels-last step", "PyTorch compiled step"]


def spread(values: list[float]) -> str:
    """Median and range of the rounds; empty if there are none."""
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def model(column: dict[str, Any]) -> str:
    """Name of a model in a row."""
    return f"{column['size']}×{column['size']}, {column['channels']} {column['generates']}"


def table(columns: list[dict[str, Any]]) -> list[str]:
    """Milliseconds of each contender, one row per model."""
    there = [
        (title, key)
        for title, key in TABLE
        if any(key in column["milliseconds"] for column in columns)
    ]
    titles = ["model", *(title for title, _ in there)]
    known = any(column["authors_ratio"] for column in columns)
    present = {key for _, key in there}
    best = [key for key in AT_BEST if key in present]
    two = "step, 2 threads" in present
    titles += ["eager / ours", "best / ours", *["authors' graph / ours"] * known]
    titles += [*["1 / 2 threads"] * two, "limit", "ours / limit"]
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for column in columns:
        found = {key: statistics.median(rounds) for key, rounds in column["milliseconds"].items()}
        ours, eager = found["step"], found["PyTorch step"]
        ratio, limit = column["authors_ratio"], column["limit_milliseconds"]
        cells = [model(column)]
        cells += [spread(column["milliseconds"].get(key, [])) for _, key in there]
        cells.append(f"{eager / ours:.2f}")
        cells.append(f"{min(found[key] for key in best if key in found) / ours:.2f}")
        if known:
            cells.append(f"{eager / ours / ratio:.2f}" if ratio else "")
        if two:
            cells.append(f"{ours / found['step, 2 threads']:.2f}")
        cells += [f"{limit:.2f}", f"{ours / limit:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def markdown(report: dict[str, Any], picture: str) -> str:
    """The whole report; `picture` is the file name of its plot."""
    facts = report["facts"]
    rounds, gemm = report["rounds"], report["gemm_gflops"]
    measured = "one round" if rounds == 1 else f"medians and ranges of {rounds} rounds"
    pytorch = report["pytorch_gemm_gflops"]
    threads = "one thread on one core unless two are stated"
    if report.get("device", "cpu") != "cpu":
        threads = "our program draws episodes on eight CPU threads, on one at T = 1"
    lines = [
        "# Performance",
        "",
        "Written by `make bench`. Milliseconds per episode, forward and backward pass except for",
        f"evaluation; {measured} in which all contenders took turns.",
        f"Machine: {report['machine']}; {threads}.",
        f"PyTorch {report['pytorch']}. {report.get('note', '')}".rstrip(),
        "",
        "28×28: 20-way 1-shot, 60 queries. 84×84×3: 5-way 1-shot, 75 queries.",
        "Ours computes T = 16 episodes per step unless stated otherwise, the others one at a",
        "time. *Best*: PyTorch's fastest. *Limit*: three times the multiply-adds of the model",
        "(the backward pass has twice those of the forward pass), at the rate of a large matrix",
        f"product in our program, {gemm:.0f} GFLOP/s ({pytorch:.0f} in PyTorch). *Authors'",
        "graph*: the authors' TensorFlow 1 program cannot run here; its time on a CPU is estimated",
        "as that of eager PyTorch divided by their ratio on another machine.",
        "",
        *table(report["columns"]),
    ]
    if facts:
        lines += of_facts(facts, picture)
    return "\n".join([*lines, ""])


def of_facts(facts: dict[str, Any], picture: str) -> list[str]:
    """Lines on loader, waiting time, memory, start-up and the cost of sizes."""
    lines = [
        "",
        f"- Loader, one core: {facts['loader_images_per_second']:,.0f} images/s of 28×28,",
        f"  {facts['jittered_images_per_second']:,.0f} with `episode.jitter`,",
        f"  {facts['augmented_84_images_per_second']:,.0f} of 84×84×3 with all augmentations.",
        "- Share of a step spent waiting for the loader, 8 channels, one core: 28×28",
        f"  {100 * facts['waiting_share']:.1f} %, 84×84×3 with all augmentations",
        f"  {100 * facts['augmented_84_waiting_share']:.1f} %.",
        f"- Peak memory (28×28, 8 channels, T = 4): {facts['peak_memory_mib']:.0f} MiB.",
        "- `inspect` of the synthetic experiment, including the start of the program:"
        f" {facts['start_up_seconds']:.2f} s.",
        "",
        *of_second_thread(facts.get("second_thread", [])),
        "Milliseconds per training episode when one size changes; the others are 28×28, 20-way",
        "1-shot, 8 channels, T = 4:",
        "",
    ]
    for key, curve in facts["curves"].items():
        values = ", ".join(f"{number}: {value:.1f}" for number, value in curve.items())
        lines.append(f"- `{key}`: {values}")
    return [*lines, "", f"![milliseconds per training episode by size]({picture})"]


def of_second_thread(found: list[dict[str, Any]]) -> list[str]:
    """Speed-up by a second thread: one row per model, one column per T."""
    if not found:
        return []
    counts = sorted({entry["tasks"] for entry in found})
    rows: dict[str, dict[int, str]] = {}
    for entry in found:
        rows.setdefault(model(entry), {})[entry["tasks"]] = spread(entry["ratios"])
    return [
        "Speed-up of two threads over one, with one core each; medians and ranges of",
        f"{len(found[0]['ratios'])} pairs that took turns:",
        "",
        "| model | " + " | ".join(f"T = {count}" for count in counts) + " |",
        "|" + "---|" * (1 + len(counts)),
        *(
            "| " + " | ".join([name, *(cells.get(count, "") for count in counts)]) + " |"
            for name, cells in rows.items()
        ),
        "",
    ]


def plot(report: dict[str, Any], path: Path) -> None:
    """Plot milliseconds against channels, way and shot."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    curves = report["facts"]["curves"]
    figure, places = pyplot.subplots(1, len(curves), figsize=(9, 3), sharey=True)
    for place, (key, curve) in zip(places, curves.items(), strict=True):
        place.plot(list(curve), list(curve.values()), "o-")
        place.set_xlabel(key)
        place.set_ylim(bottom=0)
    places[0].set_ylabel("ms per training episode")
    figure.tight_layout()
    figure.savefig(path)


def picture_of(output: Path | None) -> Path:
    """Path of a report's plot."""
    return output.with_suffix(".svg") if output else Path("performance.svg")


def write_report(output: Path | None, report: dict[str, Any]) -> None:
    """Write a report with JSON and a plot beside it, if there is an output file."""
    if output is None:
        return
    picture = picture_of(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(markdown(report, picture.name))
    output.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    if report["facts"]:
        plot(report, picture)

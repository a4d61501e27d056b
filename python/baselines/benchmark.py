"""Times one training episode (forward and backward) in PyTorch eager, for `make bench`.

    python -m baselines.benchmark CHECKPOINT --way 20 --shot 1 --query 3 --threads 1

The checkpoint gives the sizes of the model; images are random, which changes no time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from baselines.hypertransformer import HyperTransformer


def main() -> None:
    """Print one line like that of `hypertransformer bench`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--way", type=int, default=20)
    parser.add_argument("--shot", type=int, default=1)
    parser.add_argument("--query", type=int, default=3)
    parser.add_argument("--size", type=int, default=28)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--episodes", type=int, default=400)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = HyperTransformer.load(arguments.checkpoint)
    phi = [parameter.requires_grad_() for parameter in model.phi.values()]
    way, size = arguments.way, arguments.size
    support = torch.rand(way * arguments.shot, 1, size, size)
    query = torch.rand(way * arguments.query, 1, size, size)
    support_labels = torch.arange(way).repeat_interleave(arguments.shot)
    query_labels = torch.arange(way).repeat_interleave(arguments.query)
    times = []
    for episode in range(arguments.episodes + 10):
        start = time.perf_counter()
        answers = model.forward(support, support_labels, query, training=True).logits
        torch.autograd.grad(F.cross_entropy(answers, query_labels), phi)
        if episode >= 10:
            times.append(time.perf_counter() - start)
    median = 1000 * statistics.median(times)
    print(
        f"step: {median:.2f} ms an episode, {1000 / median:.0f} episodes/s "
        f"({arguments.episodes} episodes, Cpu, {arguments.threads} threads, "
        f"PyTorch {torch.__version__} eager)"
    )


if __name__ == "__main__":
    main()

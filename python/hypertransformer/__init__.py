"""Runs of the HyperTransformer in PyTorch: models, packs and lists of episodes.

The program trains; this package reads what it wrote. It needs torch, numpy, safetensors and PyYAML
only. `docs/python.md` of the repository has an example and describes the files.
"""

from hypertransformer.data import Episode, Episodes, Pack
from hypertransformer.module import HyperTransformerModule
from hypertransformer.run import load_evaluation, load_metrics, load_run
from hypertransformer.target_cnn import Theta

__all__ = [
    "Episode",
    "Episodes",
    "HyperTransformerModule",
    "Pack",
    "Theta",
    "load_evaluation",
    "load_metrics",
    "load_run",
]

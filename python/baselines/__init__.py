"""Rivals of the HyperTransformer in plain PyTorch, and the comparison of all on the same episodes.

They share one 4-layer CNN and one evaluation (`compare.py`). The HyperTransformer itself, packs and
lists of episodes are in the package `hypertransformer`, which knows nothing of this one.
"""

"""Rivals of the HyperTransformer, and the HyperTransformer itself, in plain PyTorch.

All read the packs and the episode lists that the program writes, share one 4-layer CNN and one
evaluation, and are compared on the very same episodes (`compare.py`).
"""

"""The HyperTransformer and its rivals in plain PyTorch.

All methods read the packs and episode lists that the Rust program writes, share one 4-layer CNN and
one evaluation, and are compared on the same episodes (`compare.py`).
"""

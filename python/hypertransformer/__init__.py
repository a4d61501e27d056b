"""Runs of the HyperTransformer in PyTorch: models, packs and lists of episodes.

The program trains; this package reads what it wrote. It needs torch, numpy, safetensors and PyYAML
only.
"""

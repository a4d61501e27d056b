"""Transformers: attention, encoder and decoder layers, stacks of them."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from hypertransformer.layers import LEAKY_SLOPE, Options, Parameters, dense, layer_norm

NONLINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "leaky_relu": lambda values: F.leaky_relu(values, LEAKY_SLOPE),
    "gelu": F.gelu,
}

ATTENTION_WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda scores: scores.softmax(-1),
    "sigmoid": lambda scores: scores.sigmoid(),
}
"""How scores `[heads, S, M]` become attention weights; a score of −∞ must become 0."""


class Transformer:
    """A stack of encoder or decoder layers whose parameters share a prefix."""

    def __init__(self, phi: Parameters, name: str, settings: Options) -> None:
        """Count the layers by the parameter names that start with `name`."""
        self.phi, self.name, self.settings = phi, name, settings
        self.heads, self.pre_norm = settings["heads"], settings["pre_norm"]
        self.layers = 0
        while f"{name}.layer{self.layers + 1}.attention.output.weight" in phi:
            self.layers += 1

    def __call__(
        self,
        tokens: Tensor,
        masked: Tensor | None,
        memory: Tensor | None = None,
        memory_masked: Tensor | None = None,
    ) -> Tensor:
        """Transform tokens `[S, D]`; a decoder also attends to `memory` `[M, E]`.

        `masked` `[S]` and `memory_masked` `[M]` are true for tokens that no token may attend to.
        """
        for layer in range(1, self.layers + 1):
            name = f"{self.name}.layer{layer}"
            tokens = self.residual(
                f"{name}.attention_norm",
                tokens,
                lambda x, name=name: self.attention(f"{name}.attention", x, x, masked),
            )
            if memory is not None:
                tokens = self.residual(
                    f"{name}.cross_attention_norm",
                    tokens,
                    lambda x, name=name: self.attention(
                        f"{name}.cross_attention", x, memory, memory_masked
                    ),
                )
            if f"{name}.inner.weight" in self.phi:
                tokens = self.residual(
                    f"{name}.inner_norm",
                    tokens,
                    lambda x, layer=layer: self.perceptron(layer, x),
                )
        if self.pre_norm:
            tokens = layer_norm(self.phi, f"{self.name}.final_norm", tokens)
        return tokens

    def perceptron(self, layer: int, tokens: Tensor) -> Tensor:
        """Two dense layers with a nonlinearity between them.

        With `skip_last_nonlinearity` the last layer of the stack has none.
        """
        name = f"{self.name}.layer{layer}"
        inner = dense(self.phi, f"{name}.inner", tokens)
        if layer < self.layers or not self.settings["skip_last_nonlinearity"]:
            inner = NONLINEARITIES[self.settings["inner_nonlinearity"]](inner)
        return dense(self.phi, f"{name}.outer", inner)

    def residual(self, norm: str, tokens: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """Add the sublayer's output, with layer norm before the sublayer or after the sum."""
        if self.pre_norm:
            return tokens + sublayer(layer_norm(self.phi, norm, tokens))
        return layer_norm(self.phi, norm, tokens + sublayer(tokens))

    def attention(self, name: str, tokens: Tensor, memory: Tensor, masked: Tensor | None) -> Tensor:
        """Multi-head attention of tokens `[S, D]` to `memory` `[M, E]`."""

        def split(part: str, values: Tensor) -> Tensor:
            values = dense(self.phi, f"{name}.{part}", values)
            return values.view(values.shape[0], self.heads, -1).transpose(0, 1)

        query, key, value = split("query", tokens), split("key", memory), split("value", memory)
        scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
        if masked is not None:
            scores = scores.masked_fill(masked, float("-inf"))
        weights = ATTENTION_WEIGHTS[self.settings["attention"]](scores)
        mixed = (weights @ value).transpose(0, 1).flatten(1)
        return dense(self.phi, f"{name}.output", mixed)

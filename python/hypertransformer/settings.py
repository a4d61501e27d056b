"""The settings of a model that this package computes, and the check that a run has no others."""

from __future__ import annotations

from pathlib import Path

from hypertransformer.layers import Options
from hypertransformer.transformer import ATTENTION_WEIGHTS, NONLINEARITIES

# Values of options that older checkpoints do not have: what the program did before the option.
CNN_DEFAULTS: Options = {
    "stride": 1,
    "padding": "same",
    "pooling": "max",
    "pooled_layers": None,
    "activation": "relu",
    "head": "flatten",
}
GENERATOR_DEFAULTS: Options = {
    "allocation": "output",
    "generate_bias": False,
    "generate_batch_norm": False,
    "support_gradient": False,
    "kind": "encoder",
    "pre_norm": False,
    "logits_features": "embedded",
    "attention": "softmax",
    "inner_nonlinearity": "relu",
    "skip_last_nonlinearity": False,
    "per_layer": {},
}

BLOCK_OPERATIONS = ("convolution", "batch_norm", "activation", "pool")
BATCH_NORM_MODES = ("query", "support", "running")

# Each setting that may have only some values, with these.
CHOICES = {
    "cnn.padding": ("same", "valid"),
    "cnn.pooling": ("max", "average"),
    "cnn.activation": ("relu", "leaky_relu"),
    "cnn.head": ("flatten", "average"),
    "generator.allocation": ("output", "spatial"),
    "generator.kind": ("encoder", "encoder_decoder", "separate"),
    "generator.logits_features": ("embedded", "flat", "both"),
    "generator.attention": tuple(ATTENTION_WEIGHTS),
    "generator.inner_nonlinearity": tuple(NONLINEARITIES),
    "batch_norm": BATCH_NORM_MODES,
}

# Every setting of a section. Most of those without a default show in the shapes of parameters.
KNOWN = {
    "cnn": {*CNN_DEFAULTS, "channels", "layers", "kernel_size", "block"},
    "generator": {
        *GENERATOR_DEFAULTS,
        "generates",
        "learned_base",
        "label_dim",
        "image_embedding",
        "image_embedding_batch_norm",
        "activation_embedding",
        "layers",
        "heads",
        "query_key_fraction",
        "value_fraction",
        "inner_fraction",
        "dropout",
        "feature_dropout",
    },
}

OTHER_VERSION = (
    "another version of the program wrote this; install the package from the same version"
)


def check_settings(experiment: Options, source: Path) -> None:
    """Raise ValueError if a setting of the model, read from `source`, is unknown or missing."""
    for section in ("episode", *KNOWN):
        if not isinstance(experiment.get(section), dict):
            raise ValueError(
                f"{source}: its settings have no section {section}: expected an experiment that "
                "`hypertransformer train` wrote"
            )
    for section, known in KNOWN.items():
        check_section(section, experiment[section], known, source)
    for layer, changes in experiment["generator"].get("per_layer", {}).items():
        check_section("generator", changes, KNOWN["generator"], source, f".per_layer.{layer}")
    check_choice("batch_norm", experiment.get("batch_norm"), source)
    for operation in experiment["cnn"]["block"]:
        if operation not in BLOCK_OPERATIONS:
            raise unexpected(source, "cnn.block", operation, BLOCK_OPERATIONS)


def check_section(
    section: str, options: Options, known: set[str], source: Path, inside: str = ""
) -> None:
    """Raise ValueError if `options` has a key or value that `section` cannot have.

    `inside` is where in the section the options are, for the message.
    """
    for key, value in options.items():
        if key not in known:
            raise ValueError(f"{source}: {section}{inside}.{key}: unknown setting: {OTHER_VERSION}")
        check_choice(f"{section}.{key}", value, source, f"{section}{inside}.{key}")


def check_choice(setting: str, value: object, source: Path, shown: str | None = None) -> None:
    """Raise ValueError if `setting` cannot have this value; messages call it `shown`."""
    choices = CHOICES.get(setting)
    if choices is not None and value not in choices:
        raise unexpected(source, shown or setting, value, choices)


def unexpected(source: Path, setting: str, value: object, choices: tuple[str, ...]) -> ValueError:
    """The error of a value that is none of `choices`."""
    return ValueError(
        f"{source}: {setting}: {value}, expected one of {', '.join(choices)}: {OTHER_VERSION}"
    )

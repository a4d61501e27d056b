"""Reads a real run with the tools that a user has: TensorBoard and safetensors."""

import json

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def test_tensorboard_shows_what_the_metrics_file_says(run):
    events = EventAccumulator(str(run))
    events.Reload()
    written = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    tags = {tag for line in written for tag in line if tag != "step"}
    assert {"train/accuracy", "validation/accuracy", "test/accuracy"} <= tags
    assert set(events.Tags()["scalars"]) == tags
    for tag in tags:
        shown = [(event.step, event.value) for event in events.Scalars(tag)]
        expected = [(line["step"], np.float32(line[tag])) for line in written if tag in line]
        assert shown == expected
        assert events.SummaryMetadata(tag).summary_description


def test_a_checkpoint_names_every_tensor(run):
    tensors = load_file(run / "checkpoints" / "last.safetensors")
    assert tensors["phi.cnn.layer1.kernel"].shape == (8, 1, 3, 3)
    assert tensors["phi.generator.logits.labels"].shape == (5, 32)
    with safe_open(run / "checkpoints" / "last.safetensors", "np") as file:
        assert json.loads(file.metadata()["checkpoint"])["step"] == 20


def test_python_reads_a_pack(glyphs):
    pack = load_file(glyphs)
    assert pack["images"].dtype == np.uint8
    assert pack["images"].shape == (12_000, 28, 28, 1)
    assert pack["class_offsets"][-1] == 12_000

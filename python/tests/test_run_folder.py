"""Reads a real run with the tools that a user has: TensorBoard and safetensors."""

import io
import json

import numpy as np
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData


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


def test_tensorboard_shows_the_settings_an_episode_kernels_and_parameters(run):
    events = EventAccumulator(str(run), size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    kernels = [f"kernels/layer{layer}" for layer in (1, 2, 3, 4)]
    assert tags["images"] == ["episode", *kernels]
    sheet = Image.open(io.BytesIO(events.Images("episode")[0].encoded_image_string))
    assert sheet.size[1] > 5 * 56
    assert [event.step for event in events.Images("kernels/layer1")] == [10, 20]
    assert "parameters/generator.logits" in tags["histograms"]
    layer = load_file(run / "checkpoints" / "last.safetensors")["phi.cnn.layer1.kernel"]
    shown = events.Scalars("kernel_norm/layer1")[-1].value
    assert np.isclose(shown, np.linalg.norm(layer), rtol=1e-5)
    (configuration,) = events.Tensors("configuration")[0].tensor_proto.string_val
    assert (run / "config.yaml").read_text() in configuration.decode()


def test_tensorboard_has_a_row_of_hyperparameters_for_a_run(run):
    contents = {
        value.tag: HParamsPluginData.FromString(value.metadata.plugin_data.content)
        for file in run.glob("events.out.tfevents.*")
        for event in EventFileLoader(str(file)).Load()
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "hparams"
    }
    row = contents["_hparams_/session_start_info"].session_start_info.hparams
    assert row["episode.way"].number_value == 5
    assert row["batch_norm"].string_value == "support"
    assert row["generator.learned_base"].bool_value is False
    table = contents["_hparams_/experiment"].experiment
    assert {setting.name for setting in table.hparam_infos} == set(row)
    assert "test/accuracy" in {metric.name.tag for metric in table.metric_infos}


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

"""Tests gradient steps on a support set: their loss against one by hand, and a small run."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch: `make parity` installs it and runs these tests")

import torch  # noqa: E402
from program import BINARY, ROOT, train  # noqa: E402

from baselines.data import TrainingData  # noqa: E402
from baselines.gradient_adaptation import Adapting  # noqa: E402
from hypertransformer.data import Pack  # noqa: E402
from hypertransformer.forward import HyperTransformer  # noqa: E402
from hypertransformer.support_gradient import leave_one_out_loss  # noqa: E402

WAY, SHOT = 5, 3


@pytest.fixture(scope="module")
def adapted(glyphs, tmp_path_factory):
    """The folder of a short run with three shots."""
    torch.set_num_threads(1)
    settings = {"episode.shot": SHOT, "validation.every": 20}
    return train(tmp_path_factory.mktemp("adaptation") / "run", glyphs, settings)


def test_the_loss_compares_each_image_with_its_class_without_itself():
    random = np.random.default_rng(0)
    features = random.normal(size=(WAY * SHOT, 7))
    labels = np.tile(np.arange(WAY), SHOT)
    expected = 0.0
    for image, label in enumerate(labels):
        rest = np.arange(len(labels)) != image
        means = [features[rest & (labels == other)].mean(0) for other in range(WAY)]
        logits = np.array([-2 * np.mean((features[image] - mean) ** 2) for mean in means])
        expected += np.log(np.exp(logits).sum()) - logits[label]
    found = leave_one_out_loss(torch.tensor(features), torch.tensor(labels), WAY, torch.tensor(2.0))
    assert abs(found.item() - expected / len(labels)) < 1e-12


def test_a_class_of_one_is_compared_with_itself_and_one_of_none_is_no_choice():
    features = torch.tensor([[0.0], [0.2], [0.5]], dtype=torch.float64)
    found = leave_one_out_loss(features, torch.tensor([0, 0, 2]), 3, 4.0)
    # Squared distances to the own class (without the image, unless it is alone) and to the other.
    pairs = [(0.04, 0.25), (0.04, 0.09), (0.0, 0.16)]
    expected = np.mean([np.log1p(np.exp(4 * (own - other))) for own, other in pairs])
    assert abs(found.item() - expected) < 1e-12


def test_steps_move_kernels_by_their_share_and_lower_the_loss(adapted, glyphs):
    adapting = Adapting(HyperTransformer.load(adapted / "checkpoints" / "best.safetensors"), WAY, 1)
    episode = TrainingData(Pack(glyphs), WAY, SHOT, 3).episode(0)
    stepped = adapting.stepped(adapting.model, episode, 0)
    loss, before = adapting.loss(adapting.model, episode)
    loss_after, after = adapting.loss(stepped, episode)
    for old, new in zip(before, after, strict=True):
        assert torch.allclose((new - old).norm(), 0.01 * old.norm(), rtol=1e-3)
    assert loss_after < loss


def test_the_program_prints_the_gain(adapted):
    words = ["--steps", "2", "--episodes", "4", "--inner", "1", "--overlapping"]
    command = [sys.executable, "-m", "baselines.gradient_adaptation", adapted, "--binary", BINARY]
    found = subprocess.run(
        [*command, *words], cwd=ROOT / "python", check=True, capture_output=True, text=True
    )
    assert "on support images" in found.stdout
    assert "points, paired over 4 validation episodes" in found.stdout

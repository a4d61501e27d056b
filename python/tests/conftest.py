"""What several test files share, made once."""

import pytest
from program import program, train


@pytest.fixture(scope="session")
def glyphs(tmp_path_factory):
    """The path of a pack of glyphs, 600 classes of 20 images."""
    path = tmp_path_factory.mktemp("pack") / "synthetic.safetensors"
    program("data", "import", "synthetic", "--output", path)
    return path


@pytest.fixture(scope="session")
def run(glyphs, tmp_path_factory):
    """The folder of a short 5-way 1-shot run on the glyphs with histograms."""
    settings = {"train.log_every": 5, "train.log_histograms": "true", "validation.every": 10}
    return train(tmp_path_factory.mktemp("run") / "run", glyphs, settings)

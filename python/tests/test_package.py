"""Tests the package that reads runs: it computes what the program records, episode by episode."""

import pickle

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch: `make parity` installs it and runs these tests")

import torch  # noqa: E402
from program import ROOT, export_episodes, program, train  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from hypertransformer import (  # noqa: E402
    Episodes,
    Pack,
    load_evaluation,
    load_metrics,
    load_run,
)

WAY, COUNT = 5, 20

VARIANTS = {
    "logits": {},
    "unlabelled and distractors": {
        "episode.unlabeled": 2,
        "episode.distractors": 1,
        "generator.generates": "last 1",
    },
    "all with learned base": {
        "generator.generates": "all",
        "generator.learned_base": "true",
    },
    "all, one by kernel positions": {
        "generator.generates": "all",
        "generator.per_layer": "{3: {allocation: spatial}}",
    },
}


@pytest.fixture(scope="module")
def pack(glyphs):
    torch.set_num_threads(1)
    return Pack(glyphs)


@pytest.fixture(scope="module", params=VARIANTS.values(), ids=VARIANTS.keys())
def variant(request, glyphs, tmp_path_factory):
    """The folder of a short run, and the settings that it differs in."""
    folder = tmp_path_factory.mktemp("variant") / "run"
    return train(folder, glyphs, request.param), request.param


@pytest.fixture(scope="module")
def episodes(pack, tmp_path_factory):
    path = tmp_path_factory.mktemp("episodes") / "episodes.safetensors"
    return Episodes(pack, export_episodes(path, pack.path))


def assert_as_recorded(logits, labels, record):
    """Check accuracy and loss against the program's record; whether accuracies are equal."""
    first, second = logits.topk(2, dim=1).values.T
    right = logits.argmax(1) == labels
    # Rounding decides the queries on the border of two classes.
    border = first - second < 1e-4
    surely, perhaps = (found.double().mean() for found in (right & ~border, right | border))
    assert surely - 1e-9 <= record["accuracy"] <= perhaps + 1e-9
    assert abs(cross_entropy(logits, labels).item() - record["loss"]) < 1e-4
    return abs(right.double().mean() - record["accuracy"]) < 1e-9


@pytest.mark.parametrize("mode", ["support", "query", "running"])
def test_every_episode_has_the_accuracy_that_the_program_records(pack, variant, mode, tmp_path):
    run, settings = variant
    model = load_run(run)
    sizes = [
        word
        for name in ("unlabeled", "distractors")
        for word in (f"--{name}", settings.get(f"episode.{name}", 0))
    ]
    path = export_episodes(tmp_path / "episodes.safetensors", pack.path, *sizes)
    program("evaluate", run, "--episodes", str(COUNT), "--batch-norm", mode)
    records = load_evaluation(run, f"evaluation-test-{mode}")
    assert [record["episode"] for record in records] == list(range(COUNT))
    equal = 0
    with torch.no_grad():
        for episode, record in zip(Episodes(pack, path), records, strict=True):
            theta = model.theta(episode.support, episode.support_labels, batch_norm=mode)
            logits = model.logits(theta, episode.query)
            equal += assert_as_recorded(logits, episode.query_labels, record)
    # After few steps moving averages are not yet of use, and all answers may be borderline.
    if mode != "running":
        assert equal >= COUNT - 1
        assert np.mean([record["accuracy"] for record in records]) > 0.3


def test_a_module_has_the_names_of_its_checkpoint_and_every_parameter_can_learn(variant, episodes):
    run, settings = variant
    model = load_run(run, "last")
    tensors = load_file(run / "checkpoints" / "last.safetensors")
    state = {name.removeprefix("phi."): value for name, value in tensors.items()}
    state = {name.removeprefix("buffers."): value for name, value in state.items()}
    for name, value in model.state_dict().items():
        assert torch.equal(value, state.pop(name))
    assert all(name.startswith("optimizer.") for name in state)
    episode = episodes[0]
    model.train()
    # With noise, because a gradient is zero where generated weights start at zero.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    logits = model(episode.support, episode.support_labels, episode.query)
    cross_entropy(logits, episode.query_labels).backward()
    reached = [name for name, value in model.named_parameters() if value.grad is not None]
    assert reached == [name for name, _ in model.named_parameters()]


def test_theta_has_every_weight_of_the_cnn(run, episodes):
    episode = episodes[0]
    theta = load_run(run).theta(episode.support, episode.support_labels)
    shapes = {name: tuple(value.shape) for name, value in theta.named().items()}
    assert shapes["layer1.kernel"] == (8, 1, 3, 3)
    assert shapes["logits.weight"] == (WAY, 8) and shapes["logits.bias"] == (WAY,)


def test_a_bundle_is_the_run_that_it_was_made_of(run, episodes, tmp_path):
    path = tmp_path / "bundle.safetensors"
    program("bundle", run, "--output", path)
    bundle, model, episode = load_run(path), load_run(run), episodes[0]
    with torch.no_grad():
        assert torch.equal(bundle(*episode[:3]), model(*episode[:3]))
    with pytest.raises(ValueError, match=r"images of 1×30×30, expected 1×28×28 as in training"):
        bundle.theta(torch.zeros(WAY, 1, 30, 30), episode.support_labels)


def test_a_pack_is_a_data_set_of_images_and_classes(pack):
    tensors = load_file(pack.path)
    image, class_ = pack[45]
    assert class_ == 2 and torch.equal(255 * image, tensors["images"][45].permute(2, 0, 1).float())
    assert pack[-1][1] == len(pack.class_names) - 1 == 599
    with pytest.raises(IndexError):
        pack[len(pack)]
    test = pack.part("test")
    assert {test[index][1] for index in range(len(test))} == set(pack.classes("test"))
    images, classes = next(iter(DataLoader(test, batch_size=7)))
    assert images.shape == (7, 1, 28, 28) and classes.dtype == torch.int64
    with pytest.raises(ValueError, match="part: valid, expected one of train, validation, test"):
        pack.part("valid")
    with pytest.raises(ValueError, match=r"has no split paper: expected one of \w+"):
        pack.part("test", "paper")


def test_worker_processes_map_the_pack_themselves(pack, episodes):
    sent = pickle.dumps(episodes)
    assert len(sent) < pack.images.nbytes / 50
    for ours, theirs in zip(episodes[3], pickle.loads(sent)[3], strict=True):
        assert torch.equal(ours, theirs)


def test_a_loader_stacks_episodes(episodes):
    batch = next(iter(DataLoader(episodes, batch_size=3)))
    assert batch.support.shape == (3, WAY, 1, 28, 28)
    assert torch.equal(batch.query_labels[2], episodes[2].query_labels)


def test_metrics_of_a_run_are_read_while_their_last_line_is_written(run, tmp_path):
    metrics = load_metrics(run)
    assert metrics[0]["step"] == 5 and "train/accuracy" in metrics[0]
    text = (run / "metrics.jsonl").read_text()
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 2')
    assert load_metrics(tmp_path) == metrics


def refusal(kind, call, *arguments, **more):
    """The message of the error that a call must raise."""
    with pytest.raises(kind) as raised:
        call(*arguments, **more)
    return str(raised.value)


def test_what_is_not_a_run_is_refused_by_name(run, glyphs, tmp_path):
    missing = refusal(FileNotFoundError, load_run, tmp_path / "no")
    assert missing == f"{tmp_path / 'no'} does not exist: expected a run folder or a bundle"
    assert "is not a run folder: it has no config.yaml" in refusal(ValueError, load_run, tmp_path)
    assert "has no checkpoint `step-7`: it has best, last" in refusal(
        FileNotFoundError, load_run, run, "step-7"
    )
    assert "is not a checkpoint: its metadata has no `checkpoint`" in refusal(
        ValueError, load_run, glyphs
    )
    assert "has no evaluation `no`" in refusal(FileNotFoundError, load_evaluation, run, "no")


@pytest.fixture
def copied(run, tmp_path):
    """A copy of a run that a test may damage."""
    (tmp_path / "checkpoints").mkdir()
    for name in ("config.yaml", "checkpoints/best.safetensors"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    return tmp_path


def test_settings_that_the_package_does_not_know_are_refused(copied):
    path = copied / "config.yaml"
    text = path.read_text()
    for setting, changed, expected in (
        ("attention: softmax", "attention: cosine", "generator.attention: cosine, expected one of"),
        ("heads: ", "necks: ", "generator.necks: unknown setting: another version of the program"),
        ("per_layer: {}", "per_layer: {3: {kind: x}}", "generator.per_layer.3.kind: x, expected"),
        ("- pool\n", "- blur\n", "cnn.block: blur, expected one of convolution, batch_norm"),
        ("batch_norm: support", "batch_norm: batch", "batch_norm: batch, expected one of query"),
        ("cnn:", "CNN:", "its settings have no section cnn"),
        ("channels: 8", "channels: 16", "restore the file that the program wrote"),
    ):
        path.write_text(text.replace(setting, changed))
        assert expected in refusal(ValueError, load_run, copied), setting


def test_damaged_files_are_refused(copied, glyphs, episodes, tmp_path):
    path = copied / "checkpoints" / "best.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert "is not a complete safetensors file" in refusal(ValueError, load_run, copied)
    half = tmp_path / "half.safetensors"
    half.write_bytes(glyphs.read_bytes()[:100_000])
    assert "copy it again, or import it" in refusal(ValueError, Pack, half)
    assert "has no `pack` in its metadata, only checkpoint" in refusal(
        ValueError, Pack, ROOT / "models" / "omniglot-20way.safetensors"
    )
    assert "does not exist: import it" in refusal(FileNotFoundError, Pack, tmp_path / "no")
    assert "`episodes export`" in refusal(ValueError, Episodes, episodes.pack, glyphs)


def test_images_and_labels_that_do_not_suit_a_run_are_refused(run):
    model = load_run(run)
    images, labels = torch.zeros(WAY, 1, 28, 28), torch.arange(WAY)

    def message(images=images, labels=labels, **more):
        return refusal(ValueError, model.theta, images, labels, **more)

    assert "torch.uint8, expected torch.float32" in message(images.byte())
    assert "shape [1, 28, 28], expected [N, C, H, W]" in message(images[0])
    assert "3 channels, expected 1" in message(images.expand(-1, 3, -1, -1))
    large = message(torch.zeros(WAY, 1, 64, 64))
    assert "images of 1×64×64" in large and "sides of 16 to 31" in large
    assert "images of 1×8×8" in message(torch.zeros(WAY, 1, 8, 8))
    assert "support_labels: 5, expected 0 to 4: the run is 5-way. Number" in message(
        labels=labels + 1
    )
    assert "support_labels: -1, expected 0 to 4" in message(labels=labels - 1)
    assert "expected [5] and torch.int64" in message(labels=labels[1:])
    assert "batch_norm: batch, expected one of query" in message(batch_norm="batch")
    theta = model.theta(images, labels)
    assert "query_images: images of" in refusal(ValueError, model.logits, theta, images[..., :8])


@pytest.mark.parametrize(
    "settings",
    [
        {"generator.logits_features": "embedded", "initialization": "paper"},
        {"generator.kind": "separate", "initialization": "paper"},
        {"cnn.head": "average", "cnn.padding": "valid", "cnn.layers": 2},
        {"cnn.layers": 0, "generator.image_embedding": 0},
    ],
    ids=lambda settings: ", ".join(settings),
)
def test_images_of_the_pack_are_accepted_and_larger_ones_only_where_they_fit(
    settings, glyphs, episodes, tmp_path
):
    run = train(tmp_path / "run", glyphs, {**settings, "train.steps": 1, "train.warmup_steps": 0})
    model, episode = load_run(run), episodes[0]
    model.theta(episode.support, episode.support_labels)
    larger = torch.zeros(WAY, 1, 80, 80)
    if settings.get("cnn.head") == "average":
        model.theta(larger, episode.support_labels)
    else:
        assert "images of 1×80×80" in refusal(
            ValueError, model.theta, larger, episode.support_labels
        )

"""Tests the rivals on a small synthetic pack: their properties, and that they learn."""

import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch: `make parity` installs it and runs these tests")
pytest.importorskip("sklearn", reason="no scikit-learn: `make parity` installs it")

import torch  # noqa: E402
from program import BINARY, ROOT, program  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from baselines import cnn  # noqa: E402
from baselines.data import Jitter, TrainingData  # noqa: E402
from baselines.evaluation import Interval, evaluate  # noqa: E402
from baselines.fine_tune import FineTune  # noqa: E402
from baselines.maml import Maml, MamlOptions  # noqa: E402
from baselines.metric import MatchingNet, ProtoNet  # noqa: E402
from baselines.paper import paper_accuracy  # noqa: E402
from baselines.report import Result, difference  # noqa: E402
from baselines.rfs import Rfs, RfsOptions  # noqa: E402
from baselines.training import Budget, train  # noqa: E402
from hypertransformer.data import Episodes, Pack  # noqa: E402
from hypertransformer.forward import HyperTransformer  # noqa: E402

CHANNELS, WAY = 4, 5
LENGTH = cnn.feature_length(CHANNELS, 28)


@pytest.fixture(scope="module")
def pack(glyphs):
    torch.set_num_threads(1)
    return Pack(glyphs)


@pytest.fixture(scope="module")
def episode_list(pack, tmp_path_factory):
    path = tmp_path_factory.mktemp("episodes") / "episodes.safetensors"
    sizes = ["--way", str(WAY), "--shot", "1", "--query", "5", "--episodes", "30"]
    program("episodes", "export", pack.path, "--split", "test", *sizes, "--output", path)
    return path


@pytest.fixture(scope="module")
def episodes(episode_list, pack):
    return Episodes(pack, episode_list)


@pytest.fixture
def data(pack):
    return TrainingData(pack, WAY, 1, 3)


def methods(classes=10):
    def weights():
        return cnn.initial_weights(1, CHANNELS, 0)

    return [
        ProtoNet(weights()),
        MatchingNet(weights()),
        Maml(weights(), WAY, LENGTH),
        Rfs(weights(), classes, LENGTH),
        FineTune(weights(), WAY, LENGTH),
    ]


def test_exported_episodes_are_whole_disjoint_and_of_test_classes(pack, episodes):
    allowed = set(pack.classes("test"))
    class_of = np.repeat(np.arange(len(pack.offsets) - 1), np.diff(pack.offsets))
    for row in range(len(episodes)):
        columns = {name: values[row] for name, values in episodes.columns.items()}
        assert set(columns["classes"]) <= allowed
        assert not set(columns["support"]) & set(columns["query"])
        for part in ("support", "query"):
            slots = columns[f"{part}_labels"]
            assert (columns["classes"][slots] == class_of[columns[part]]).all()
        assert np.bincount(columns["query_labels"]).tolist() == [5] * WAY
    assert episodes.facts["query_sampling"] == "balanced"


def test_a_list_of_another_pack_is_refused(episode_list, tmp_path):
    path = tmp_path / "other.safetensors"
    program("data", "import", "synthetic", "--seed", "1", "--output", path)
    with pytest.raises(ValueError, match="export the list again"):
        Episodes(Pack(path), episode_list)


def test_the_program_s_evaluation_and_pytorch_s_agree_on_every_episode(pack, run, tmp_path):
    model = HyperTransformer.load(run / "checkpoints" / "best.safetensors")
    path = tmp_path / "episodes.safetensors"
    for drawn in ([], ["--overlapping"]):
        both = ["--episodes", "30", *drawn, "--output"]
        program("evaluate", run, *both, tmp_path / "found.json")
        program("episodes", "export", pack.path, "--way", str(WAY), *both, path)
        exported = Episodes(pack, path)
        assert exported.facts["query_sampling"] == ("overlapping" if drawn else "balanced")
        found, _ = evaluate(model.classifier, exported)
        lines = (tmp_path / "found.jsonl").read_text().splitlines()
        expected = np.array([json.loads(line)["accuracy"] for line in lines])
        # In single precision a query on the border of two classes may change sides.
        assert np.abs(found - expected).max() <= 1.01 / 25
        assert (np.abs(found - expected) > 1e-6).sum() <= 2
        assert found.mean() > 0.3


def test_every_loss_reaches_every_parameter(data):
    for method in methods(len(data.classes)):
        if not method.parameters:
            continue
        for parameter in method.parameters.values():
            parameter.requires_grad_()
        # In the first step MAML's kernels have gradient 0, because its logits layer is zero.
        for step in range(2):
            method.loss(data, step, 0.5).backward()
            with torch.no_grad():
                for parameter in method.parameters.values():
                    parameter += torch.randn_like(parameter) * 0.01
        for name, parameter in method.parameters.items():
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, (
                method.name,
                name,
            )


@pytest.mark.parametrize("mode", ["query", "support", "running"])
def test_only_query_statistics_let_queries_influence_each_other(episodes, mode):
    episode = episodes[0]
    candidates = [Maml(cnn.initial_weights(1, CHANNELS, 0), WAY, LENGTH, batch_norm=mode)]
    if mode != "running":
        candidates.append(ProtoNet(cnn.initial_weights(1, CHANNELS, 0), mode))
    for method in candidates:
        classify = method.classifier(episode.support, episode.support_labels)
        with torch.no_grad():
            together, alone = classify(episode.query)[:1], classify(episode.query[:1])
        same = torch.allclose(together, alone, atol=1e-4)
        assert same == (mode != "query"), method.name


def test_support_order_changes_no_answer(episodes):
    episode = episodes[1]
    order = torch.randperm(WAY, generator=torch.Generator().manual_seed(0))
    for method in methods():
        straight = method.classifier(episode.support, episode.support_labels)
        turned = method.classifier(episode.support[order], episode.support_labels[order])
        with torch.no_grad():
            left, right = straight(episode.query), turned(episode.query)
        assert torch.allclose(left, right, atol=1e-2, rtol=1e-2), method.name


def test_protonet_s_logits_are_distances_to_class_means():
    support = torch.tensor([[0.0, 0.0], [2.0, 0.0], [5.0, 5.0]])
    logits = ProtoNet({}).logits(support, torch.tensor([0, 0, 1]), torch.tensor([[1.0, 1.0]]))
    assert logits.tolist() == [[-1.0, -32.0]]


def test_matching_s_attention_sums_to_one():
    support = torch.eye(3)
    logits = MatchingNet({}).logits(support, torch.tensor([0, 1, 1]), torch.eye(3)[:1])
    assert logits.exp().sum().item() == pytest.approx(1)
    assert logits.exp()[0, 0].item() == pytest.approx(np.e / (np.e + 2))


def maml_gradient(data, second_order):
    torch.manual_seed(0)
    options = MamlOptions(steps=2, second_order=second_order, first_order_share=0.0)
    method = Maml(cnn.initial_weights(1, CHANNELS, 0), WAY, LENGTH, options)
    for name, parameter in method.parameters.items():
        method.parameters[name] = parameter.double().requires_grad_()
    with torch.no_grad():
        method.parameters["logits.weight"] += 0.1 * torch.randn(WAY, LENGTH).double()
    for name, value in method.buffers.items():
        method.buffers[name] = value.double()
    episode = data.episode(0)
    episode = episode._replace(support=episode.support.double(), query=episode.query.double())

    class One:
        def episode(self, index):
            return episode

    loss = method.loss(One(), 0, 0.5)
    return method, One(), torch.autograd.grad(loss, list(method.parameters.values()))


def test_maml_s_second_order_gradient_is_that_of_finite_differences(data):
    method, one, gradients = maml_gradient(data, second_order=True)
    _, _, first_order = maml_gradient(data, second_order=False)
    name = "logits.weight"
    place = list(method.parameters).index(name)
    value, step = method.parameters[name].detach(), 1e-5
    found = []
    for sign in (1, -1):
        with torch.no_grad():
            value[0, 0] += sign * step
            found.append(method.loss(one, 0, 0.5).item())
            value[0, 0] -= sign * step
    numeric = (found[0] - found[1]) / (2 * step)
    assert gradients[place][0, 0].item() == pytest.approx(numeric, rel=1e-4)
    assert (gradients[place] - first_order[place]).abs().max() > 1e-4


def test_maml_s_loss_moves_from_every_step_to_the_last():
    method = Maml(cnn.initial_weights(1, CHANNELS, 0), WAY, LENGTH)
    assert method.step_weights(0.0) == pytest.approx([0.2] * 5)
    assert method.step_weights(0.05) == pytest.approx([0.1] * 4 + [0.6])
    assert method.step_weights(0.5) == [0, 0, 0, 0, 1]


def test_training_learns_and_a_resumed_one_ends_with_the_same_weights(data, episodes, tmp_path):
    def run(folder, stops):
        for steps in stops:
            # Without the cosine schedule, whose length is that of the training.
            method = ProtoNet(cnn.initial_weights(1, CHANNELS, 0))
            method.rate_factor, method.learning_rate = (lambda progress: 1.0), 5e-3
            budget = Budget(0, steps=steps, validations=1, validation_episodes=30)
            before = evaluate(method.classifier, episodes)[0].mean()
            progress = train(method, data, episodes, budget, folder, "test")
        return method, before, progress

    straight, before, progress = run(tmp_path / "straight", [120])
    resumed, _, _ = run(tmp_path / "resumed", [60, 120])
    assert progress.best_accuracy > before + 0.05
    tensors = [load_file(tmp_path / name / "last.safetensors") for name in ("straight", "resumed")]
    for name in straight.parameters:
        assert torch.equal(*(found[f"parameters.{name}"] for found in tensors)), name
    assert resumed.parameter_count == straight.parameter_count


def test_rfs_distils_itself(data):
    options = RfsOptions(batch=16, generations=1)
    method = Rfs(cnn.initial_weights(1, CHANNELS, 0), len(data.classes), LENGTH, options)
    for parameter in method.parameters.values():
        parameter.requires_grad_()
    method.loss(data, 0, 0.4)
    with torch.no_grad():
        method.parameters["layer1.kernel"] += 1
    trained = method.parameters["layer1.kernel"].detach().clone()
    loss = method.loss(data, 1, 0.5)
    assert torch.equal(method.buffers["teacher.layer1.kernel"], trained)
    assert not torch.equal(method.parameters["layer1.kernel"], trained)
    assert loss.isfinite()
    assert method.rate_factor(0.5) == pytest.approx(1.0)


def test_training_episodes_are_a_function_of_their_number_and_disjoint(pack):
    data = TrainingData(pack, WAY, 2, 3, rotations="per_class", jitter=Jitter(10, 0.1, 0.1, 0.05))
    one, again, other = data.episode(7), data.episode(7), data.episode(8)
    assert torch.equal(one.support, again.support) and torch.equal(one.query, again.query)
    assert not torch.equal(one.support, other.support)
    assert one.support.shape == (WAY * 2, 1, 28, 28) and one.query.shape == (WAY * 3, 1, 28, 28)
    assert 0 <= one.support.min() and one.support.max() <= 1 + 1e-6


def test_overlapping_queries_may_be_support_images(pack):
    for overlapping in (False, True):
        episode = TrainingData(pack, WAY, 8, 12, overlapping=overlapping).episode(0)
        same = (episode.query[:, None] == episode.support[None]).flatten(2).all(2).any(1)
        assert same.any() == overlapping


def test_training_data_draws_as_the_experiment_says_or_refuses(pack):
    episode = {"way": WAY, "shot": 1, "query": 3, "rotations": "none", "jitter": {}, "photo": None}

    def of(sampling, **more):
        changed = {**episode, "query_sampling": sampling, **more}
        return TrainingData.of(pack, {"episode": changed, "data": {"split": None}})

    assert of("overlapping").overlapping and not of("balanced").overlapping
    with pytest.raises(ValueError, match="episode.query_sampling: random: .* expected balanced"):
        of("random")
    with pytest.raises(ValueError, match="episode.photo: .* set it to null"):
        of("balanced", photo={})


def test_intervals_and_differences_in_pairs():
    assert str(Interval.of(np.array([0.5, 0.7]))) == "60.00 ± 19.60"

    def result(method, accuracies):
        return Result(method, 8, 1, 1.0, 1.0, "support", 20, 1, accuracies)

    one, other = result("a", [0.5, 0.9, 0.1]), result("b", [0.4, 0.8, 0.0])
    found = difference(one, other)
    assert found.mean == pytest.approx(0.1) and found.half == pytest.approx(0.0, abs=1e-12)


def test_the_paper_s_numbers_are_found_by_cell():
    assert paper_accuracy("omniglot", "maml++", 20, 1, 8) == 81.4
    assert paper_accuracy("omniglot", "hypertransformer", 20, 5, 64) == 98.8
    assert paper_accuracy("omniglot", "hypertransformer", 5, 1, 8) is None
    assert paper_accuracy("omniglot", "protonet", 20, 1, 64) is None
    assert paper_accuracy("mini-imagenet", "protonet", 5, 1, 64) == 49.4


def test_compare_writes_its_report_and_reuses_what_it_measured(pack, tmp_path):
    experiment = tmp_path / "experiment.yaml"
    experiment.write_text(
        f"extends: {ROOT}/experiments/synthetic.yaml\n"
        f"data: {{pack: {pack.path}}}\nepisode: {{way: {WAY}}}\n"
    )
    command = [sys.executable, "-m", "baselines.compare", experiment, "--channels", "4"]
    command += ["--methods", "hypertransformer", "protonet", "--minutes", "0.02"]
    command += ["--episodes", "10", "--runs", tmp_path / "runs", "--output", tmp_path / "out"]
    command += ["--binary", BINARY]
    environment = {"PYTHONPATH": str(ROOT / "python"), "MPLCONFIGDIR": str(tmp_path)}
    tables = []
    for _ in range(2):
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        tables.append((tmp_path / "out" / "table.md").read_text())
    assert done.stderr.count("reused from") == 2
    assert tables[0] == tables[1]
    assert "| hypertransformer | 4 |" in tables[0] and "| protonet | 4 |" in tables[0]
    document = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["method"] for row in document["results"]] == ["hypertransformer", "protonet"]
    assert (tmp_path / "out" / "accuracy.png").stat().st_size > 1000
    assert (tmp_path / "out" / "accuracy.svg").read_text().startswith("<?xml")

"""The demo: gradients against finite differences, shards that add up, the job, its exit code."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import weft
from weft.cli.app import app
from weft.demo import data as digits
from weft.demo import job, model
from weft.demo.train import on_fabric, single_rank, train


@pytest.fixture(scope="module")
def data():
    return digits.load("float64", 0)


def gradient_of(parameters, images, labels):
    into = np.full(model.PARAMETERS + 1, np.nan)
    model.gradient(parameters, images, labels, into)
    return into


def test_the_gradient_is_that_of_finite_differences(data):
    rng = np.random.default_rng(1)
    parameters = model.initial(3, "float64") + 0.1 * rng.normal(size=model.PARAMETERS)
    images, labels = data.train_images[:20], data.train_labels[:20]
    exact = gradient_of(parameters, images, labels)
    width = 1e-5
    for i in rng.choice(model.PARAMETERS, 60, replace=False):
        step = np.zeros(model.PARAMETERS)
        step[i] = width
        above = gradient_of(parameters + step, images, labels)[-1]
        below = gradient_of(parameters - step, images, labels)[-1]
        assert exact[i] == pytest.approx((above - below) / (2 * width), rel=1e-5, abs=1e-6)


def test_gradients_of_shards_add_up(data):
    parameters = model.initial(3, "float64")
    images, labels = data.train_images[:50], data.train_labels[:50]
    parts = [
        gradient_of(parameters, images[shard], labels[shard])
        for shard in np.array_split(np.arange(50), 7)
    ]
    np.testing.assert_allclose(sum(parts), gradient_of(parameters, images, labels), atol=1e-12)


def test_an_empty_shard_gives_zeros(data):
    into = gradient_of(model.initial(0, "float64"), data.train_images[:0], data.train_labels[:0])
    assert not into.any()


def test_batches_cover_each_epoch_once(data):
    batches = data.batches(100, 3, seed=5)
    count = len(data.train_labels)
    assert count + len(data.test_labels) == 1797
    per_epoch = len(batches) // 3
    for epoch in range(3):
        seen = np.concatenate(batches[epoch * per_epoch : (epoch + 1) * per_epoch])
        assert sorted(seen.tolist()) == list(range(count))


@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_number_of_ranks_trains_as_one_does(ranks, dtype):
    digits_of = digits.load(dtype, 0)
    batches = digits_of.batches(64, 2, 0)
    with weft.Fabric(f"sim:{ranks}") as fabric:
        ours = train(digits_of, batches, ranks, on_fabric(fabric), 0)
    alone = train(digits_of, batches, 1, single_rank, 0)
    assert ours.replicas_equal
    assert ours.losses[-1] < ours.losses[0] / 2
    assert job.relative_difference(ours.weights, alone.weights) <= job.TOLERANCES[dtype]


class AsOnGpus:
    """A simulated fabric that has its gradients brought to its devices, as a CUDA fabric does."""

    backend = "cuda"

    def __init__(self, fabric):
        self.devices = fabric.devices
        self.all_reduce = fabric.all_reduce


def test_gradients_through_device_memory():
    vectors = [np.full(10, rank, np.float32) for rank in range(3)]
    with weft.Fabric("sim:3") as fabric:
        on_fabric(AsOnGpus(fabric))(vectors)
        assert fabric.stats()["operations"] == 1
    assert [vector.tolist() for vector in vectors] == [[3.0] * 10] * 3


def test_a_gradient_that_is_not_summed_is_noticed(data):
    batches = data.batches(64, 1, 0)
    ours = train(data, batches, 2, lambda vectors: None, 0)
    alone = train(data, batches, 1, single_rank, 0)
    assert not ours.replicas_equal
    assert job.relative_difference(ours.weights, alone.weights) > 1e-3


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The whole job as users run it, once."""
    folder = tmp_path_factory.mktemp("demo")
    arguments = ["demo", "--devices", "sim:4", "--output", str(folder)]
    return CliRunner().invoke(app, arguments), folder


def test_the_job_passes_its_own_checks(finished):
    result, folder = finished
    assert result.exit_code == 0, result.stderr
    report = json.loads((folder / "report.json").read_text())
    assert report["schema"] == "weft.demo/1"
    assert report["accuracy"] >= 0.96
    assert report["matches_single_rank"] is True
    assert report["replicas_equal"] is True
    assert report["ranks"] == 4
    assert report["devices"] == [f"sim:{i}" for i in range(4)]
    assert report["times"] == "predicted"
    assert report["comm_seconds"] > 0
    assert report["comm_host_seconds"] > 0
    assert report["checks"]["float64"]["relative_difference"] <= 1e-12
    assert report["checks"]["float32"]["relative_difference"] <= 1e-5
    # Each rank sends 2 (n - 1) / n of the vector at each step.
    vector = (model.PARAMETERS + 1) * 4
    assert sum(report["bytes_per_link"].values()) == report["steps"] * 2 * 3 * vector


def test_the_job_shows_a_table_and_nothing_else_on_stdout(finished):
    result, _ = finished
    for words in ("test accuracy", "steps", "bytes moved 3->0", "(predicted)", "on the host"):
        assert words in result.stdout
    assert "\x1b" not in result.stdout + result.stderr
    assert "perfetto" in result.stderr
    assert "training" not in result.stderr  # no progress bar where there is no terminal


def test_the_job_leaves_a_trace_and_a_picture(finished):
    _, folder = finished
    trace = json.loads((folder / "trace.json").read_text())
    steps = json.loads((folder / "report.json").read_text())["steps"]
    spans = [event for event in trace["traceEvents"] if event["name"] == "all_reduce"]
    assert len(spans) == 4 * steps
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_check_that_fails_is_exit_code_1(tmp_path):
    result = CliRunner().invoke(
        app, ["demo", "--devices", "sim:2", "--epochs", "1", "--output", str(tmp_path), "--json"]
    )
    report = json.loads(result.stdout)
    assert report["accuracy"] < 0.96
    assert report["passed"] is False
    assert result.exit_code == 1
    assert "a check failed" in result.stderr


def test_a_missing_package_is_usage(monkeypatch, tmp_path):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "sklearn" else find(name)
    )
    result = CliRunner().invoke(app, ["demo", "--output", str(tmp_path)])
    assert result.exit_code == 2
    assert "weft[demo]" in result.stderr

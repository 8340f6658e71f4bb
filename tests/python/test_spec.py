"""Device specifications: what they mean, and that one which cannot be met says what there is."""

import re

import pytest

import weft
from weft import _spec


@pytest.fixture
def machine(monkeypatch):
    """Sets how many CUDA devices the machine seems to have."""

    def with_gpus(count):
        monkeypatch.setattr(weft._weft, "cuda_device_count", lambda: count)

    with_gpus(0)
    return with_gpus


@pytest.mark.parametrize("count", [1, 2, 63, 64])
def test_a_count_of_simulated_devices(machine, count):
    assert _spec.resolve(f"sim:{count}") == [f"sim:{i}" for i in range(count)]


@pytest.mark.parametrize(
    ("text", "ordinals"),
    [
        ("cuda:0", [0]),
        ("cuda:0,1", [0, 1]),
        ("cuda:1,0", [1, 0]),
        ("cuda:0x4", [0] * 4),
        ("cuda:0x2,1x2", [0, 0, 1, 1]),
        ("cuda:1,0x2", [1, 0, 0]),
    ],
)
def test_cuda_devices_and_repeats(machine, text, ordinals):
    machine(2)
    assert _spec.resolve(text) == [f"cuda:{i}" for i in ordinals]


def test_a_list_is_one_device_a_rank(machine):
    devices = ["sim:3", weft.Device("sim:3"), "sim:0", "sim"]
    assert _spec.resolve(devices) == ["sim:3", "sim:3", "sim:0", "sim:0"]
    assert _spec.resolve(("sim:1",)) == ["sim:1"]


def test_a_device_is_a_list_of_one(machine):
    assert _spec.resolve(weft.Device("sim:2")) == ["sim:2"]
    with pytest.raises(weft.InvalidArgument, match="not a device of a fabric"):
        _spec.resolve(weft.Device("cpu"))


@pytest.mark.parametrize(
    "bad",
    [
        "", "sim", "sim:", "sim:0", "sim:65", "sim:-1", "sim:1.5", "sim:0,1", "sim:\u0661",
        " sim:2", "sim:2 ", "sim:4x2", "cuda", "cuda:", "cuda:x", "cuda:0x", "cuda:0x0",
        "cuda:0x17", "cuda:0,", "cuda:,0", "cuda:99", "cuda:0,99", "gpu:1", "cpu", "CUDA:0",
        "sim:" + "9" * 30, "cuda:0x" + "9" * 30, "cuda:" + "9" * 30,
        [], ["cpu"], ["sim:64"], ["sim:0", "cuda:0"], ["gpu:1"], [""], ["sim:0"] * 65, 4, object(),
    ],
)  # fmt: skip
def test_a_specification_that_cannot_be_met_says_what_there_is(machine, bad):
    machine(1)
    with pytest.raises(weft.InvalidArgument) as caught:
        _spec.resolve(bad)
    assert isinstance(caught.value, ValueError)
    assert caught.value.code == "invalid_argument"
    assert re.search("64 simulated|at most|not both", str(caught.value))


def test_a_missing_cuda_device_is_named(machine):
    for gpus, words in ((0, "no CUDA device"), (1, "one CUDA device"), (2, "2 CUDA devices")):
        machine(gpus)
        with pytest.raises(weft.InvalidArgument, match=words) as caught:
            _spec.resolve("cuda:7")
        assert caught.value.device == "cuda:7"


@pytest.mark.parametrize(
    ("gpus", "devices"),
    [(0, [f"sim:{i}" for i in range(4)]), (1, ["cuda:0"]), (3, ["cuda:0", "cuda:1", "cuda:2"])],
)
def test_the_default_is_every_gpu_or_four_simulated_devices(machine, monkeypatch, gpus, devices):
    machine(gpus)
    monkeypatch.setattr(_spec, "setting", lambda name: "")
    assert _spec.resolve() == devices


def test_weft_devices_overrides_the_default(machine, monkeypatch):
    machine(2)
    monkeypatch.setattr(_spec, "setting", {"WEFT_DEVICES": "sim:3"}.__getitem__)
    assert _spec.resolve() == ["sim:0", "sim:1", "sim:2"]
    assert _spec.resolve("cuda:1") == ["cuda:1"]

"""What is given wrongly is refused by an error of weft that says what, whose and what else."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import weft


@pytest.fixture
def fabric():
    with weft.Fabric("sim:2", timeout=5) as fab:
        yield fab


class NoShape:
    """A producer of DLPack that says no more of itself."""

    def __dlpack__(self, **kwargs):
        return np.ones(4, np.float32).__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return (1, 0)


class BadDevice(NoShape):
    def __dlpack_device__(self):
        return "x"


class BadShape(NoShape):
    shape = 5


@pytest.mark.parametrize("wrong", [1, None, "ab", bytearray(4), NoShape(), BadShape(), object()])
@pytest.mark.parametrize(
    "name",
    ["all_reduce", "reduce_scatter", "all_gather", "all_to_all", "broadcast", "reduce", "scatter",
     "gather"],
)  # fmt: skip
def test_what_is_no_tensor_is_refused_by_name(fabric, name, wrong):
    if isinstance(wrong, NoShape) and name in ("all_reduce", "broadcast", "reduce"):
        getattr(fabric, name)([wrong, wrong])  # needs no shape
        return
    with pytest.raises(weft.Error):
        getattr(fabric, name)([wrong, wrong])
    if wrong is not None:
        with pytest.raises(weft.Error) as caught:
            fabric.send_recv([wrong, wrong], [1, 0])
        assert caught.value.rank is not None


def test_a_refused_tensor_names_collective_rank_device_and_what_is_supported(fabric):
    good = np.ones(4, np.float32)
    with pytest.raises(weft.DTypeMismatch, match=r"all_reduce: rank 1: .*complex64.*float32") as e:
        fabric.all_reduce([good, good.astype(np.complex64)])
    assert (e.value.rank, e.value.device) == (1, "sim:1")
    with pytest.raises(weft.InvalidArgument, match=r"broadcast: rank 0: str is no tensor") as e:
        fabric.broadcast(["a", good])
    assert (e.value.rank, e.value.device) == (0, "sim:0")
    with pytest.raises(weft.InvalidArgument, match=r"all_reduce: rank 1: str is no tensor") as e:
        fabric.all_reduce([[good], ["x"]])
    assert (e.value.rank, e.value.device) == (1, "sim:1")
    with pytest.raises(weft.InvalidArgument, match="NoneType is no tensor"):
        fabric.copy(None, good)
    with pytest.raises(weft.InvalidArgument, match=r"all_gather: rank 1: int is no tensor") as e:
        fabric.all_gather([good, 1])
    assert (e.value.rank, e.value.device) == (1, "sim:1")


def test_errors_that_concern_a_rank_name_its_device(fabric):
    with pytest.raises(weft.ShapeMismatch) as caught:
        fabric.all_reduce([np.ones(3), np.ones(4)])
    assert caught.value.rank == 1
    assert caught.value.device == "sim:1"
    fabric._native.plan_fault(1, 0, "stop")
    work = fabric.all_reduce([np.ones(3), np.ones(3)], timeout=0.2, async_op=True)
    with pytest.raises(weft.CollectiveTimeout) as timed_out:
        work.wait()
    for error in (timed_out.value, work.exception()):
        assert error.rank is not None
        assert error.device == f"sim:{error.rank}"


def test_a_device_of_dlpack_that_is_none_is_refused(fabric):
    with pytest.raises(weft.InvalidArgument, match="__dlpack_device__ of BadDevice"):
        weft.from_dlpack(BadDevice())
    with pytest.raises(weft.InvalidArgument, match="__dlpack_device__ of BadDevice"):
        fabric.all_reduce([BadDevice(), BadDevice()])


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        (5, "for each of 2 ranks, not 5"),
        ([[1, 1]], "not 1"),
        ([[1, 1], 5], "rank 1's must be 2 whole numbers"),
        ([[1, 1], [2]], "rank 1's must be 2 whole numbers"),
        ([[-1, 3], [1, 1]], "rank 0's must be 2 whole numbers from 0 on"),
        ([[1 << 70, 0], [1, 1]], "rank 0's must be"),
        ([[1 << 40, 0], [1, 1]], "rank 0: splits send 1099511627776 rows"),
    ],
)
def test_splits_that_cannot_be_are_refused(fabric, splits, words):
    with pytest.raises(weft.Error, match=words):
        fabric.all_to_all([np.ones(2), np.ones(2)], splits=splits)


@pytest.mark.parametrize("splits", [5, ["x", 1], [1], [-1, 3], [1 << 70, 0], [1 << 62, 1 << 62]])
def test_splits_of_one_rank_are_refused_before_it_waits_for_others(fabric, splits):
    with pytest.raises(weft.InvalidArgument, match="rank 0's must be 2 whole numbers") as caught:
        fabric.rank(0).all_to_all(np.ones(2), np.ones(2), splits=splits)
    assert (caught.value.rank, caught.value.device) == (0, "sim:0")


def test_what_is_no_tensor_is_refused_of_one_rank_too(fabric):
    with pytest.raises(weft.InvalidArgument, match="int is no tensor"):
        fabric.rank(1).all_to_all(1)


def test_an_output_that_cannot_be_made_is_an_error_of_weft(fabric):
    endless = [np.broadcast_to(np.uint8(1), 1 << 62) for _ in range(2)]
    for call in (fabric.all_gather, fabric.gather):
        with pytest.raises(weft.SizeOverflow, match=r"rank 0: .*more than 2"):
            call(endless)
    with pytest.raises(weft.SizeOverflow, match="more than 2"):
        fabric.rank(0).all_gather(endless[0])
    with pytest.raises(weft.OutOfMemory, match="rank 0: "):
        fabric.all_to_all(endless)


def test_a_copy_is_between_the_ranks_of_its_fabric(fabric):
    here, there = weft.zeros(2, device="sim:1"), weft.ones(2, device="sim:5")
    with pytest.raises(weft.DeviceMismatch, match="the source is on sim:5, and no rank is"):
        fabric.copy(there, here)
    assert here.tolist() == [0, 0]


def test_a_dtype_that_numpy_lacks_is_a_dtype_mismatch():
    with pytest.raises(weft.DTypeMismatch, match="5 is not a dtype"):
        weft.zeros(2).__array__(5)
    assert weft.zeros(2).__array__(np.int8).dtype == np.int8
    assert weft.zeros(2).__array__("float32").dtype == np.float32


@pytest.mark.parametrize("name", ["zeros_like", "ones_like", "empty_like"])
def test_like_takes_a_tensor(name):
    with pytest.raises(weft.InvalidArgument, match=f"{name} takes a weft.Tensor, not ndarray"):
        getattr(weft, name)(np.ones(2))
    with pytest.raises(weft.InvalidArgument, match="full_like takes a"):
        weft.full_like(None, 1)


def test_an_arange_that_fits_nowhere_is_refused():
    with pytest.raises(weft.OutOfMemory, match="arange"):
        weft.arange(10**17)
    for numbers in ((2**63,), (0, 2**63), (0, 5, 2**63), (-(2**63) - 1, 0)):
        with pytest.raises(weft.SizeOverflow, match="arange"):
            weft.arange(*numbers)


def test_a_device_has_a_name():
    with pytest.raises(weft.InvalidArgument, match="has a name"):
        weft.Device(None)


def test_only_one_size_of_a_shape_is_found_out():
    with pytest.raises(weft.InvalidArgument, match="only one size"):
        weft.zeros(4).reshape(-1, -1)


def test_a_value_beyond_64_bits_fills_floats_and_no_integers():
    assert weft.full((2,), 2**70, dtype=weft.float64).tolist() == [2.0**70] * 2
    for dtype in (weft.int64, weft.uint8, weft.bool):
        with pytest.raises(weft.InvalidArgument, match=r"does not fit"):
            weft.full((2,), 2**70, dtype=dtype)
    with pytest.raises(weft.InvalidArgument, match="does not fit"):
        weft.full((2,), 10**400, dtype=weft.float64)


def test_a_list_is_no_value_of_a_slice_and_the_error_says_what_is():
    with pytest.raises(weft.ShapeMismatch, match=r"not a list; .* tensor or array"):
        weft.zeros(3)[:] = [1, 2, 3]


@pytest.mark.parametrize("timeout", [1e10, 1e300, float("inf"), float("nan"), 0, -1])
def test_a_timeout_says_its_limits(fabric, timeout):
    with pytest.raises(weft.InvalidArgument, match="above 0 and at most 1e9 seconds"):
        fabric.barrier(timeout)


def test_a_topology_smaller_than_the_fabric_is_refused_when_it_is_opened():
    pair = weft.topology.Topology.preset("pair-nvlink")
    with pytest.raises(weft.InvalidArgument, match="4 devices"):
        weft.Fabric("sim:4", topology=pair)
    with weft.Fabric(["sim:0", "sim:1", "sim:1"], topology=pair) as fab:
        assert fab.all_reduce([np.ones(1)] * 0 + [np.ones(1) for _ in range(3)])[2][0] == 3


# What outputs are made, and returned


def test_scatter_makes_outputs_on_each_simulated_rank(fabric):
    parts = fabric.scatter([weft.arange(4, device="sim:0"), None])
    assert [p.tolist() for p in parts] == [[0, 1], [2, 3]]
    assert [str(p.device) for p in parts] == ["sim:0", "sim:1"]


def test_outputs_of_others_are_none_also_where_they_were_given(fabric):
    one, two = np.ones(1), np.zeros(1)
    both = fabric.gather([one, np.ones(1)], root=1, out=[np.zeros(2), np.zeros(2)])
    assert both[0] is None
    assert both[1].tolist() == [1, 1]
    got = fabric.send_recv([one, None], [1, None], out=[np.zeros(1), two])
    assert got[0] is None
    assert got[1] is two
    assert two.tolist() == [1]


def test_one_rank_may_choose_the_group_size(fabric):
    view = fabric.rank(0)
    with pytest.raises(weft.InvalidArgument, match="group_size"):
        view.all_reduce(np.ones(2), group_size=0)
    with weft.Fabric("sim:1") as alone:
        data = np.ones(2)
        assert alone.rank(0).all_reduce(data, group_size=1, algorithm="hierarchical") is data


# The environment


def in_process(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environb | environment_bytes(environment),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def environment_bytes(environment):
    return {os.fsencode(name): os.fsencode(value) for name, value in environment.items()}


def test_bytes_that_are_no_utf_8_in_the_environment_are_told_of():
    value = in_process("import weft; weft.Fabric('sim:1')", WEFT_SIM_TOPOLOGY=b"\xff\xfeA")
    assert value.returncode == 1
    last = r"weft.ConfigError: WEFT_SIM_TOPOLOGY is '\xff\xfeA', but must be UTF-8"
    assert value.stderr.splitlines()[-1] == last
    name = in_process("import weft; weft.Fabric('sim:1').close()", **{"WEFT_\udcff": "1"})
    assert name.returncode == 0
    assert name.stderr == (
        "<environment>:1: RuntimeWarning: unknown environment variable WEFT_\\xff\n"
    )
    text = in_process("import weft; weft.Fabric('sim:1')", WEFT_SIM_TOPOLOGY="größer")
    assert "WEFT_SIM_TOPOLOGY is 'größer'" in text.stderr


def test_a_variable_is_unusable_also_where_an_argument_would_win():
    done = in_process("import weft; weft.Fabric('sim:1', timeout=3)", WEFT_TIMEOUT="abc")
    assert "ConfigError: WEFT_TIMEOUT is 'abc'" in done.stderr


def test_the_limit_of_a_timeout_is_that_of_its_variable():
    done = in_process("import weft; weft.Fabric('sim:1')", WEFT_TIMEOUT="1e300")
    assert "ConfigError: WEFT_TIMEOUT is '1e300', but must be" in done.stderr


def test_devices_of_the_environment_that_are_not_there_name_the_variable():
    for devices in ("junk", "sim:65", "cuda:99"):
        done = in_process("import weft; weft.Fabric()", WEFT_DEVICES=devices)
        assert f"ConfigError: WEFT_DEVICES is '{devices}': " in done.stderr

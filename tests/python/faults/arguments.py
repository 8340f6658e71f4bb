"""Section A, arguments: numbers of tensors, shapes, dtypes, devices, options; see layouts.py too.

Every refusal goes through `refused`: before any launch, and nothing has changed.
"""

from __future__ import annotations

import itertools
import math
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft
from python import matrix
from python.faults.calls import (
    COLLECTIVES,
    IN_PLACE,
    REDUCTIONS,
    ROOTED,
    WAYS,
    WHOLE,
    Array,
    Memory,
    call,
    listed,
    refused,
    unchanged,
    works,
)
from python.faults.table import checked, covered

FEW = settings(max_examples=6, deadline=None)
SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)


@checked(
    "A-01",
    "shapes differ between ranks",
    "ShapeMismatch that names the rank and both shapes",
    cases=COLLECTIVES,
)
def shapes_differ(name: str) -> None:
    @FEW
    @given(st.integers(2, 4), st.data(), SHAPES, st.sampled_from(["inputs", "outputs"]))
    def check(world: int, data: Any, shape: tuple[int, ...], what: str) -> None:
        made = call(name, world)
        if name == "scatter":
            what = "outputs"
        right = made.get(what, 1).shape
        wrong = shape if shape != right else (shape[0] + 1,)
        ranks = made.givers[1:] if what == "inputs" else made.getters
        rank = data.draw(st.sampled_from(ranks))
        made.put(what, rank, made.memory.array(wrong))
        noun = "tensor" if what == "inputs" else "output"
        says = rf"rank {rank}'s {noun} has shape \({', '.join(map(str, wrong))},?\), "
        for error in refused(made, weft.ShapeMismatch, says, r"shape \(\d+,\)"):
            assert (error.rank, error.device) == (rank, f"sim:{rank}")

    check()


@checked(
    "A-02",
    "as many elements in another shape",
    "ShapeMismatch: shapes must agree, not numbers of elements",
    cases=COLLECTIVES,
)
def same_number_of_elements(name: str) -> None:
    @FEW
    @given(st.data(), st.sampled_from([(12,), (6, 2), (3, 4), (2, 2, 3), (12, 1), (1, 12)]))
    def check(data: Any, shape: tuple[int, ...]) -> None:
        made = call(name, 3, 6, (2,))
        what = "outputs" if name == "scatter" else data.draw(st.sampled_from(["inputs", "outputs"]))
        right = made.get(what, 1).shape
        wrong = tuple(s for s in shape) if math.prod(right) == 12 else (math.prod(right),)
        if wrong == right:
            wrong = (right[1], right[0])
        rank = made.givers[-1] if what == "inputs" else made.getters[-1]
        made.put(what, rank, made.memory.array(wrong))
        assert math.prod(wrong) == math.prod(right)
        refused(made, weft.ShapeMismatch, rf"rank {rank}'s \w+ has shape")

    check()


@checked(
    "A-03",
    "the dtype of one rank differs",
    "DTypeMismatch that names the rank and both dtypes",
    cases=COLLECTIVES,
)
def dtypes_differ(name: str) -> None:
    pairs = list(itertools.permutations(matrix.DTYPES, 2))
    what = "outputs" if name == "scatter" else "inputs"
    made = call(name)
    rank = made.givers[-1] if what == "inputs" else made.getters[-1]
    shape = made.get(what, rank).shape
    with weft.Fabric("sim:3") as fabric:
        for one, other in pairs:
            made = call(name, dtype=matrix.numpy_dtype(one))
            made.put(what, rank, made.memory.array(shape, matrix.numpy_dtype(other)))
            (error,) = unchanged(fabric, made.memory, lambda made=made: listed(fabric, made))
            assert type(error) is weft.DTypeMismatch, error
            assert f"rank {rank}'s" in str(error)
            assert f" is {other}, rank " in str(error)
            assert str(error).split(" (at place")[0].endswith(f" is {one}")
    made.put(what, rank, made.memory.array(shape, np.int8))
    refused(made, weft.DTypeMismatch, rf"rank {rank}'s \w+ is int8")


UNSUPPORTED = (
    "complex64", "complex128", "uint16", "uint32", "uint64", "longdouble", "S3", "U3", "object",
    "datetime64[s]", ">f4", ">i8", [("x", "i4")],
)  # fmt: skip


@checked(
    "A-04",
    "a dtype that is not supported: complex, avg of integers (bool sums and float8 are defined)",
    "DTypeMismatch that lists what is",
    cases=COLLECTIVES,
)
def unsupported_dtypes(name: str) -> None:
    for dtype in UNSUPPORTED:
        memory = Memory()
        made = call(
            name,
            make=lambda shape, rank, m=memory, d=dtype: m.keep(np.zeros(shape, d)),
            memory=memory,
        )
        refused(made, weft.DTypeMismatch, "not supported; these are: bool, uint8, .*float64")
        made.outputs = None
        if name != "scatter":  # of ranks by themselves it needs out=
            refused(made, weft.DTypeMismatch, "not supported; these are: ")
    if name in REDUCTIONS:
        for dtype in ("bool", *matrix.INTEGERS):
            made = call(name, dtype=dtype)
            made.arguments["op"] = "avg"
            refused(made, weft.DTypeMismatch, f"avg of {dtype} is not defined; it needs a floating")


@checked(
    "A-05",
    "a tensor on another device than its rank's",
    "DeviceMismatch that names the rank and both devices",
    cases=(*COLLECTIVES, "copy"),
)
def wrong_device(name: str) -> None:
    if name == "copy":
        copies_of_foreign_devices()
        return
    for device, what in itertools.product(("sim:2", "sim:40"), ("inputs", "outputs")):
        memory = Memory()
        made = call(
            name, make=lambda shape, rank, m=memory: m.on_device(shape, f"sim:{rank}"),
            memory=memory,
        )  # fmt: skip
        there = memory.on_device(tuple(made.get(what, 1).shape), device)
        made.put(what, 1, there)
        noun = "tensor" if what == "inputs" else "output"
        says = f"rank 1's {noun} is on {device}, the rank is on sim:1"
        for error in refused(made, weft.DeviceMismatch, says):
            assert (error.rank, error.device) == (1, "sim:1")


def copies_of_foreign_devices() -> None:
    memory = Memory()
    here, there = memory.on_device((4,), "sim:1"), memory.on_device((4,), "sim:9")
    with weft.Fabric("sim:2") as fabric:
        for source, target in ((here, there), (there, here)):

            def copy(source: Any = source, target: Any = target) -> None:
                with pytest.raises(weft.DeviceMismatch, match="is on sim:9, and no rank is") as e:
                    fabric.copy(source, target)
                assert e.value.device == "sim:9"

            unchanged(fabric, memory, copy)


covered(
    "A-06",
    "host memory among CUDA tensors (simulated ranks borrow it, as documented)",
    "DeviceMismatch",
    ("tests/gpu/test_all_reduce.py", "test_host_memory_is_refused_on_cuda"),
)


@checked(
    "A-07",
    "two ranks on one device",
    "allowed, as documented: the ranks share it, and results are exact",
)
def ranks_that_share_a_device() -> None:
    for devices in (["sim:0", "sim:0"], ["sim:3", "sim:1", "sim:3", "sim:3"]):
        with weft.Fabric(devices) as fabric:
            assert fabric.devices == devices
            for algorithm in matrix.ALGORITHMS["all_reduce"]:
                if algorithm in ("lamport", "one_shot_pull"):
                    continue  # of floats, and with out=
                data = [np.arange(50) * (rank + 1) for rank in range(fabric.size)]
                want = sum(data[1:], data[0])
                for got in fabric.all_reduce(data, algorithm=algorithm):
                    assert got.tobytes() == want.tobytes(), algorithm


@checked(
    "A-08",
    "another number of tensors than of ranks",
    "WorldSizeError that says both",
    cases=COLLECTIVES,
)
def wrong_number_of_tensors(name: str) -> None:
    for what, change in itertools.product(("inputs", "outputs"), (-3, -1, 1)):
        made = call(name)
        given = getattr(made, what)
        setattr(made, what, given[:change] if change < 0 else [*given, given[0]])
        count = 3 + change
        if name == "bucket" and count == 0:
            continue  # no list of lists, and so no bucket
        says = rf"{count} (tensors|outputs|lists of \w+) for a fabric of 3 ranks"
        refused(made, weft.WorldSizeError, says, ways=WHOLE)
    if name == "send_recv":
        made = call(name)
        made.arguments["to"] = [1, 2]
        refused(made, weft.WorldSizeError, "2 receivers for a fabric of 3 ranks", ways=WHOLE)
    made = call(name)
    made.arguments["streams"] = [weft.Stream("sim:0")]
    refused(made, weft.WorldSizeError, "1 streams for a fabric of 3 ranks", ways=WHOLE)


covered(
    "A-18",
    "more than 2^31 elements",
    "64-bit indices everywhere",
    ("tests/collectives/schedule/test_tiling.cc", "a vector of many terabytes does not overflow"),
    ("tests/core/test_layout.cc", "interleaved views of a large tensor do not overlap"),
)


def endless(rows: int) -> Array:
    """That many rows in one byte."""
    return np.broadcast_to(np.uint8(1), (rows,))


@checked(
    "A-19",
    "sizes that overflow: of an output, of splits, of a shape",
    "SizeOverflow; OutOfMemory where a size is only too large",
    cases=("all_gather", "gather", "all_to_all", "reduce_scatter", "scatter", "shapes"),
)
def overflowing_sizes(name: str) -> None:
    memory = Memory()
    if name == "shapes":
        for shape in ((1 << 62, 4), (1 << 32, 1 << 32), (1 << 62, 4, 0)):
            for make in (weft.zeros, weft.empty, weft.ones):
                with pytest.raises(weft.SizeOverflow, match=r"2\^63 - 1"):
                    make(shape, dtype=weft.uint8)
        return
    ways = WHOLE if name == "scatter" else (*WHOLE, by_view)
    enormous = call(name, make=lambda shape, rank: endless(1 << 62), memory=memory)
    enormous.outputs = None
    if name in ("all_gather", "gather"):
        refused(enormous, weft.SizeOverflow, r"2\^63 - 1", ways=ways)
        enormous.outputs = [memory.array((4,), np.uint8) for _ in range(3)]
        refused(enormous, weft.SizeOverflow, r"3 tensors of shape .*2\^63 - 1 rows")
        return
    enormous.inputs = [endless(3 << 60) for _ in range(3)]
    refused(enormous, weft.OutOfMemory, "(?i)unable to allocate|memory", ways=ways)
    if name == "all_to_all":
        made = call(name, make=lambda shape, rank: endless(1 << 62), memory=memory)
        made.arguments["splits"] = [[1 << 62, 0, 0]] * 3
        refused(made, weft.SizeOverflow, r"splits add up to more than 2\^63 - 1")
        made.outputs = None
        refused(made, weft.SizeOverflow, r"2\^63 - 1", ways=WHOLE)


def by_view(fabric: weft.Fabric, made: Any) -> list[BaseException | None]:
    """The root's call alone: it is refused before it waits for anybody."""
    tensor, own = made.of_rank(1)
    try:
        getattr(fabric.rank(1), made.method)(tensor, **own)
    except Exception as error:
        _tell_the_others(fabric, made)
        return [error]
    return [None]


def _tell_the_others(fabric: weft.Fabric, made: Any) -> None:
    """The other ranks' calls, which end with the same: afterwards none is owed any more."""
    for rank in (0, 2):
        tensor, own = made.of_rank(rank)
        with pytest.raises(weft.Error):
            getattr(fabric.rank(rank), made.method)(tensor, **own)


NOT_TEXT = st.one_of(st.none(), st.integers(), st.binary(max_size=3), st.lists(st.text()))
WORDS = st.text(max_size=6)
OPTIONS: dict[str, Any] = {
    "op": st.one_of(NOT_TEXT, WORDS.filter(lambda text: text not in matrix.OPS)),
    "algorithm": st.one_of(
        NOT_TEXT, WORDS.filter(lambda text: text not in matrix.ALGORITHMS["all_reduce"])
    ),
    "root": st.one_of(
        st.integers(max_value=-1), st.integers(min_value=3), st.booleans(), st.floats(), st.text()
    ),
    "timeout": st.one_of(
        st.floats(max_value=0), st.floats(min_value=1e9 + 1), st.just(math.nan), st.text(),
        st.booleans(), st.integers(max_value=0),
    ),
    "max_blocks": st.one_of(st.integers(max_value=0), st.booleans(), st.floats(), st.text()),
    "group_size": st.one_of(st.integers(max_value=0), st.booleans(), st.floats(), st.text()),
    "to": st.lists(
        st.one_of(st.integers(max_value=-1), st.integers(min_value=3), st.floats()),
        min_size=3, max_size=3,
    ),
    "splits": st.sampled_from([
        5, [], [[4, 4, 4]] * 2, [[4, 4, 4], [4, 4], [4, 4, 4]], [[12, 0, 0], [1, 2, "x"], [4] * 3],
        [[4, 4, 4], [13, -1, 0], [4, 4, 4]], [[4] * 3, [1 << 70, 0, 0], [4] * 3],
        [[4] * 3, None, 1],
    ]),
}  # fmt: skip


def options_of(name: str) -> list[str]:
    """The arguments that a collective has beside its tensors."""
    return [
        "algorithm", "timeout", "max_blocks",
        *(["op"] if name in REDUCTIONS else []), *(["root"] if name in ROOTED else []),
        *(["group_size"] if name in ("all_reduce", "bucket") else []),
        *(["to"] if name == "send_recv" else []), *(["splits"] if name == "all_to_all" else []),
    ]  # fmt: skip


@checked(
    "A-20",
    "an op, algorithm, root, partner, split, limit or timeout that cannot be",
    "InvalidArgument, a ValueError, on every rank",
    cases=[*((name, option) for name in COLLECTIVES for option in options_of(name)), "barrier"],
)
def wrong_options(case: Any) -> None:
    if case == "barrier":
        wrong_barriers()
        return
    name, option = case

    @settings(max_examples=5, deadline=None)
    @given(OPTIONS[option])
    def check(value: Any) -> None:
        made = call(name)
        made.arguments[option] = value
        whole_only = option == "splits" and not (isinstance(value, list) and len(value) == 3)
        for error in refused(made, weft.InvalidArgument, ways=WHOLE if whole_only else WAYS):
            assert isinstance(error, ValueError)

    check()


def wrong_barriers() -> None:
    memory = Memory()
    with weft.Fabric("sim:2") as fabric:
        for timeout in (0, -1, math.nan, math.inf, 2e9, "x", True):

            def call_it(timeout: Any = timeout) -> None:
                with pytest.raises(weft.InvalidArgument, match="timeout"):
                    fabric.barrier(timeout)

            unchanged(fabric, memory, call_it)


@checked(
    "A-21",
    "tensors dropped or resized by another thread while the operation runs",
    "their memory is held until it has ended; to resize it raises",
    cases=IN_PLACE,
)
def dropped_while_in_flight(name: str) -> None:
    with weft.Fabric("sim:3", timeout=30) as fabric:
        fabric._native.plan_fault(1, 0, "delay", 0.15)
        data = [np.arange(3000) * (rank + 1) for rank in range(3)]
        want = [data[0].copy()] * 3 if name == "broadcast" else [sum(data[1:], data[0])] * 3
        views = [[x] for x in data] if name == "bucket" else list(data)
        ghosts = [weakref.ref(x) for x in data]
        method = getattr(fabric, "all_reduce" if name == "bucket" else name)
        work = method(views, async_op=True)
        resized: list[type] = []

        def resize() -> None:
            try:
                ghosts[0]().resize(1 << 20)
            except ValueError as error:
                resized.append(type(error))

        thread = threading.Thread(target=resize)
        thread.start()
        thread.join()
        assert resized == [ValueError]
        del data, views
        assert all(ghost() is not None for ghost in ghosts)
        outputs = [o[0] if name == "bucket" else o for o in work.outputs]
        work.wait()
        fabric._native.plan_fault(-1, -1, "none")
        for rank in [0] if name == "reduce" else range(3):
            assert outputs[rank].tobytes() == want[rank].tobytes()
        works(fabric)


class ReadOnly:
    """Lends an array by DLPack, read-only."""

    def __init__(self, array: Array) -> None:
        self.array = array.view()
        self.array.flags.writeable = False
        self.shape = array.shape

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def lends_read_only() -> bool:
    """NumPy before 2.1 does not lend read-only arrays at all."""
    try:
        ReadOnly(np.ones(1)).__dlpack__(max_version=(1, 0))
    except (BufferError, TypeError):
        return False
    return True


@checked(
    "A-22",
    "an output that is read-only, of NumPy or by DLPack",
    "ReadOnlyBuffer, a BufferError, that names the rank",
    cases=(*COLLECTIVES, "copy"),
)
def read_only_outputs(name: str) -> None:
    if name == "copy":
        memory = Memory()
        source, target = memory.array((4,)), memory.array((4,))
        target.flags.writeable = False
        with weft.Fabric("sim:2") as fabric:

            def copy() -> None:
                with pytest.raises(weft.ReadOnlyBuffer, match="target"):
                    fabric.copy(source, target)

            unchanged(fabric, memory, copy)
        return
    makers = [lambda x: ReadOnly(x).array, *([ReadOnly] if lends_read_only() else [])]
    for make, in_place in itertools.product(makers, (False, True)):
        made = call(name)
        made.put("outputs", 1, make(made.get("outputs", 1)))
        if in_place:
            if name not in IN_PLACE:
                continue
            made.inputs, made.outputs = made.outputs, None
            if name == "reduce":
                made.inputs = [made.memory.array((4,)), made.inputs[1], made.memory.array((4,))]
        for error in refused(made, weft.ReadOnlyBuffer, "rank 1's output is read-only"):
            assert isinstance(error, BufferError)
            assert error.rank == 1

"""Section A, arguments: strides, alignment, aliases, and numbers of elements.

What is right has the bits of a plain loop and writes nothing but the outputs; what overlaps is
refused before any launch, and nothing has changed.
"""

from __future__ import annotations

import re
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
    WAYS,
    Array,
    Memory,
    accepted,
    asynchronous,
    by_ranks,
    call,
    captured,
    listed,
    oracle,
    refused,
    unchanged,
    works,
)
from python.faults.table import checked

FEW = settings(max_examples=6, deadline=None)
EAGER = (listed, asynchronous, by_ranks)


def strided(memory: Memory, shape: tuple[int, ...], steps: tuple[int, ...], turned: bool) -> Array:
    """An array with those steps between its elements, backwards where negative; or transposed."""
    order = shape[::-1] if turned else shape
    steps = steps[: len(shape)]
    room = memory.array(tuple(n * abs(step) for n, step in zip(order, steps, strict=True)))
    view = room[tuple(slice(None, None, step) for step in steps)]
    return view.T if turned else view


@checked(
    "A-09",
    "steps, transposed axes, strides below 0 and of 0 in inputs, odd bytes",
    "staged: the same bits in the right order, and nothing written in between",
    cases=COLLECTIVES,
)
def any_strides(name: str) -> None:
    steps = st.tuples(*[st.sampled_from([1, 2, 3, -1, -2])] * 2)

    @settings(max_examples=8, deadline=None)
    @given(st.integers(2, 4), steps, steps, st.booleans(), st.booleans())
    def check(world: int, given: Any, got: Any, turned: bool, repeated: bool) -> None:
        memory = Memory()
        made = call(name, world, 3, (2,), memory=memory,
                    make=lambda shape, rank: strided(memory, shape, given, turned))  # fmt: skip
        other = call(name, world, 3, (2,), memory=memory,
                     make=lambda shape, rank: strided(memory, shape, got, not turned))  # fmt: skip
        made.outputs = other.outputs
        if repeated:
            row = made.get("inputs", 1)
            made.put("inputs", 1, np.broadcast_to(row[:1], row.shape))
        accepted(made, EAGER)

    check()
    if name in IN_PLACE:
        strides_in_place(name)
    made = call(name, rows=4, make=lambda shape, rank: np.zeros(shape[0], "i1,<i8")["f1"])
    refused(made, weft.InvalidArgument, r"strides are not multiples of its 8-byte elements")
    memory = Memory()
    made = call(name, memory=memory, make=lambda shape, rank: memory.array((shape[0] * 2,))[::2])
    refused(made, weft.InvalidArgument, "not contiguous.* graph cannot", ways=(captured,))


def strides_in_place(name: str) -> None:
    """The results are in the tensors themselves; of a reduce the others' stay as they are."""
    memory = Memory()
    made = call(name, memory=memory, make=lambda shape, rank: memory.array((*shape, 2))[:, 0])
    rooms = [made.get("inputs", rank).base for rank in range(3)]
    made.outputs = None
    with weft.Fabric("sim:3") as fabric:
        for way in EAGER:
            between = [room.reshape(-1)[1::2].copy() for room in rooms]
            before = [made.get("inputs", rank).copy() for rank in range(3)]
            want = oracle(made)
            assert set(way(fabric, made)) == {None}
            for rank in range(3):
                expected = before[rank] if want[rank] is None else want[rank]
                assert made.get("inputs", rank).tobytes() == expected.tobytes(), way.__name__
                assert rooms[rank].reshape(-1)[1::2].tobytes() == between[rank].tobytes()


@checked(
    "A-10",
    "an output whose elements share memory (a stride of 0, or overlapping windows)",
    "AliasError that names the rank",
    cases=(*COLLECTIVES, "copy"),
)
def outputs_that_overlap_themselves(name: str) -> None:
    tricks = np.lib.stride_tricks
    if name == "copy":
        memory = Memory()
        source, target = memory.array((4,)), tricks.as_strided(memory.array((1,)), (4,), (0,))
        with weft.Fabric("sim:2") as fabric:

            def copy() -> None:
                with pytest.raises(weft.AliasError, match="twice"):
                    fabric.copy(source, target)

            unchanged(fabric, memory, copy)
        return
    for strides in ((0, 8), (8, 8), (16, 0)):
        made = call(name, rest=(2,))
        rows = made.get("outputs", 1).shape
        made.put("outputs", 1, tricks.as_strided(made.memory.array((100,)), rows, strides))
        for error in refused(made, weft.AliasError, r"rank 1's output of shape .* share memory"):
            assert error.rank == 1


@checked(
    "A-11",
    "no elements",
    "success, counted, nothing moved, nothing written",
    cases=COLLECTIVES,
)
def no_elements(name: str) -> None:
    for world in (2, 3, 5, 8):
        for rows, rest in ((0, ()), (0, (3,)), (2, (0,))):
            made = call(name, world, rows, rest)
            if name == "bucket":
                made.inputs = [[x[1]] for x in made.inputs]
                made.outputs = [[x[1]] for x in made.outputs or []]
            with weft.Fabric(f"sim:{world}") as fabric:
                before = made.memory.contents()
                for count, way in enumerate(WAYS, 1):
                    assert set(way(fabric, made)) == {None}
                    stats = fabric.stats()
                    assert (stats["operations"], stats["empty"]) == (count, count), way.__name__
                assert stats["bytes"] == 0
                assert stats["links"] == {}
                assert made.memory.contents() == before
                works(fabric)


@checked(
    "A-12",
    "scalars, fewer elements than ranks, lengths that nothing divides",
    "exact under every algorithm",
    cases=matrix.ALGORITHMS["all_reduce"],
)
def any_length(algorithm: str) -> None:
    @settings(max_examples=30, deadline=None)
    @given(st.sampled_from([1, 2, 3, 5, 8]), st.integers(0, 257))
    def check(world: int, length: int) -> None:
        if length == 257:
            shape: tuple[int, ...] = ()  # a scalar
        else:
            shape = (length,)
        memory = Memory()
        dtype = np.float32 if algorithm == "lamport" else np.int64
        ins = [memory.array(shape, dtype) for _ in range(world)]
        out = [memory.array(shape, dtype) for _ in range(world)]
        want = sum(ins[1:], ins[0])
        with weft.Fabric(f"sim:{world}") as fabric:
            fabric.all_reduce(ins, algorithm=algorithm, out=out)
        assert all(got.tobytes() == want.tobytes() for got in out)

    check()


@checked(
    "A-13",
    "memory that begins beside the width of a vector",
    "exact, and no byte around it is written",
    cases=COLLECTIVES,
)
def any_alignment(name: str) -> None:
    @settings(max_examples=8, deadline=None)
    @given(st.sampled_from(["uint8", "int16", "int32", "int64"]), st.data())
    def check(dtype: str, data: Any) -> None:
        memory = Memory()
        item = np.dtype(dtype).itemsize
        offsets = st.integers(0, 31 // item).map(lambda items: items * item)
        accepted(
            call(
                name,
                rows=37,
                memory=memory,
                make=lambda shape, rank: memory.array(shape, dtype, data.draw(offsets)),
            )
        )

    check()


class Lent:
    """Lends an array by DLPack alone."""

    def __init__(self, array: Array) -> None:
        self.array, self.shape = array, array.shape

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


@checked(
    "A-14",
    "memory that is not aligned to its own elements",
    "a NumPy array is staged and exact, as documented; by DLPack it is InvalidArgument",
    cases=COLLECTIVES,
)
def unaligned_elements(name: str) -> None:
    for offset in (1, 3, 4):
        memory = Memory()
        odd = call(
            name,
            memory=memory,
            make=lambda shape, rank, m=memory, o=offset: m.array(shape, np.int64, o),
        )
        accepted(odd, EAGER)
        made = call(name, memory=memory)
        made.put("outputs", 1, Lent(odd.get("outputs", 1)))
        for error in refused(made, weft.InvalidArgument, "not aligned to its 8-byte elements"):
            assert error.rank == 1


@checked(
    "A-15",
    "the output is the input",
    "in place where that can be; AliasError for all_to_all and send_recv",
    cases=[*IN_PLACE, "all_to_all", "send_recv"],
)
def output_is_input(name: str) -> None:
    for elements in (1, 4, 1000):
        made = call(name, rows=elements)
        if name not in IN_PLACE:
            made.outputs = list(made.inputs)
            refused(made, weft.AliasError, r"rank \d's output is its input; it needs its own")
            continue
        inputs = [x[1].copy() if name == "bucket" else x.copy() for x in made.inputs]
        for out in (None, "the same", "a view"):
            for way in WAYS:
                for rank in range(3):
                    made.get("inputs", rank)[...] = inputs[rank]
                want = oracle(made)
                if out == "a view" and name != "bucket":
                    made.outputs = [x[:] for x in made.inputs]
                else:
                    made.outputs = None if out is None else list(made.inputs)
                with weft.Fabric("sim:3") as fabric:
                    assert set(way(fabric, made)) == {None}
                for rank in range(3):
                    expected = inputs[rank] if want[rank] is None else want[rank]
                    assert made.get("inputs", rank).tobytes() == expected.tobytes()


@checked(
    "A-16",
    "a rank's input and output overlap in part",
    "AliasError with the bytes, if and only if they share one",
    cases=["all_reduce", "all_gather", "broadcast", "bucket"],
)
def partial_overlap(name: str) -> None:
    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, 40), st.integers(0, 40))
    def check(first: int, second: int) -> None:
        made = call(name, rows=10)
        room = made.memory.array((80,))
        gives, gets = (made.get(what, 2).shape[0] for what in ("inputs", "outputs"))
        made.put("inputs", 2, room[first : first + gives])
        made.put("outputs", 2, room[second : second + gets])
        low, high = max(first, second), min(first + gives, second + gets)
        if low >= high or (first == second and name in IN_PLACE):
            accepted(made, (listed,)) if low >= high else None
            return
        spans = sorted([(8 * (low - o), 8 * (high - o)) for o in (first, second)])
        says = r"rank 2's .* and rank 2's .* share memory: bytes \d+ to \d+ of the one, bytes"
        for error in refused(made, weft.AliasError, says):
            found = re.findall(r"bytes (\d+) to (\d+)", str(error))
            assert sorted((int(a), int(b)) for a, b in found) == spans

    check()
    evens = call(name, rows=10)
    room = evens.memory.array((80,))
    gives, gets = (evens.get(what, 2).shape[0] for what in ("inputs", "outputs"))
    evens.put("inputs", 2, room[: 2 * gives : 2])
    evens.put("outputs", 2, room[1 : 2 * gets + 1 : 2])
    accepted(evens, EAGER)  # in turns, and no byte shared


@checked(
    "A-17",
    "the output of one rank overlaps another rank's input or output",
    "AliasError that names both ranks",
    cases=COLLECTIVES,
)
def overlap_across_ranks(name: str) -> None:
    tried = 0
    pairs = [(0, 2), (1, 2), (0, 1)]
    for one, other in pairs:
        for what in ("inputs", "outputs"):
            made = call(name, rows=6)
            if one not in made.getters or other not in (
                made.givers if what == "inputs" else made.getters
            ):
                continue
            sizes = made.get("outputs", one).shape[0], made.get(what, other).shape[0]
            room = made.memory.array((sum(sizes),))
            made.put("outputs", one, room[: sizes[0]])
            made.put(what, other, room[sizes[0] - 2 : sum(sizes) - 2])
            noun = "input" if what == "inputs" else "output"
            errors = refused(made, weft.AliasError, "share memory: bytes", f"rank {one}'s output",
                             f"rank {other}'s {noun}")  # fmt: skip
            assert {error.rank for error in errors} <= {one, other}
            tried += 1
    assert tried

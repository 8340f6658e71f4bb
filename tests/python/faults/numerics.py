"""Section N, numerics: odd values come out as documented, with the same bits on every rank."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import weft
from python import matrix
from python.faults.calls import Array
from python.faults.table import checked

SOME = settings(max_examples=12, deadline=None)
ALL = matrix.ALGORITHMS["all_reduce"]
FLOATS = ("float16", "bfloat16", "float32", "float64")


def reduced(arrays: Sequence[Array], op: str = "sum", algorithm: str = "auto") -> Array:
    """The reduction, if it has the same bits on every rank and left the inputs alone."""
    kept = [x.tobytes() for x in arrays]
    with weft.Fabric(f"sim:{len(arrays)}") as fabric:
        out = [np.empty_like(x) for x in arrays]
        got = fabric.all_reduce(list(arrays), op, algorithm=algorithm, out=out)
    assert len({x.tobytes() for x in got}) == 1, f"{algorithm}: ranks differ"
    assert [x.tobytes() for x in arrays] == kept
    return got[0]


def algorithms_of(dtype: str) -> list[str]:
    return [a for a in ALL if dtype in matrix.dtypes_of(a)]


@checked(
    "N-01",
    "a NaN of one rank at any index",
    "NaN there on every rank, and all other elements exact",
    cases=matrix.FLOATS,
)
def one_nan(dtype: str) -> None:
    kind = matrix.numpy_dtype(dtype)

    @SOME
    @given(st.integers(2, 5), st.integers(0, 99), st.data(), st.sampled_from(algorithms_of(dtype)))
    def check(world: int, index: int, data: Any, algorithm: str) -> None:
        rank = data.draw(st.integers(0, world - 1))
        op = data.draw(st.sampled_from(matrix.OPS))
        arrays = [np.ones(100, kind) for _ in range(world)]
        arrays[rank][index] = np.nan
        got = reduced(arrays, op, algorithm).astype(np.float64)
        want = np.full(100, float(world) if op == "sum" else 1.0)
        want[index] = np.nan
        assert np.array_equal(got, want, equal_nan=True)

    check()


@checked(
    "N-02",
    "plus and minus infinity",
    "NaN where both meet in a sum, infinity where one is",
    cases=FLOATS,
)
def infinities(dtype: str) -> None:
    kind = matrix.numpy_dtype(dtype)
    values = st.sampled_from([1.0, np.inf, -np.inf])

    @SOME
    @given(st.lists(st.tuples(values, values, values), min_size=1, max_size=40),
           st.sampled_from(algorithms_of(dtype)))  # fmt: skip
    def check(rows: list[tuple[float, ...]], algorithm: str) -> None:
        wide = np.array(rows).T
        with np.errstate(invalid="ignore"):
            total = wide.sum(0)
        got = reduced([x.astype(kind) for x in wide], "sum", algorithm).astype(np.float64)
        assert np.array_equal(got, total, equal_nan=True)
        low = reduced([x.astype(kind) for x in wide], "min", algorithm).astype(np.float64)
        assert np.array_equal(low, wide.min(0))

    check()


@checked(
    "N-03",
    "NaN, and zeros of both signs, in max and min",
    "NaN wins; a zero of either sign, the same on all ranks",
    cases=FLOATS,
)
def extremes(dtype: str) -> None:
    kind = matrix.numpy_dtype(dtype)
    values = st.sampled_from([0.0, -0.0, np.nan, 1.0, -1.0])

    @SOME
    @given(st.lists(st.tuples(values, values, values), min_size=1, max_size=40),
           st.sampled_from(["min", "max"]), st.sampled_from(algorithms_of(dtype)))  # fmt: skip
    def check(rows: list[tuple[float, ...]], op: str, algorithm: str) -> None:
        wide = np.array(rows).T
        want = wide.min(0) if op == "min" else wide.max(0)
        got = reduced([x.astype(kind) for x in wide], op, algorithm)
        assert np.array_equal(got.astype(np.float64), want, equal_nan=True)
        again = reduced([x.astype(kind) for x in wide], op, algorithm)
        assert got.tobytes() == again.tobytes()

    check()


@checked(
    "N-04",
    "values that look like a flag, a sentinel or an epoch",
    "exact, but for the payload of a NaN, and no wait for what has come",
    cases=[a for a in ALL if a != "auto"],
)
def any_pattern(algorithm: str) -> None:
    every = np.arange(1 << 16, dtype=np.uint16)
    nothing = np.zeros(1 << 16, np.uint16)
    for dtype in ("bfloat16", "float16"):
        kind = matrix.numpy_dtype(dtype)
        arrays = [every.view(kind), nothing.view(kind), nothing.view(kind).copy()]
        with np.errstate(invalid="ignore"):
            want = every.view(kind).astype(np.float32) + np.float32(0)
        got = reduced(arrays, "sum", algorithm)
        assert np.array_equal(got.astype(np.float32), want, equal_nan=True)
    words = np.random.default_rng(5).integers(0, 1 << 32, 4096, np.uint32)
    words[:64] = np.repeat([0, 1 << 31, 0xFFFFFFFF, 1, 2, 0x7FC00000, 0x7F800001, 0xFFFFFFF0], 8)
    kind_of = np.float32 if algorithm == "lamport" else np.int32
    arrays = [words.view(kind_of), np.zeros(4096, kind_of)]
    got = reduced(arrays, "max" if algorithm == "lamport" else "sum", algorithm)
    if algorithm == "lamport":
        with np.errstate(invalid="ignore"):
            assert np.array_equal(got, np.maximum(*arrays), equal_nan=True)
    else:
        assert got.tobytes() == words.tobytes()


@checked(
    "N-05",
    "subnormal numbers, and partial sums beyond float16 and bfloat16",
    "added in float32 in rank order and rounded once; the bound of the documentation else",
    cases=FLOATS,
)
def partial_sums(dtype: str) -> None:
    kind = matrix.numpy_dtype(dtype)
    info = matrix.ml_dtypes.finfo(kind)
    largest, least = float(info.max), float(info.smallest_subnormal)
    rows = [
        [largest, largest, -largest, -largest],
        [largest, largest, largest, largest],
        [least, least, least, -least],
        [1.0, float(info.eps) / 2, float(info.eps) / 2, -1.0],
    ]
    arrays = [np.array(column, kind) for column in zip(*rows, strict=True)]
    with np.errstate(over="ignore"):
        want = matrix.in_rank_order(arrays, dtype, "sum")
        for algorithm in matrix.IN_RANK_ORDER:
            assert reduced(arrays, "sum", algorithm).tobytes() == want.tobytes(), algorithm
    if dtype == "float16":  # what is too much for it is not for float32
        assert want[0] == 0
    small = [np.full(1000, least * (rank + 1)).astype(kind) for rank in range(4)]
    for algorithm in ALL:
        got = reduced(small, "sum", algorithm)
        assert matrix.Expected(small, dtype, "sum").allows(got), algorithm


@checked(
    "N-06",
    "the same call again",
    "the same bits on every rank and from run to run",
    cases=[a for a in ALL if a != "auto"],
)
def same_bits(algorithm: str) -> None:
    for dtype in ("float32", "bfloat16"):
        for world in (2, 3, 5, 8):
            case = matrix.case(world, dtype, "sum", 1009)
            found = {
                hashlib.sha256(reduced(case.copies(), "sum", algorithm).tobytes()).hexdigest()
                for _ in range(4)
            }
            assert len(found) == 1, f"{dtype} on {world}"


@checked(
    "N-07",
    "integers that overflow",
    "wrap, the same on all ranks",
    cases=matrix.INTEGERS,
)
def integers_wrap(dtype: str) -> None:
    info = np.iinfo(dtype)
    edges = st.one_of(
        st.integers(int(info.min), int(info.max)), st.sampled_from([int(info.min), int(info.max)])
    )

    @SOME
    @given(st.integers(2, 5), st.data(), st.sampled_from(["sum", "prod"]),
           st.sampled_from(algorithms_of(dtype)))  # fmt: skip
    def check(world: int, data: Any, op: str, algorithm: str) -> None:
        columns = data.draw(
            st.lists(st.tuples(*[edges] * world), min_size=1, max_size=20), label="columns"
        )
        arrays = [np.array(column, dtype) for column in zip(*columns, strict=True)]
        got = reduced(arrays, op, algorithm)
        assert got.tobytes() == matrix.exact(arrays, dtype, op).tobytes()

    check()

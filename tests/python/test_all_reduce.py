"""All-reduce against NumPy: every dtype and op, 1 to 16 ranks, any length and layout.

Integers and bool must be exact, floats within the documented bound, and the bits must be the same
on every rank and from run to run.
"""

from __future__ import annotations

from functools import cache

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft
from python.matrix import DTYPES, FLOATS, OPS, Array, Expected, draw_values, exact, numpy_dtype

WORLDS = range(1, 17)


@cache
def fabric(world: int) -> weft.Fabric:
    return weft.Fabric(f"sim:{world}")


@pytest.fixture(autouse=True, scope="module")
def _close_fabrics():
    yield
    for world in WORLDS:
        fabric(world).close()
    fabric.cache_clear()


def laid_out(values: Array, stride: int, offset: int) -> Array:
    """The same values in memory that starts `offset` elements into a buffer, `stride` apart."""
    length = len(values)
    room = np.zeros(offset + max(1, abs(stride) * length) + 1, values.dtype)
    view = room[offset : offset + abs(stride) * length : abs(stride)]
    view = view[::-1] if stride < 0 else view
    view[...] = values
    return view


def assert_close(result: Array, arrays: list[Array], dtype: str, op: str) -> None:
    assert Expected(arrays, dtype, op).allows(result)


def run(world: int, arrays: list[Array], op: str, in_place: bool, layout: tuple[int, int]) -> Array:
    ins = [laid_out(a, *layout) for a in arrays]
    outs = ins if in_place else [laid_out(np.zeros_like(a), *layout) for a in arrays]
    returned = fabric(world).all_reduce(ins, op, out=None if in_place else outs)
    assert all(got is given for got, given in zip(returned, outs, strict=True))
    if not in_place:
        for kept, given in zip(ins, arrays, strict=True):
            assert kept.tobytes() == given.tobytes()
    bits = {out.tobytes() for out in outs}
    assert len(bits) == 1, "ranks hold different bits"
    return np.ascontiguousarray(outs[0])


LENGTHS = st.one_of(st.integers(0, 4099), st.sampled_from([31, 32, 33, 127, 128, 129, 4096]))


@settings(max_examples=400, deadline=None)
@given(
    world=st.sampled_from(WORLDS),
    dtype=st.sampled_from(DTYPES),
    op=st.sampled_from(OPS),
    length=LENGTHS,
    in_place=st.booleans(),
    stride=st.sampled_from([1, 1, 1, 2, 3, -1]),
    offset=st.integers(0, 33),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_numpy(world, dtype, op, length, in_place, stride, offset, seed):
    if op == "avg" and dtype not in FLOATS:
        op = "sum"
    rng = np.random.default_rng(seed)
    arrays = [draw_values(rng, dtype, length, op) for _ in range(world)]
    result = run(world, arrays, op, in_place, (stride, offset))
    if dtype in FLOATS:
        assert_close(result, arrays, dtype, op)
    else:
        assert np.array_equal(result, exact(arrays, dtype, op))
    again = run(world, arrays, op, not in_place, (1, offset))
    assert again.tobytes() == result.tobytes()


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d not in FLOATS])
@pytest.mark.parametrize("world", WORLDS)
def test_only_floats_have_averages(world, dtype):
    arrays = [np.ones(10, dtype) for _ in range(world)]
    with pytest.raises(weft.DTypeMismatch, match="avg"):
        fabric(world).all_reduce(arrays, "avg")


@pytest.mark.parametrize("world", [2, 3, 8])
def test_long_vectors(world):
    rng = np.random.default_rng(world)
    for length in (999_983, int(rng.integers(100_000, 1_000_000))):
        arrays = [draw_values(rng, "float32", length, "sum") for _ in range(world)]
        assert_close(run(world, arrays, "sum", False, (1, 1)), arrays, "float32", "sum")


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", ["min", "max"])
def test_min_and_max_propagate_nan(dtype, op):
    arrays = [np.ones(9).astype(numpy_dtype(dtype)) for _ in range(3)]
    arrays[1][4] = np.nan
    result = run(3, arrays, op, False, (1, 0)).astype(np.float64)
    assert np.isnan(result[4])
    assert (np.delete(result, 4) == 1).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_infinities_and_nan_in_sums(dtype):
    a = np.array([np.inf, np.inf, np.nan, 1.0]).astype(numpy_dtype(dtype))
    b = np.array([1.0, -np.inf, 1.0, 1.0]).astype(numpy_dtype(dtype))
    result = run(2, [a, b], "sum", False, (1, 0)).astype(np.float64)
    assert np.isnan(result[0]) if dtype == "float8_e4m3fn" else result[0] == np.inf
    assert np.isnan(result[1])
    assert np.isnan(result[2])
    assert result[3] == 2


def test_half_precision_overflow_and_subnormals():
    a = np.array([60000.0, 2.0**-24, 65504.0], np.float16)
    result = run(2, [a, a], "sum", False, (1, 0))
    assert result.tolist() == [np.inf, 2.0**-23, np.inf]


def test_average_divides_before_it_rounds():
    a = np.array([60000.0], np.float16)
    assert run(2, [a, a], "avg", False, (1, 0)).tolist() == [60000.0]


def test_every_bfloat16_pattern_survives_one_rank_of_zeros():
    patterns = np.arange(1 << 16, dtype=np.uint16).view(ml_dtypes.bfloat16)
    zeros = np.zeros(1 << 16, ml_dtypes.bfloat16)
    result = run(2, [patterns, zeros], "sum", False, (1, 0))
    got, want = result.astype(np.float32), patterns.astype(np.float32)
    assert np.array_equal(got, want, equal_nan=True)


def test_every_float16_pattern_survives_one_rank_of_zeros():
    patterns = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    result = run(2, [patterns, np.zeros(1 << 16, np.float16)], "sum", False, (1, 0))
    assert np.array_equal(result, patterns, equal_nan=True)


def test_float16_addition_rounds_as_numpy_does():
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 1 << 16, 100_000, dtype=np.uint16).view(np.float16) for _ in range(2))
    with np.errstate(over="ignore", invalid="ignore"):
        want = (a.astype(np.float32) + b.astype(np.float32)).astype(np.float16)
    result = run(2, [a, b], "sum", False, (1, 0))
    assert np.array_equal(result, want, equal_nan=True)


def test_arrays_that_are_not_aligned_are_staged():
    buffers = [bytearray(1 + 4 * 1000) for _ in range(3)]
    arrays = [np.frombuffer(b, np.uint8)[1:].view(np.float32) for b in buffers]
    for rank, array in enumerate(arrays):
        array[:] = np.arange(1000) + rank
    fabric(3).all_reduce(arrays)
    assert all((array == 3 * np.arange(1000) + 3).all() for array in arrays)


def test_views_that_interleave_share_nothing():
    table = np.arange(12.0).reshape(4, 3).copy()
    fabric(3).all_reduce([table[:, i] for i in range(3)])
    assert np.array_equal(table, np.repeat(np.arange(4)[:, None] * 9 + 3, 3, axis=1))
    with pytest.raises(weft.AliasError, match="rank 0's output and rank 1's output share"):
        fabric(3).all_reduce([table[:2], table[1:3], table[2:]])


@pytest.mark.parametrize(
    "bad", [{"op": None}, {"op": 3}, {"algorithm": None}, {"timeout": 10**400}]
)
def test_arguments_of_the_wrong_type_are_invalid(bad):
    with pytest.raises(weft.InvalidArgument):
        fabric(2).all_reduce([np.ones(2), np.ones(2)], **bad)

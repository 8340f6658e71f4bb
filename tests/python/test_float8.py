"""Floats of 8 bits, bit for bit: ml_dtypes is the oracle, but that every NaN is the one of 0x7f."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import weft

NAMES = ("float8_e4m3fn", "float8_e5m2")
IN_RANK_ORDER = ("ll", "one_shot", "two_shot", "push_two_shot", "copy_engine")

Array = np.ndarray[Any, Any]


def numpy_dtype(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name))


def narrowed(values: Array, name: str) -> Array:
    """The bits that weft must make of float32 values."""
    with np.errstate(all="ignore"):
        bits = values.astype(numpy_dtype(name)).view(np.uint8)
    return np.where(np.isnan(bits.view(numpy_dtype(name)).astype(np.float32)), 0x7F, bits)


def pairs(name: str) -> list[Array]:
    """Two vectors: every pair of patterns."""
    patterns = np.arange(256, dtype=np.uint8).view(numpy_dtype(name))
    return [np.repeat(patterns, 256), np.tile(patterns, 256)]


def dense(name: str) -> Array:
    """Float32: every bfloat16, the midpoints of neighbours, what is next to both, and any bits."""
    values = np.arange(256, dtype=np.uint8).view(numpy_dtype(name)).astype(np.float64)
    numbers = np.unique(values[np.isfinite(values)])
    beyond = 2 * numbers[-1] - numbers[-2]
    ladder = np.concatenate([[-beyond], numbers, [beyond]])
    edges = np.concatenate([ladder, (ladder[1:] + ladder[:-1]) / 2]).astype(np.float32)
    brains = np.arange(1 << 16, dtype=np.uint32) << 16
    drawn = np.random.default_rng(0).integers(0, 1 << 32, 1 << 20, dtype=np.uint32)
    return np.concatenate([
        edges, np.nextafter(edges, np.float32(np.inf)), np.nextafter(edges, np.float32(-np.inf)),
        brains.view(np.float32), drawn.view(np.float32),
        np.random.default_rng(1).standard_normal(1 << 18).astype(np.float32),
    ])  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_pattern_is_widened_to_its_value(name):
    patterns = np.arange(256, dtype=np.uint8).view(numpy_dtype(name))
    wide = weft.from_numpy(patterns).to("float32").numpy()
    want = patterns.astype(np.float32)
    assert np.array_equal(wide, want, equal_nan=True)
    assert np.array_equal(np.signbit(wide), np.signbit(want))


@pytest.mark.parametrize("name", NAMES)
def test_narrowing_has_the_bits_of_ml_dtypes(name):
    values = dense(name)
    got = weft.from_numpy(values).to(name).numpy().view(np.uint8)
    assert np.array_equal(got, narrowed(values, name))


@pytest.mark.parametrize("op", ["sum", "avg", "min", "max", "prod"])
@pytest.mark.parametrize("name", NAMES)
def test_every_pair_is_reduced_in_float32_and_rounded_once(name, op):
    given = pairs(name)
    a, b = (x.astype(np.float32) for x in given)
    with np.errstate(all="ignore"):
        wide = {
            "sum": a + b, "avg": (a + b) / np.float32(2), "prod": a * b,
            # Of equal numbers, 0 and -0 among them, the first rank's stays.
            "min": np.where(np.isnan(a) | np.isnan(b), np.nan, np.where(b < a, b, a)),
            "max": np.where(np.isnan(a) | np.isnan(b), np.nan, np.where(a < b, b, a)),
        }[op]  # fmt: skip
    want = narrowed(wide.astype(np.float32), name)
    with weft.Fabric("sim:2") as fabric:
        # In a ring it is the last rank's that stays for some chunks.
        for algorithm in (*IN_RANK_ORDER, *(() if op in ("min", "max") else ("ring",))):
            out = [np.zeros_like(x) for x in given]
            fabric.all_reduce(given, op, out=out, algorithm=algorithm)
            for result in out:
                assert np.array_equal(result.view(np.uint8), want), algorithm


@pytest.mark.parametrize(("name", "beyond"), [("float8_e4m3fn", np.nan), ("float8_e5m2", np.inf)])
def test_what_is_too_great_becomes_an_infinity_where_there_is_one(name, beyond):
    greatest = float(ml_dtypes.finfo(numpy_dtype(name)).max)
    given = [np.array([greatest, -greatest]).astype(numpy_dtype(name)) for _ in range(2)]
    with weft.Fabric("sim:2") as fabric:
        sums, means = ([x.copy() for x in given] for _ in range(2))
        fabric.all_reduce(sums)
        fabric.all_reduce(means, "avg")
    want = np.array([beyond, -beyond])
    assert np.array_equal(sums[0].astype(np.float64), want, equal_nan=True)
    assert means[0].tobytes() == given[0].tobytes()  # divided before it is rounded


@pytest.mark.parametrize("name", NAMES)
def test_sums_in_rank_order_round_once_and_those_of_a_ring_at_every_step(name):
    """8 halves of a last bit: together four, but each alone is rounded away."""
    half = float(ml_dtypes.finfo(numpy_dtype(name)).eps) / 2
    given = [np.full(9, 1.0 if rank == 0 else half).astype(numpy_dtype(name)) for rank in range(9)]
    with weft.Fabric("sim:9") as fabric:
        for algorithm in IN_RANK_ORDER:
            sums = fabric.all_reduce([x.copy() for x in given], algorithm=algorithm)
            assert sums[0].astype(np.float64).tolist() == [1 + 8 * half] * 9
        # Element i is rank i's chunk: its sum starts at the rank after it.
        ring = fabric.all_reduce([x.copy() for x in given], algorithm="ring")
    assert set(ring[0].astype(np.float64)) != {1 + 8 * half}
    assert all(x.tobytes() == ring[0].tobytes() for x in ring)


def test_lamport_is_refused_and_auto_does_without():
    given = [np.ones(5).astype(numpy_dtype("float8_e5m2")) for _ in range(3)]
    with weft.Fabric("sim:3") as fabric:
        with pytest.raises(weft.InvalidArgument, match="16 to 64 bits, and not for float8_e5m2"):
            fabric.all_reduce(given, algorithm="lamport")
        assert all((x.astype(np.float32) == 1).all() for x in given)
        fabric.all_reduce(given)
        assert set(fabric.events().array["dtype"]) >= {"float8_e5m2"}
    assert all((x.astype(np.float32) == 3).all() for x in given)

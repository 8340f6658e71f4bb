"""Inputs whose results are known exactly, in every dtype, whatever the order of the additions.

Values are small whole numbers, so that no partial result is rounded. They repeat with a prime
period, so that data which ends up in a wrong place is wrong, and a check needs little memory.
Results are compared bit by bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["DTYPES", "FLOATS", "FROM_ML_DTYPES", "OPS", "PERIOD", "Pattern", "numpy_dtype"]

DTYPES = (
    "bool", "uint8", "int8", "int16", "int32", "int64", "float8_e4m3fn", "float8_e5m2", "float16",
    "bfloat16", "float32", "float64",
)  # fmt: skip
FLOATS = ("float8_e4m3fn", "float8_e5m2", "float16", "bfloat16", "float32", "float64")
#: What NumPy knows by the package ml_dtypes alone.
FROM_ML_DTYPES = ("float8_e4m3fn", "float8_e5m2", "bfloat16")
OPS = ("sum", "avg", "min", "max", "prod")
MOVES = ("none", "one_way", "both_ways")

#: Elements after which inputs and results repeat.
PERIOD = 8191
_TILE = 32  # periods that are compared at once
_SEED = 2009
_UFUNCS = {"sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum}

Array = npt.NDArray[Any]


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype of that name; some need the package ml_dtypes (ImportError)."""
    if name in FROM_ML_DTYPES:
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return found
    return np.dtype(name)


@dataclass(frozen=True)
class Pattern:
    """The inputs of `ranks` ranks (1 to 64) and their reduction by `op` ("none": only moved).

    >>> Pattern("int32", "sum", 2).wrong(np.zeros(0, np.int32))
    0
    >>> p = Pattern("float32", "avg", 3)
    >>> p.wrong(np.mean([p.values(r, 10) for r in range(3)], axis=0, dtype=np.float32))
    0
    """

    dtype: str
    op: str
    ranks: int

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES or self.op not in (*OPS, *MOVES):
            raise ValueError(f"no pattern for {self.op} of {self.dtype}")
        if self.op == "avg" and self.dtype not in FLOATS:
            raise ValueError(f"there is no avg of {self.dtype}, only of floats")

    def values(self, rank: int, count: int) -> Array:
        """Rank's input: `count` elements."""
        period = self.period(rank)
        return np.asarray(np.resize(period, count)) if count else period[:0].copy()

    def fill(self, rank: int, into: Array) -> None:
        """Write rank's input into the vector `into`."""
        period = self.period(rank)
        for begin in range(0, len(into), PERIOD):
            part = into[begin : begin + PERIOD]
            part[:] = period[: len(part)]

    def wrong(self, part: Array, source: int | None = None, start: int = 0) -> int:
        """How many elements of the vector `part` are not as they must be.

        They must be those of rank `source`'s input (None: of the reduction) from `start` on.
        """
        tile = _bits(_tile(self, source))
        bits = _bits(part)
        wrong = 0
        for begin in range(0, len(bits), _TILE * PERIOD):
            piece = bits[begin : begin + _TILE * PERIOD]
            phase = (start + begin) % PERIOD
            wrong += int(np.count_nonzero(piece != tile[phase : phase + len(piece)]))
        return wrong

    def period(self, source: int | None) -> Array:
        """The first PERIOD elements of rank `source`'s input; None: of the reduction."""
        return _period(self, source)


def _bits(values: Array) -> Array:
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


@lru_cache(maxsize=256)
def _period(pattern: Pattern, source: int | None) -> Array:
    values = _result(pattern) if source is None else _inputs(pattern, source)
    values.flags.writeable = False
    return values


@lru_cache(maxsize=8)
def _tile(pattern: Pattern, source: int | None) -> Array:
    return np.tile(_period(pattern, source), _TILE + 1)


def _inputs(pattern: Pattern, rank: int) -> Array:
    rng = np.random.default_rng([_SEED, rank])
    if pattern.dtype == "bool":
        if pattern.op in MOVES:
            return np.asarray(rng.random(PERIOD) < 0.5)
        # Rare enough that each rank alone decides some of the elements.
        rare = rng.random(PERIOD) < 0.5 / pattern.ranks
        return rare if pattern.op in ("sum", "max") else ~rare
    if pattern.op == "prod":
        # At most 7 factors of 2 at one place: exact in every float, wrapping in small integers.
        values = np.where(_few(rng, rank, pattern.ranks, 7), 2, 1)
    elif pattern.op in ("sum", "avg") and pattern.dtype.startswith("float8"):
        # Sums up to 8: exact in both of these floats.
        values = np.where(_few(rng, rank, pattern.ranks, 8), 1, 0)
    else:
        # 64 times 3 is exact in bfloat16, as is every whole number below 128.
        values = rng.integers(0, 4 if pattern.op in ("sum", "avg") else 128, PERIOD)
    return np.asarray(values.astype(numpy_dtype(pattern.dtype)))


def _few(rng: np.random.Generator, rank: int, ranks: int, most: int) -> Array:
    """Where `rank` gives something: half of its places, and `most` ranks at most at any place."""
    turns = math.ceil(ranks / most)
    mine = (np.arange(PERIOD) % turns == rank % turns) & (rng.random(PERIOD) < 0.5)
    return np.asarray(mine)


def _result(pattern: Pattern) -> Array:
    dtype = numpy_dtype(pattern.dtype)
    all_ranks = [_period(pattern, rank) for rank in range(pattern.ranks)]
    if pattern.dtype == "bool":
        join = np.logical_or if pattern.op in ("sum", "max") else np.logical_and
        return np.asarray(join.reduce(all_ranks))
    wide = np.array([values.astype(np.float64) for values in all_ranks])
    if pattern.op == "avg":
        # One division, in float32 for the narrow floats, as weft does it.
        inner = np.float64 if pattern.dtype == "float64" else np.float32
        total = wide.sum(axis=0).astype(inner)
        return np.asarray((total / inner(pattern.ranks)).astype(dtype))
    exact = _UFUNCS[pattern.op].reduce(wide)
    if pattern.dtype in FLOATS:
        return np.asarray(exact.astype(dtype))
    return np.asarray(exact.astype(np.int64).astype(dtype))  # wraps

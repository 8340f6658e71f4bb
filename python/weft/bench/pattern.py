"""Inputs whose all-reduce is known exactly, in every dtype, whatever the order of the additions.

Values are small whole numbers, so that no partial result is rounded. They repeat with a prime
period, so that data which ends up in a wrong place is wrong, and a check needs little memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["DTYPES", "FLOATS", "OPS", "Pattern", "numpy_dtype"]

DTYPES = (
    "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64",
)  # fmt: skip
FLOATS = ("float16", "bfloat16", "float32", "float64")
OPS = ("sum", "avg", "min", "max", "prod")

_PERIOD = 8191
_SEED = 2009
_UFUNCS = {"sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum}

Array = npt.NDArray[Any]


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype of that name; bfloat16 needs the package ml_dtypes (ImportError)."""
    if name == "bfloat16":
        import ml_dtypes

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(name)


@dataclass(frozen=True)
class Pattern:
    """The inputs and the result of an all-reduce with `op` over `ranks` ranks (1 to 64).

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
        if self.dtype not in DTYPES or self.op not in OPS:
            raise ValueError(f"no pattern for {self.op} of {self.dtype}")
        if self.op == "avg" and self.dtype not in FLOATS:
            raise ValueError(f"there is no avg of {self.dtype}, only of floats")

    def values(self, rank: int, count: int) -> Array:
        """Rank's input: `count` elements."""
        return _repeated(self._period(rank), count)

    def fill(self, rank: int, into: Array) -> None:
        """Write rank's input into the vector `into`."""
        period = self._period(rank)
        for begin in range(0, len(into), _PERIOD):
            part = into[begin : begin + _PERIOD]
            part[:] = period[: len(part)]

    def wrong(self, result: Array) -> int:
        """How many elements of the vector `result` are not the exact result."""
        wrong = 0
        for begin in range(0, len(result), _PERIOD):
            part = result[begin : begin + _PERIOD]
            wrong += int(np.count_nonzero(part != self._result[: len(part)]))
        return wrong

    def _period(self, rank: int) -> Array:
        rng = np.random.default_rng([_SEED, rank])
        if self.dtype == "bool":
            # Rare enough that each rank alone decides some of the elements.
            rare = rng.random(_PERIOD) < 0.5 / self.ranks
            return rare if self.op in ("sum", "max") else ~rare
        if self.op == "prod":
            # At most 7 factors of 2 at one place: exact in every float, wrapping in small integers.
            turns = math.ceil(self.ranks / 7)
            mine = (np.arange(_PERIOD) % turns == rank % turns) & (rng.random(_PERIOD) < 0.5)
            values = np.where(mine, 2, 1)
        else:
            # 64 times 3 is exact in bfloat16, as is every whole number below 128.
            values = rng.integers(0, 128 if self.op in ("min", "max") else 4, _PERIOD)
        return values.astype(numpy_dtype(self.dtype))

    @cached_property
    def _result(self) -> Array:
        dtype = numpy_dtype(self.dtype)
        all_ranks = [self._period(rank) for rank in range(self.ranks)]
        if self.dtype == "bool":
            join = np.logical_or if self.op in ("sum", "max") else np.logical_and
            return np.asarray(join.reduce(all_ranks))
        wide = np.array([values.astype(np.float64) for values in all_ranks])
        if self.op == "avg":
            # One division, in float32 for the narrow floats, as weft does it.
            inner = np.float64 if self.dtype == "float64" else np.float32
            total = wide.sum(axis=0).astype(inner)
            return np.asarray((total / inner(self.ranks)).astype(dtype))
        exact = _UFUNCS[self.op].reduce(wide)
        if self.dtype in FLOATS:
            return np.asarray(exact.astype(dtype))
        return np.asarray(exact.astype(np.int64).astype(dtype))  # wraps


def _repeated(period: Array, count: int) -> Array:
    return np.asarray(np.resize(period, count)) if count else period[:0].copy()

"""The matrix of collectives, algorithms, dtypes and ops: its lists, data and expected results.

A new dtype or algorithm is entered here, and every test of the matrix takes it. test_matrix.py
fails where one is missing.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

Array = np.ndarray[Any, Any]

INTEGERS = ("uint8", "int8", "int16", "int32", "int64")
FLOAT8 = ("float8_e4m3fn", "float8_e5m2")
FLOATS = (*FLOAT8, "float16", "bfloat16", "float32", "float64")
DTYPES = ("bool", *INTEGERS, *FLOATS)
OPS = ("sum", "avg", "min", "max", "prod")

# Which add in rank order, and so agree bit for bit; reduce_scatter's are another list.
IN_RANK_ORDER = (
    "ll", "lamport", "one_shot", "one_shot_pull", "two_shot", "push_two_shot", "copy_engine",
)  # fmt: skip
_MOVES = ("auto", "ll", "one_shot", "copy_engine")
# By collective: "auto", and all that simulated devices have.
ALGORITHMS = {
    "all_reduce": ("auto", *IN_RANK_ORDER, "ring", "halving_doubling", "hierarchical"),
    "reduce_scatter": ("auto", "one_shot", "one_shot_pull", "ring"),
    "reduce": ("auto", "two_shot"),
    "all_gather": (*_MOVES, "ring"),
    "all_to_all": _MOVES,
    "broadcast": _MOVES,
    "scatter": _MOVES,
    "gather": _MOVES,
    "send_recv": _MOVES,
}


def numpy_dtype(name: str) -> np.dtype[Any]:
    """NumPy's dtype of that name, or the one that ml_dtypes adds."""
    return np.dtype(getattr(ml_dtypes, name, name))


def ops_of(dtype: str) -> tuple[str, ...]:
    """The ops that a dtype has: avg is for floats."""
    return OPS if dtype in FLOATS else tuple(op for op in OPS if op != "avg")


def dtypes_of(algorithm: str) -> tuple[str, ...]:
    """The dtypes that an algorithm reduces: lamport has kernels for floats of 16 bits and more."""
    return FLOATS[len(FLOAT8) :] if algorithm == "lamport" else DTYPES


def draw_values(
    rng: np.random.Generator, dtype: str, length: int, op: str, most: float = 2.0
) -> Array:
    """Any bits for integers; for the products of floats, magnitudes from 1 / most to most."""
    if dtype == "bool":
        return rng.integers(0, 2, length).astype(bool)
    if dtype in INTEGERS:
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, length, dtype=dtype, endpoint=True)
    if op == "prod":
        most = min(most, 1.25) if dtype in FLOAT8 else most  # of 16 ranks, still in range
        magnitude = rng.uniform(1 / most, most, length)
        return (magnitude * rng.choice([-1.0, 1.0], length)).astype(numpy_dtype(dtype))
    return rng.standard_normal(length).astype(numpy_dtype(dtype))


def exact(arrays: list[Array], dtype: str, op: str) -> Array:
    """The result for bool and integers: wrapping arithmetic in the dtype."""
    stack = np.stack(arrays)
    if dtype == "bool":
        return stack.any(0) if op in ("sum", "max") else stack.all(0)
    with np.errstate(over="ignore"):
        fold = {"sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum}[op]
        return fold.reduce(stack, axis=0, dtype=stack.dtype)


def in_rank_order(arrays: list[Array], dtype: str, op: str) -> Array:
    """The bits that come of rank order: narrow floats are added in float32 and rounded once."""
    if dtype not in FLOATS:
        return exact(arrays, dtype, op)
    kind = numpy_dtype(dtype)
    wide = np.dtype(np.float32) if kind.itemsize < 4 else kind
    fold = {"prod": np.multiply, "min": np.minimum, "max": np.maximum}.get(op, np.add)
    total = arrays[0].astype(wide)
    for array in arrays[1:]:
        total = fold(total, array.astype(wide))
    return (total / wide.type(len(arrays)) if op == "avg" else total).astype(kind)


class Expected:
    """What a reduction of floats may be: `want`, exact but for the wide type, give or take `bound`.

    The bound is the documented (n + 1) u sum|x|, and for prod ((1 + u)^(n + 1) - 1) |want|.
    """

    def __init__(self, arrays: list[Array], dtype: str, op: str) -> None:
        n = len(arrays)
        info = ml_dtypes.finfo(numpy_dtype(dtype))
        u = np.longdouble(float(info.eps) / 2)
        # float64 holds exactly what the others are; its own sums need more.
        wide = np.stack([a.astype(np.longdouble if dtype == "float64" else np.float64)
                         for a in arrays])  # fmt: skip
        # Below the smallest normal number a rounding is off by up to half of a subnormal.
        tiny = (n + 1) * np.longdouble(float(info.smallest_subnormal) / 2)
        if op in ("min", "max"):
            self.want = wide.min(0) if op == "min" else wide.max(0)
            self.bound = np.zeros_like(self.want)
        elif op == "prod":
            self.want = wide.prod(0)
            self.bound = np.expm1((n + 1) * np.log1p(u)) * np.abs(self.want) + tiny
        else:
            divisor = n if op == "avg" else 1
            self.want = wide.sum(0) / divisor
            self.bound = (n + 1) * u * np.abs(wide).sum(0) / divisor + tiny

    def allows(self, result: Array) -> bool:
        """Whether every element is within the bound."""
        return bool((np.abs(result.astype(self.want.dtype) - self.want) <= self.bound).all())


class Case:
    """Inputs of `n` ranks for one dtype and op, and what may come of them."""

    def __init__(self, n: int, dtype: str, op: str, length: int) -> None:
        rng = np.random.default_rng([n, DTYPES.index(dtype), OPS.index(op), length])
        self.n, self.dtype, self.op = n, dtype, op
        # Products of 16 stay clear of overflow and of subnormal numbers.
        self.inputs = [draw_values(rng, dtype, length, op, 2**0.5) for _ in range(n)]
        self._bytes = [x.tobytes() for x in self.inputs]
        self.ordered = in_rank_order(self.inputs, dtype, op)
        self._expected = Expected(self.inputs, dtype, op) if dtype in FLOATS else None

    def copies(self) -> list[Array]:
        return [x.copy() for x in self.inputs]

    def empty(self, shape: int | None = None) -> list[Array]:
        """Outputs that hold something else."""
        length = len(self.inputs[0]) if shape is None else shape
        return [np.full(length, 1, numpy_dtype(self.dtype)) for _ in range(self.n)]

    def check(self, result: Array, rank_order: bool, what: str) -> None:
        """`result` is the whole reduction, within the bound or, in rank order, to the bit."""
        if rank_order or self._expected is None:
            assert result.tobytes() == self.ordered.tobytes(), f"{what}: not the bits of rank order"
        if self._expected is not None:
            assert self._expected.allows(result), f"{what}: not within the bound"

    def inputs_are_kept(self) -> bool:
        return [x.tobytes() for x in self.inputs] == self._bytes


@cache
def case(n: int, dtype: str, op: str, length: int) -> Case:
    """The same case for every algorithm."""
    return Case(n, dtype, op, length)

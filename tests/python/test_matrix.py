"""Every collective, algorithm, dtype and op on 1 to 16 simulated ranks.

Against float64 NumPy within the documented bound (float64 against long double), integers and bool
exactly, and where the algorithm adds in rank order to the bit. The bits are the same on every rank,
and from run to run: a second run is in place where the collective can be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

import weft
from python.matrix import (
    ALGORITHMS,
    DTYPES,
    FLOATS,
    IN_RANK_ORDER,
    OPS,
    Array,
    Case,
    case,
    dtypes_of,
    numpy_dtype,
    ops_of,
)

WORLDS = range(1, 17)
# Elements of a rank's shorter vector. Both are primes: no world above 1 divides them. Chunks of the
# longer one go in several pieces.
LENGTHS = [97, pytest.param(50_021, marks=pytest.mark.slow)]

Fabrics = Callable[[int], weft.Fabric]


@pytest.fixture(scope="module")
def fabrics() -> Iterator[Fabrics]:
    made: dict[int, weft.Fabric] = {}

    def get(n: int) -> weft.Fabric:
        return made.setdefault(n, weft.Fabric(f"sim:{n}"))

    yield get
    for fabric in made.values():
        fabric.close()
    case.cache_clear()


def matrix(collective: str) -> Callable[[Any], Any]:
    """Parameters: the algorithms of a collective, worlds, lengths."""

    def mark(test: Any) -> Any:
        for names, values in (
            ("algorithm", ALGORITHMS[collective]), ("n", WORLDS), ("length", LENGTHS),
        ):  # fmt: skip
            test = pytest.mark.parametrize(names, values)(test)
        return test

    return mark


def cases(n: int, length: int, dtypes: tuple[str, ...] = DTYPES) -> Iterator[tuple[Case, str]]:
    for dtype in dtypes:
        for op in ops_of(dtype):
            yield case(n, dtype, op, length), f"{dtype} {op}"


def one_bit_pattern(arrays: list[Array]) -> bool:
    return len({array.tobytes() for array in arrays}) == 1


@matrix("all_reduce")
def test_all_reduce(fabrics: Fabrics, algorithm: str, n: int, length: int) -> None:
    fabric = fabrics(n)
    # One rank has nothing to do under any name, so that a NaN is not needed there.
    for given, what in cases(n, length, dtypes_of(algorithm) if n > 1 else DTYPES):
        results = given.empty()
        fabric.all_reduce(given.inputs, given.op, out=results, algorithm=algorithm)
        assert one_bit_pattern(results), what
        assert given.inputs_are_kept(), what
        given.check(results[0], algorithm in IN_RANK_ORDER, what)
        again = given.copies()
        in_place = None if n == 1 or algorithm != "one_shot_pull" else given.empty()
        again = fabric.all_reduce(again, given.op, out=in_place, algorithm=algorithm)
        assert one_bit_pattern([results[0], *again]), what


@matrix("reduce_scatter")
def test_reduce_scatter(fabrics: Fabrics, algorithm: str, n: int, length: int) -> None:
    rows = length // 4
    for given, what in cases(n, n * rows):
        parts = fabrics(n).reduce_scatter(given.inputs, op=given.op, algorithm=algorithm)
        assert all(part.shape == (rows,) for part in parts), what
        assert given.inputs_are_kept(), what
        given.check(np.concatenate(parts), algorithm in IN_RANK_ORDER, what)
        again = given.empty(rows)
        fabrics(n).reduce_scatter(given.inputs, again, given.op, algorithm=algorithm)
        assert [x.tobytes() for x in again] == [x.tobytes() for x in parts], what


@matrix("reduce")
def test_reduce(fabrics: Fabrics, algorithm: str, n: int, length: int) -> None:
    for index, (given, what) in enumerate(cases(n, length)):
        root = index % n
        out = [x if rank == root else None for rank, x in enumerate(given.empty())]
        fabrics(n).reduce(given.inputs, root, given.op, out=out, algorithm=algorithm)
        assert given.inputs_are_kept(), what
        given.check(out[root], True, what)
        again = given.copies()
        fabrics(n).reduce(again, root, given.op, algorithm=algorithm)
        for rank, kept in enumerate(given.inputs):
            want = out[root] if rank == root else kept
            assert again[rank].tobytes() == want.tobytes(), what


# Moves: bits stay as they are. The dtypes take turns at the roots.


def vectors(n: int, length: int) -> Iterator[tuple[int, Case]]:
    for index, dtype in enumerate(DTYPES):
        yield index % n, case(n, dtype, "sum", length)


def same(a: Array | None, b: Array) -> bool:
    return a is not None and a.dtype == b.dtype and a.tobytes() == b.tobytes()


@matrix("all_gather")
def test_all_gather(fabrics: Fabrics, algorithm: str, n: int, length: int) -> None:
    for _, given in vectors(n, length):
        both = np.concatenate(given.inputs)
        again = given.empty(n * length)
        for results in (
            fabrics(n).all_gather(given.inputs, algorithm=algorithm),
            fabrics(n).all_gather(given.inputs, again, algorithm=algorithm),
        ):
            assert all(same(result, both) for result in results), given.dtype
        assert given.inputs_are_kept(), given.dtype


@matrix("all_to_all")
def test_all_to_all(fabrics: Fabrics, algorithm: str, n: int, length: int) -> None:
    rows = length // 4
    for _, given in vectors(n, n * rows):
        table = np.stack([x.reshape(n, rows) for x in given.inputs])
        for _ in range(2):
            results = fabrics(n).all_to_all(given.inputs, algorithm=algorithm)
            for rank, result in enumerate(results):
                assert same(result, table[:, rank].reshape(-1)), given.dtype
        assert given.inputs_are_kept(), given.dtype


@matrix("broadcast")
def test_broadcast(fabrics: Fabrics, algorithm: str, n: int, length: int) -> None:
    for root, given in vectors(n, length):
        in_place, out = given.copies(), given.empty()
        fabrics(n).broadcast(given.inputs, root, out=out, algorithm=algorithm)
        fabrics(n).broadcast(in_place, root, algorithm=algorithm)
        assert all(same(x, given.inputs[root]) for x in [*in_place, *out]), given.dtype
        assert given.inputs_are_kept(), given.dtype


@matrix("scatter")
def test_scatter(fabrics: Fabrics, algorithm: str, n: int, length: int) -> None:
    rows = length // 4
    for root, given in vectors(n, n * rows):
        whole = [x if rank == root else None for rank, x in enumerate(given.inputs)]
        want = given.inputs[root].reshape(n, rows)
        for out in (None, given.empty(rows)):
            parts = fabrics(n).scatter(whole, root, out=out, algorithm=algorithm)
            assert all(same(p, w) for p, w in zip(parts, want, strict=True)), given.dtype
        assert given.inputs_are_kept(), given.dtype


@matrix("gather")
def test_gather(fabrics: Fabrics, algorithm: str, n: int, length: int) -> None:
    for root, given in vectors(n, length):
        both = np.concatenate(given.inputs)
        for _ in range(2):
            results = fabrics(n).gather(given.inputs, root, algorithm=algorithm)
            assert same(results[root], both), given.dtype
            assert [r for r, x in enumerate(results) if x is not None] == [root], given.dtype
        assert given.inputs_are_kept(), given.dtype


@matrix("send_recv")
def test_send_recv(fabrics: Fabrics, algorithm: str, n: int, length: int) -> None:
    for shift, given in vectors(n, length):
        to = [(rank + shift) % n for rank in range(n)]
        for out in (None, given.empty()):
            got = fabrics(n).send_recv(given.inputs, to, out=out, algorithm=algorithm)
            for rank, receiver in enumerate(to):
                assert same(got[receiver], given.inputs[rank]), given.dtype
        assert given.inputs_are_kept(), given.dtype


# The lists of the matrix are weft's own


def names_that_there_are(fabric: weft.Fabric, **wrong: str) -> set[str]:
    with pytest.raises(weft.InvalidArgument) as caught:
        fabric.all_reduce([np.ones(1) for _ in range(fabric.size)], **wrong)
    listed = re.search(r"there are (.*)", str(caught.value))
    assert listed
    return set(listed[1].split(", "))


def test_every_dtype_and_op_is_in_the_matrix(fabrics: Fabrics) -> None:
    found = {str(v) for v in vars(weft._weft).values() if isinstance(v, weft.DType)}
    assert found == set(DTYPES)
    assert {d for d in found if getattr(weft, d).is_floating} == set(FLOATS)
    assert all(numpy_dtype(d).itemsize == getattr(weft, d).itemsize for d in DTYPES)
    assert names_that_there_are(fabrics(2), op="mean") == set(OPS)


@pytest.mark.parametrize("collective", ALGORITHMS)
def test_every_algorithm_is_in_the_matrix(fabrics: Fabrics, collective: str) -> None:
    """Each name serves if it is listed, and else is refused."""
    fabric = fabrics(3)
    xs = [np.ones(6, np.float32) for _ in range(3)]
    outs = [np.ones(2, np.float32) for _ in range(3)]
    arguments: dict[str, tuple[Any, ...]] = {
        "all_reduce": (xs,),
        "reduce_scatter": (xs, outs),
        "send_recv": (xs, [1, 2, 0]),
    }
    extra = {"out": [x.copy() for x in xs]} if collective == "all_reduce" else {}
    for name in names_that_there_are(fabric, algorithm="star"):
        call = partial(getattr(fabric, collective), algorithm=name, **extra)
        if name in ALGORITHMS[collective]:
            call(*arguments.get(collective, (xs,)))
            continue
        with pytest.raises(weft.InvalidArgument, match="cannot serve"):
            call(*arguments.get(collective, (xs,)))


def test_a_wrong_result_is_told() -> None:
    given = Case(3, "float32", "sum", 50)
    given.check(given.ordered, True, "")
    off = given.ordered.copy()
    off[7] = np.nextafter(off[7], np.float32(9))
    given.check(off, False, "")
    with pytest.raises(AssertionError, match="rank order"):
        given.check(off, True, "")
    off[7] += np.float32(1e-4)
    with pytest.raises(AssertionError, match="bound"):
        given.check(off, False, "")
    whole = Case(3, "int8", "prod", 50)
    with pytest.raises(AssertionError):
        whole.check(whole.ordered + np.int8(1), False, "")

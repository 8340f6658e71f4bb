"""The collectives: any shape and length, roots, splits, refusals; the rest is in test_matrix.py."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import weft
from python import matrix

DTYPES = [matrix.numpy_dtype(name).type for name in matrix.DTYPES]
# Those that take any dtype, in place.
ALL_REDUCES = [
    name
    for name in matrix.ALGORITHMS["all_reduce"]
    if name not in ("auto", "lamport", "one_shot_pull")
]
FLOAT8 = [matrix.numpy_dtype(name).type for name in matrix.FLOAT8]
MOVES = matrix.ALGORITHMS["broadcast"]
SIZES = range(1, 17)


@pytest.fixture(scope="module")
def fabrics() -> Iterator[Callable[[int], weft.Fabric]]:
    made: dict[int, weft.Fabric] = {}

    def get(n: int) -> weft.Fabric:
        return made.setdefault(n, weft.Fabric(f"sim:{n}"))

    yield get
    for fabric in made.values():
        fabric.close()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def data(rng: np.random.Generator, n: int, shape: tuple[int, ...], dtype: Any) -> list[Any]:
    if dtype is np.bool_:
        return [rng.integers(0, 2, shape).astype(bool) for _ in range(n)]
    if np.dtype(dtype).kind in "iu":
        return [rng.integers(0, 100, shape).astype(dtype) for _ in range(n)]
    return [rng.uniform(-1, 1, shape).astype(dtype) for _ in range(n)]


def in_rank_order(tensors: list[Any]) -> Any:
    return matrix.in_rank_order(tensors, tensors[0].dtype.name, "sum")


def same_bits(a: Any, b: Any) -> bool:
    return bool(a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes())


def close(got: Any, tensors: list[Any]) -> bool:
    """Within (n + 1) u sum|x|; exact for integers and bool."""
    if got.dtype.name not in matrix.FLOATS:
        return same_bits(got, in_rank_order(tensors))
    return matrix.Expected(tensors, got.dtype.name, "sum").allows(got)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("algorithm", ALL_REDUCES)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    n=st.sampled_from(SIZES),
    length=st.one_of(st.integers(0, 70), st.integers(0, 9000)),
    in_place=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_all_reduce_algorithms_agree_with_numpy(
    fabrics: Any, dtype: Any, algorithm: str, n: int, length: int, in_place: bool, seed: int
) -> None:
    xs = data(np.random.default_rng(seed), n, (length,), dtype)
    kept = [x.copy() for x in xs]
    out = None if in_place else [np.empty_like(x) for x in xs]
    got = fabrics(n).all_reduce(xs, algorithm=algorithm, out=out)
    assert all(same_bits(g, got[0]) for g in got)
    assert close(got[0], kept)
    if algorithm in matrix.IN_RANK_ORDER:
        assert same_bits(got[0], in_rank_order(kept))
    if not in_place:
        assert all(same_bits(x, k) for x, k in zip(xs, kept, strict=True))


@pytest.mark.parametrize("algorithm", ["lamport", "one_shot_pull"])
@pytest.mark.parametrize("n", SIZES)
def test_the_other_algorithms_add_in_rank_order_too(
    fabrics: Any, algorithm: str, n: int, rng: Any
) -> None:
    for name in matrix.FLOATS:
        xs = data(rng, n, (1001,), matrix.numpy_dtype(name).type)
        if algorithm == "lamport" and name in matrix.FLOAT8 and n > 1:
            with pytest.raises(weft.InvalidArgument, match="not for float8"):
                fabrics(n).all_reduce(xs, algorithm=algorithm)
            continue
        got = fabrics(n).all_reduce(
            xs, algorithm=algorithm, out=[np.empty_like(x) for x in xs], op="sum"
        )
        assert all(same_bits(g, in_rank_order(xs)) for g in got)


@pytest.mark.parametrize("group_size", [1, 2, 4, 8])
def test_groups_of_hierarchical_are_as_given(fabrics: Any, group_size: int, rng: Any) -> None:
    xs = data(rng, 8, (777,), np.int64)
    total = in_rank_order(xs)
    got = fabrics(8).all_reduce(xs, algorithm="hierarchical", group_size=group_size)
    assert all(same_bits(g, total) for g in got)


@pytest.mark.parametrize("algorithm", matrix.ALGORITHMS["reduce_scatter"])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", [np.int32, *FLOAT8, ml_dtypes.bfloat16, np.float64])
def test_reduce_scatter(fabrics: Any, algorithm: str, n: int, dtype: Any, rng: Any) -> None:
    for rows in (0, 1, 3, 500):
        xs = data(rng, n, (n * rows, 3), dtype)
        parts = fabrics(n).reduce_scatter(xs, algorithm=algorithm)
        for rank, part in enumerate(parts):
            assert part.shape == (rows, 3)
            mine = [x[rank * rows : (rank + 1) * rows] for x in xs]
            assert close(part, mine)
            if algorithm != "ring":
                assert same_bits(part, in_rank_order(mine))


@pytest.mark.parametrize("algorithm", matrix.ALGORITHMS["all_gather"])
@pytest.mark.parametrize("n", SIZES)
def test_all_gather(fabrics: Any, algorithm: str, n: int, rng: Any) -> None:
    for shape in ((), (0,), (1,), (7, 5), (40000,)):
        xs = data(rng, n, shape, np.float32)
        want = np.concatenate([np.atleast_1d(x) for x in xs])
        got = fabrics(n).all_gather(xs, algorithm=algorithm)
        assert all(same_bits(g, want) for g in got)


@pytest.mark.parametrize("algorithm", MOVES)
@pytest.mark.parametrize("n", SIZES)
def test_all_to_all(fabrics: Any, algorithm: str, n: int, rng: Any) -> None:
    for rows in (0, 1, 2, 333):
        xs = data(rng, n, (n * rows, 2), np.int16)
        got = fabrics(n).all_to_all(xs, algorithm=algorithm)
        for j in range(n):
            want = np.concatenate([x[j * rows : (j + 1) * rows] for x in xs])
            assert same_bits(got[j], want)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(n=st.sampled_from(SIZES), seed=st.integers(0, 2**32 - 1), algorithm=st.sampled_from(MOVES))
def test_all_to_all_with_uneven_splits(fabrics: Any, n: int, seed: int, algorithm: str) -> None:
    rng = np.random.default_rng(seed)
    splits = rng.integers(0, 50, (n, n))
    xs = [rng.integers(0, 1000, (int(splits[i].sum()), 3)) for i in range(n)]
    starts = np.cumsum(np.pad(splits, ((0, 0), (1, 0))), axis=1)
    got = fabrics(n).all_to_all(xs, splits=splits.tolist(), algorithm=algorithm)
    for j in range(n):
        want = np.concatenate([xs[i][starts[i][j] : starts[i][j + 1]] for i in range(n)])
        assert same_bits(got[j], want)


@pytest.mark.parametrize("algorithm", MOVES)
@pytest.mark.parametrize("n", SIZES)
def test_rooted_collectives(fabrics: Any, algorithm: str, n: int, rng: Any) -> None:
    for root in sorted({0, n - 1, n // 2}):
        xs = data(rng, n, (n * 5, 2), np.float16)
        kept = [x.copy() for x in xs]
        out = [np.empty_like(x) for x in xs]
        fabrics(n).broadcast(xs, root, out=out, algorithm=algorithm)
        assert all(same_bits(o, kept[root]) for o in out)
        gathered = fabrics(n).gather(xs, root, algorithm=algorithm)
        assert same_bits(gathered[root], np.concatenate(kept))
        assert all(g is None for r, g in enumerate(gathered) if r != root)
        only_root = [x if r == root else None for r, x in enumerate(xs)]
        parts = fabrics(n).scatter(only_root, root, algorithm=algorithm)
        assert all(same_bits(p, kept[root][5 * r : 5 * r + 5]) for r, p in enumerate(parts))
        reduced = fabrics(n).reduce(xs, root)
        assert same_bits(reduced[root], in_rank_order(kept))
        assert all(
            same_bits(x, k) for r, (x, k) in enumerate(zip(xs, kept, strict=True)) if r != root
        )
        fabrics(n).broadcast(xs, root, algorithm=algorithm)
        assert all(same_bits(x, xs[root]) for x in xs)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_send_recv_is_a_partial_permutation(fabrics: Any, n: int, rng: Any) -> None:
    xs = data(rng, n, (100,), np.float32)
    shifted = fabrics(n).send_recv(xs, [(r + 1) % n for r in range(n)])
    assert all(same_bits(shifted[(r + 1) % n], xs[r]) for r in range(n))
    one = fabrics(n).send_recv([xs[0], *[None] * (n - 2), xs[-1]], [n - 1, *[None] * (n - 1)])
    assert same_bits(one[-1], xs[0])
    assert all(o is None for o in one[:-1])
    myself = fabrics(n).send_recv(xs, [0, *[None] * (n - 1)])
    assert same_bits(myself[0], xs[0])


def test_non_contiguous_tensors_are_staged_in_every_collective(fabrics: Any, rng: Any) -> None:
    n = 4
    wide = [rng.integers(0, 100, (8, 6)) for _ in range(n)]
    xs = [w[:, ::2] for w in wide]
    out = [np.zeros((32, 6), np.int64)[:, ::2] for _ in range(n)]
    fabrics(n).all_gather(xs, out)
    assert all(np.array_equal(o, np.concatenate(xs)) for o in out)
    parts = [np.zeros((2, 6), np.int64)[:, ::2] for _ in range(n)]
    fabrics(n).reduce_scatter(xs, parts)
    assert all(
        np.array_equal(p, sum(x[2 * r : 2 * r + 2] for x in xs)) for r, p in enumerate(parts)
    )


def call_all_ranks(
    fabric: weft.Fabric, call: Callable[[weft.rank_view.RankView], Any]
) -> list[Any]:
    results: list[Any] = [None] * fabric.size

    def run(rank: int) -> None:
        try:
            results[rank] = call(fabric.rank(rank))
        except weft.Error as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(r,)) for r in range(fabric.size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("out", [False, True])
def test_a_reduce_leaves_the_views_of_other_ranks_alone(fabrics: Any, out: bool) -> None:
    rooms = [np.full((40, 2), rank + 1) for rank in range(3)]
    views = [room[:, 0] for room in rooms]
    got = np.zeros((40, 2), np.int64)[:, 0]
    given = [views[0], got, views[2]] if out else None
    fabrics(3).reduce(views, root=1, out=given)
    assert ((got if out else views[1]) == 6).all()
    for rank in (0, 2):
        assert (rooms[rank] == rank + 1).all()
    assert (rooms[1][:, 1] == 2).all()


def test_every_collective_from_the_ranks_own_threads(fabrics: Any) -> None:
    fabric = fabrics(3)
    x = [np.arange(6.0) + 10 * r for r in range(3)]
    both = np.concatenate(x)
    got = call_all_ranks(fabric, lambda r: r.all_gather(x[r.index]))
    assert all(np.array_equal(g, both) for g in got)
    got = call_all_ranks(fabric, lambda r: r.reduce_scatter(x[r.index]))
    assert all(np.array_equal(g, sum(x)[2 * r : 2 * r + 2]) for r, g in enumerate(got))
    got = call_all_ranks(fabric, lambda r: r.all_to_all(x[r.index]))
    assert np.array_equal(got[1], np.concatenate([t[2:4] for t in x]))
    rows = [[1, 2, 3], [0, 0, 6], [6, 0, 0]]
    outs = [np.empty(n) for n in (7, 2, 9)]
    call_all_ranks(fabric, lambda r: r.all_to_all(x[r.index], outs[r.index], splits=rows[r.index]))
    assert np.array_equal(outs[2], np.concatenate([x[0][3:], x[1]]))
    got = call_all_ranks(fabric, lambda r: r.gather(x[r.index], root=2))
    assert got[0] is None
    assert np.array_equal(got[2], both)
    got = call_all_ranks(
        fabric, lambda r: r.scatter(x[1] if r.index == 1 else None, np.empty(2), root=1)
    )
    assert np.array_equal(got[2], x[1][4:])
    got = call_all_ranks(fabric, lambda r: r.reduce(x[r.index].copy(), 1, "max"))
    assert np.array_equal(got[1], x[2])
    assert np.array_equal(got[0], x[0])
    got = call_all_ranks(fabric, lambda r: r.broadcast(x[r.index].copy(), 2))
    assert np.array_equal(got[0], x[2])
    got = call_all_ranks(fabric, lambda r: r.send_recv(x[r.index], (r.index + 1) % 3, np.empty(6)))
    assert np.array_equal(got[0], x[2])


def test_ranks_that_disagree_are_all_refused(fabrics: Any) -> None:
    x = [np.ones(3) for _ in range(3)]
    got = call_all_ranks(fabrics(3), lambda r: r.broadcast(x[r.index], r.index % 2))
    assert all(isinstance(g, weft.InvalidArgument) and "root" in str(g) for g in got)
    got = call_all_ranks(
        fabrics(3), lambda r: r.reduce(x[r.index], 0) if r.index else r.all_reduce(x[0])
    )
    assert all(isinstance(g, weft.InvalidArgument) and "rank 1 calls reduce" in str(g) for g in got)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda f, x: f.reduce_scatter([t[:5] for t in x]), weft.ShapeMismatch, "not a multiple"),
        (lambda f, x: f.all_to_all([t[:5] for t in x]), weft.ShapeMismatch, "not a multiple"),
        (lambda f, x: f.all_gather(x, [t.copy() for t in x]), weft.ShapeMismatch, r"\(18,"),
        (lambda f, x: f.all_to_all(x, x), weft.AliasError, "needs its own"),
        (lambda f, x: f.broadcast(x, 3), weft.InvalidArgument, "root"),
        (lambda f, x: f.broadcast(x, True), weft.InvalidArgument, "root"),
        (lambda f, x: f.reduce(x, 0, "avg"), weft.DTypeMismatch, "avg"),
        (lambda f, x: f.send_recv(x, [1, 1, None]), weft.InvalidArgument, "both send to rank 1"),
        (lambda f, x: f.send_recv(x, [None] * 3), weft.InvalidArgument, "nobody sends"),
        (lambda f, x: f.send_recv(x, [1, 2]), weft.WorldSizeError, "receivers"),
        (lambda f, x: f.all_reduce(x, algorithm="one_shot_pull"), weft.InvalidArgument, "out="),
        (lambda f, x: f.all_reduce(x, algorithm="lamport"), weft.InvalidArgument, "sentinel"),
        (lambda f, x: f.all_gather(x, algorithm="two_shot"), weft.InvalidArgument, "are ring"),
        (lambda f, x: f.all_reduce(x, algorithm="hierarchical", group_size=2),
         weft.InvalidArgument, "do not divide"),
        (lambda f, x: f.all_to_all(x, splits=[[2, 2, 2]] * 2), weft.InvalidArgument, "splits"),
        (lambda f, x: f.all_to_all(x, splits=[[2, 2, 2], [2, 2, 2], [7, -1, 0]]),
         weft.InvalidArgument, "rank 2's must be 3 whole numbers from 0 on"),
        (lambda f, x: f.all_to_all(x, splits=[[2, 2, 2], [2, 2, 2], [2, 2, 1]]),
         weft.ShapeMismatch, "rank 2: splits send 5 rows"),
        (lambda f, x: f.scatter([None, x[0], None]), weft.InvalidArgument, "rank 0 gives no"),
        (lambda f, x: f.all_reduce([x[0], None, x[2]]), weft.InvalidArgument, "gives no tensor"),
    ],
)  # fmt: skip
def test_wrong_calls_are_refused_and_change_nothing(
    fabrics: Any, call: Callable[[weft.Fabric, list[Any]], Any], error: type, says: str
) -> None:
    x = [np.arange(6) + r for r in range(3)]
    kept = [t.copy() for t in x]
    with pytest.raises(error, match=says):
        call(fabrics(3), x)
    assert all(np.array_equal(t, k) for t, k in zip(x, kept, strict=True))


def test_one_rank_is_the_identity_under_every_name(fabrics: Any) -> None:
    for algorithm in (*ALL_REDUCES, "lamport", "one_shot_pull"):
        x = [np.arange(5)]
        assert fabrics(1).all_reduce(x, algorithm=algorithm)[0].tolist() == [0, 1, 2, 3, 4]
        assert fabrics(1).all_gather(x, algorithm=algorithm)[0].tolist() == [0, 1, 2, 3, 4]


def test_stats_count_the_bytes_of_the_schedule(fabrics: Any) -> None:
    with weft.Fabric("sim:4") as fabric:
        for algorithm, hops in (
            ("ring", 6),
            ("push_two_shot", 6),
            ("two_shot", 6),
            ("one_shot", 12),
        ):
            fabric.reset_stats()
            fabric.all_reduce([np.ones(4096, np.float32) for _ in range(4)], algorithm=algorithm)
            # Every rank sends 2 (n - 1) / n of its vector; in one shot, n - 1 vectors.
            assert sum(fabric.stats()["links"].values()) == 4 * 4096 * hops
        fabric.reset_stats()
        fabric.all_to_all([np.ones(4096, np.float32) for _ in range(4)])
        assert set(fabric.stats()["links"].values()) == {4096}


def test_info_and_events_name_what_ran(fabrics: Any) -> None:
    with weft.Fabric("sim:3") as fabric:
        work = fabric.all_gather([np.ones(5) for _ in range(3)], async_op=True)
        work.wait()
        assert work.info["kind"] == "all_gather"
        assert work.info["algorithm"] == "one_shot"
        assert work.info["protocol"] == "tokens"
        assert work.info["bytes"] == 3 * 5 * 8
        events = fabric.events().operations
        assert set(events["kind"]) == {"all_gather"}
        assert set(events["op"]) == {""}


def test_deterministic_forbids_what_does_not_add_in_rank_order(fabrics: Any, rng: Any) -> None:
    assert weft.deterministic(True) is False
    try:
        xs = data(rng, 5, (1000,), np.float32)
        for name in ("ring", "halving_doubling", "hierarchical"):
            with pytest.raises(weft.InvalidArgument, match=r"weft\.deterministic forbids"):
                fabrics(5).all_reduce([x.copy() for x in xs], algorithm=name)
            whole = [x.astype(np.int32) for x in xs]
            fabrics(5).all_reduce(whole, algorithm=name)  # integers have one sum
        got = fabrics(5).all_reduce([x.copy() for x in xs])
        assert all(same_bits(g, in_rank_order(xs)) for g in got)
        pair = fabrics(2).all_reduce([x.copy() for x in xs[:2]], algorithm="ring")
        assert same_bits(pair[0], in_rank_order(xs[:2]))
        with pytest.raises(weft.InvalidArgument, match="True or False"):
            weft.deterministic(1)  # type: ignore[arg-type]
        assert weft.is_deterministic()
    finally:
        weft.deterministic(False)
    assert not weft.is_deterministic()


@pytest.mark.parametrize("option", ["algoritm", "streams", "op"])
def test_an_option_that_a_ranks_call_does_not_have_is_refused(fabrics: Any, option: str) -> None:
    """Before it waits for anybody, and never silently ignored."""
    with pytest.raises(TypeError, match=f"all_gather.*'{option}'"):
        fabrics(2).rank(0).all_gather(np.ones(2), **{option: "ring"})

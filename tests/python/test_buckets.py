"""Buckets: a list of tensors for each rank is one all_reduce."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import weft

Array = np.ndarray[Any, Any]
SHAPES = [(3,), (0,), (100, 7), (), (20000,), (1,), (0, 4), (2, 3, 4)]
DTYPES = (
    "bool", "uint8", "int16", "int64", "float8_e4m3fn", "float8_e5m2", "float16", "bfloat16",
    "float32", "float64",
)  # fmt: skip


def numpy_dtype(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name, name))


def drawn(ranks: int, dtype: str, shapes: list[tuple[int, ...]] = SHAPES) -> list[list[Array]]:
    rng = np.random.default_rng(7)

    def one(shape: tuple[int, ...]) -> Array:
        values = rng.standard_normal(shape) * 10
        return np.asarray(np.abs(values) if dtype in ("bool", "uint8") else values).astype(
            numpy_dtype(dtype)
        )

    return [[one(shape) for shape in shapes] for _ in range(ranks)]


def copies(lists: list[list[Array]]) -> list[list[Array]]:
    return [[np.array(x) for x in given] for given in lists]


def one_by_one(fab: weft.Fabric, lists: list[list[Array]], op: str) -> list[Array]:
    """The result at each place, by a call for each."""
    results = []
    for k in range(len(lists[0])):
        arrays = [np.array(given[k]) for given in lists]
        fab.all_reduce(arrays, op, algorithm="two_shot")
        results.append(arrays[0])
    return results


def assert_all(lists: list[list[Array]], want: list[Array]) -> None:
    for given in lists:
        assert [x.tobytes() for x in given] == [x.tobytes() for x in want]


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_bucket_has_the_bits_of_single_calls(ranks: int, dtype: str) -> None:
    lists = drawn(ranks, dtype)
    before = copies(lists)
    with weft.Fabric(f"sim:{ranks}") as fab:
        for op in ("sum", "avg", "min", "max", "prod"):
            if op == "avg" and "float" not in dtype:
                continue
            want = one_by_one(fab, lists, op)
            out = [[np.empty_like(x) for x in given] for given in lists]
            given_back = fab.all_reduce(lists, op, out=out)
            assert all(
                a is b
                for x, y in zip(given_back, out, strict=True)
                for a, b in zip(x, y, strict=True)
            )
            assert_all(out, want)
            assert [[x.tobytes() for x in r] for r in lists] == [
                [x.tobytes() for x in r] for r in before
            ], "an input changed"
            in_place = copies(lists)
            fab.all_reduce(in_place, op)
            assert_all(in_place, want)


def test_sums_are_those_of_numpy() -> None:
    lists = drawn(4, "float64")
    with weft.Fabric("sim:4") as fab:
        sums = fab.all_reduce(copies(lists))
    for k in range(len(SHAPES)):
        wide = [given[k].astype(np.longdouble) for given in lists]
        bound = 5 * 2.0**-53 * sum(np.abs(x) for x in wide)
        assert (np.abs(sums[2][k] - sum(wide)) <= bound).all()


def test_a_bucket_is_one_operation() -> None:
    lists = drawn(3, "float32", [(1000,)] * 50)
    with weft.Fabric("sim:3") as fab:
        work = fab.all_reduce(lists, async_op=True)
        work.wait()
        assert fab.stats()["operations"] == 1
        assert len(fab.events().operations) == 3  # one a rank
        assert work.info["algorithm"] == "two_shot"
        assert work.info["path"] == "zero_copy"
        assert work.info["bytes"] == fab.stats()["bytes"] == 50 * 4000
        assert [len(given) for given in work.outputs] == [50] * 3
        # What each link carries is what one vector of the length would: a third each way, twice.
        total = sum(fab.stats()["links"].values())
        assert abs(total - 4 * 50 * 4000) < 3 * 4 * 128


def test_views_of_any_layout() -> None:
    with weft.Fabric("sim:2") as fab:
        lists = []
        for rank in range(2):
            room = np.zeros(1 + 4 * 60, np.uint8)
            unaligned = room[1 : 1 + 4 * 50].view(np.float32)
            unaligned[...] = rank + 1
            strided = np.full((40, 6), rank + 1, np.float32)
            lists.append([unaligned, strided[::2, 1::2], strided.T[0:1], np.ones(7, np.float32)])
        work = fab.all_reduce(lists, async_op=True)
        work.wait()
        assert work.info["path"] == "staged"
        for unaligned, sliced, row, plain in lists:
            assert (unaligned == 3).all()
            assert (sliced == 3).all()
            assert (row == 3).all()
            assert (plain == 2).all()
        untouched = np.array(lists[0][1].base)
        untouched[::2, 1::2] = 1
        untouched[:, 0] = 1
        assert (untouched == 1).all()


def test_empty_buckets_and_tensors_launch_nothing() -> None:
    with weft.Fabric("sim:2") as fab:
        assert fab.all_reduce([[], []]) == [[], []]
        fab.all_reduce([[np.zeros(0)], [np.zeros(0)]])
        fab.all_reduce(((), ()), "avg", out=((), ()))
        stats = fab.stats()
        assert (stats["operations"], stats["empty"], stats["bytes"]) == (3, 3, 0)


def test_tensors_of_weft() -> None:
    with weft.Fabric("sim:2") as fab:
        lists = [[weft.ones(5, device=d), weft.full((2, 2), 3.0, device=d)] for d in fab.devices]
        first, second = fab.all_reduce(lists)[1]
        assert first.numpy().tolist() == [2.0] * 5
        assert second.numpy().tolist() == [[6.0, 6.0]] * 2


def test_a_graph_replays_a_bucket() -> None:
    with weft.Fabric("sim:3") as fab:
        lists = [[np.ones(3), np.ones(1000)] for _ in range(3)]
        graph = weft.Graph()
        with graph.capture(fab):
            fab.all_reduce(lists)
        assert (lists[0][1] == 1).all()
        for _ in range(2):
            graph.replay()
        assert all((x == 9).all() for given in lists for x in given)


def in_threads(count: int, work: Callable[[int], None]) -> list[BaseException | None]:
    errors: list[BaseException | None] = [None] * count

    def run(index: int) -> None:
        try:
            work(index)
        except BaseException as error:
            errors[index] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return errors


@pytest.mark.stress
def test_ranks_bring_their_lists_from_their_own_threads() -> None:
    lists = drawn(3, "float32")
    with weft.Fabric("sim:3") as fab:
        want = one_by_one(fab, lists, "sum")
        out = [[np.empty_like(x) for x in given] for given in lists]

        def work(rank: int) -> None:
            assert fab.rank(rank).all_reduce(lists[rank], out=out[rank]) is not out[rank]
            fab.rank(rank).all_reduce(lists[rank])

        assert in_threads(3, work) == [None] * 3
        assert_all(out, want)
        assert_all(lists, want)


@pytest.mark.parametrize(
    ("error", "match", "tensors"),
    [
        (weft.ShapeMismatch, "bucket has 1", [np.ones(2)]),
        (weft.InvalidArgument, "a list or a tensor", np.ones(2)),
    ],
)
def test_ranks_must_agree(error: type[weft.Error], match: str, tensors: Any) -> None:
    with weft.Fabric("sim:2", timeout=20) as fab:
        given = [[np.ones(2), np.ones(2)], tensors]
        errors = in_threads(2, lambda rank: fab.rank(rank).all_reduce(given[rank]) and None)
        for caught in errors:
            assert isinstance(caught, error)
            assert match in str(caught)


def pair(*arrays: Array) -> list[list[Array]]:
    return [[np.array(a) for a in arrays] for _ in range(2)]


def shared(where: int, dtype: Any = np.float64) -> list[list[Array]]:
    lists = pair(np.ones(8), np.ones(8))
    lists[1][1] = lists[0][where]
    return lists


REFUSED = [
    (weft.WorldSizeError, "3 lists", [*pair(np.ones(2)), [np.ones(2)]], {}),
    (weft.ShapeMismatch, "1 tensors, rank 0's has 2", [[np.ones(2)] * 2, [np.ones(2)]], {}),
    (weft.ShapeMismatch, "place 1", [[np.ones(2), np.ones(3)], [np.ones(2), np.ones(4)]], {}),
    (weft.DTypeMismatch, "one dtype", pair(np.ones(2), np.ones(2, np.float32)), {}),
    (weft.DTypeMismatch, "place 1", [[np.ones(2), np.ones(2)], [np.ones(2), np.ones(2, "i4")]], {}),
    (weft.DTypeMismatch, "avg", pair(np.ones(2, np.int32)), {"op": "avg"}),
    (weft.AliasError, "place 1", shared(0), {}),
    (weft.AliasError, "place 1", shared(1), {}),
    (weft.InvalidArgument, "not copied into one", pair(np.ones(2)), {"algorithm": "ring"}),
    (weft.InvalidArgument, "max_blocks", pair(np.ones(2)), {"max_blocks": 0}),
    (weft.InvalidArgument, "other ranks have lists", [[np.ones(2)], np.ones(2)], {}),
    (weft.InvalidArgument, "rank 1 has a list", [np.ones(2), [np.ones(2)]], {}),
    (weft.InvalidArgument, "no tensor", [*pair(np.ones(2))[:1], ["text"]], {}),
    (weft.ShapeMismatch, "outputs", pair(np.ones(2), np.ones(2)), {"out": pair(np.ones(2))}),
    (weft.InvalidArgument, "out", pair(np.ones(2)), {"out": [np.ones(2), np.ones(2)]}),
    (weft.ShapeMismatch, "place 0", pair(np.ones(2)), {"out": pair(np.ones(3))}),
]


@pytest.mark.parametrize(("error", "match", "tensors", "options"), REFUSED)
def test_what_is_refused_changes_nothing(
    error: type[weft.Error], match: str, tensors: Any, options: dict[str, Any]
) -> None:
    with weft.Fabric("sim:2") as fab:
        with pytest.raises(error, match=match):
            fab.all_reduce(tensors, **options)
        assert fab.stats()["operations"] == 0
        arrays = [a for given in tensors for a in given if isinstance(a, np.ndarray)]
        assert all((a == 1).all() for a in arrays)


def test_read_only_and_repeated_outputs_are_refused() -> None:
    with weft.Fabric("sim:2") as fab:
        frozen = pair(np.ones(2))
        frozen[1][0].flags.writeable = False
        with pytest.raises(weft.ReadOnlyBuffer):
            fab.all_reduce(frozen)
        repeated = [[np.broadcast_to(np.ones(1), 4)] for _ in range(2)]
        with pytest.raises((weft.AliasError, weft.ReadOnlyBuffer)):
            fab.all_reduce(repeated)
        with pytest.raises(weft.DeviceMismatch, match="place 1"):
            fab.all_reduce([[np.ones(1), weft.ones(1, dtype="float64", device="sim:1")]] * 2)


def test_buckets_are_for_all_reduce() -> None:
    with weft.Fabric("sim:2") as fab:
        for call in (fab.broadcast, fab.all_gather, fab.reduce_scatter, fab.reduce, fab.all_to_all):
            with pytest.raises(weft.InvalidArgument, match=r"buckets.*for all_reduce"):
                call([[np.ones(2)], [np.ones(2)]])  # type: ignore[operator]
        with pytest.raises(weft.InvalidArgument, match="buckets are for all_reduce"):
            fab.rank(0).broadcast([np.ones(2)])


def test_one_rank_takes_any_algorithm_name() -> None:
    with weft.Fabric("sim:1") as fab:
        for algorithm in ("ring", "lamport", "two_shot"):
            out = [[np.zeros(3), np.zeros(0)]]
            fab.all_reduce([[np.arange(3.0), np.zeros(0)]], out=out, algorithm=algorithm)
            assert out[0][0].tolist() == [0, 1, 2]


def test_a_fault_in_a_bucket_ends_on_every_rank() -> None:
    with weft.Fabric("sim:3", timeout=0.5) as fab:
        lists = drawn(3, "float32")
        fab._native.plan_fault(1, 1, "stop")
        with pytest.raises(weft.Error) as caught:
            fab.all_reduce(lists)
        assert caught.value.culprits == [1] or 1 in caught.value.culprits
        fab._native.plan_fault(-1, -1, "none")
        fab.recover()
        assert_all(fab.all_reduce(copies(lists)), one_by_one(fab, lists, "sum"))


_WITH_C_FUNCTIONS = """
import numpy as np, torch, weft
with weft.Fabric("sim:2") as fab:
    lists = [[torch.full((5,), r + 1.0), torch.ones(2, 3), torch.zeros(0)] for r in range(2)]
    for turn in range(4):  # the same tensors: checked once
        fab.all_reduce(lists)
    assert lists[0][0].tolist() == [24.0] * 5 and lists[1][1].tolist() == [[16.0] * 3] * 2
    lists[1][0] = torch.ones(6)  # not the same: checked again
    try:
        fab.all_reduce(lists)
    except weft.ShapeMismatch as error:
        assert "place 0" in str(error)
    else:
        raise AssertionError("not refused")
    try:
        fab.all_reduce([[torch.ones(2, requires_grad=True)], [torch.ones(2)]])
    except BufferError:
        pass
    else:
        raise AssertionError("not refused")
    turned = [[torch.ones(3, dtype=torch.complex64).conj().imag] for _ in range(2)]
    try:
        fab.all_reduce(turned)  # a lazy negation has no memory of its own values
    except BufferError:
        pass
"""


@pytest.mark.slow
def test_tensors_of_torch() -> None:
    pytest.importorskip("torch", reason="this is about PyTorch's tensors")
    done = subprocess.run(
        [sys.executable, "-c", _WITH_C_FUNCTIONS], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr

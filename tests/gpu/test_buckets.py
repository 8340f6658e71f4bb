"""Buckets on GPUs: the bits of single calls, whatever the tensors, eager and captured."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

import weft
from gpu.support import FLOAT8, bits, dtypes, random_inputs, torch

Fabrics = Callable[[str], weft.Fabric]

SPECS = [
    pytest.param(s, marks=pytest.mark.gpu1)
    for s in ("cuda:0x1", "cuda:0x2", "cuda:0x3", "cuda:0x5", "cuda:0x16")
] + [pytest.param(s, marks=pytest.mark.gpu2) for s in ("cuda:0,1", "cuda:0x4,1x4")]
SMALL = [
    pytest.param("cuda:0x2", marks=pytest.mark.gpu1),
    pytest.param("cuda:0,1", marks=pytest.mark.gpu2),
]
LENGTHS = (1, 0, 3, 1024, 7, 0, 100_003, 33, 16, 400_000, 5)


def drawn(fabric: weft.Fabric, dtype: str, op: str, lengths: tuple[int, ...]) -> list[list[Any]]:
    """A list of tensors a rank; every third begins one element into its memory."""
    places = [
        random_inputs(fabric.size, length + 1, dtype, op, seed=k)
        for k, length in enumerate(lengths)
    ]
    return [
        [
            place[r].to(d)[k % 3 == 1 :][:length]
            for k, (place, length) in enumerate(zip(places, lengths, strict=True))
        ]
        for r, d in enumerate(fabric.devices)
    ]


def one_by_one(fabric: weft.Fabric, lists: list[list[Any]], op: str) -> list[Any]:
    results = []
    for k in range(len(lists[0])):
        tensors = [given[k].clone() for given in lists]
        fabric.all_reduce(tensors, op, algorithm="two_shot")
        results.append(bits(tensors[0]))
    return results


def assert_all(lists: list[list[Any]], want: list[Any]) -> None:
    for given in lists:
        assert all(torch.equal(bits(x), w) for x, w in zip(given, want, strict=True))


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(
    "dtype", dtypes("bool", "int64", *FLOAT8, "float16", "bfloat16", "float32", "float64")
)
def test_a_bucket_has_the_bits_of_single_calls(fabrics: Fabrics, spec: str, dtype: str) -> None:
    fabric = fabrics(spec)
    for op in ("sum", "prod", "avg"):
        if op == "avg" and "float" not in dtype:
            continue
        lists = drawn(fabric, dtype, op, LENGTHS)
        before = [[bits(x) for x in given] for given in lists]
        want = one_by_one(fabric, lists, op)
        out = [[torch.empty_like(x) for x in given] for given in lists]
        fabric.all_reduce(lists, op, out=out)
        assert_all(out, want)
        for given, kept in zip(lists, before, strict=True):
            assert_all([given], kept)
        fabric.all_reduce(lists, op, max_blocks=3)
        assert_all(lists, want)


@pytest.mark.parametrize("spec", SMALL)
def test_many_tensors_of_changing_sizes(fabrics: Fabrics, spec: str) -> None:
    """Buckets follow each other and single calls without a wait between them."""
    fabric = fabrics(spec)
    rooms = [torch.ones(1 << 20, device=d) for d in fabric.devices]
    single = [torch.ones(5000, device=d) for d in fabric.devices]
    for turn in range(40):
        size = 1 + 97 * turn
        lists = [list(room[: size * 200].split(size)) for room in rooms]
        fabric.all_reduce(lists, "max" if turn % 2 else "avg")
        fabric.all_reduce(single, "avg")
    assert all(bool((x == 1).all()) for x in (*rooms, *single))
    lists = [
        [torch.full((1024,), r + k, device=d) for k in range(1000)]
        for r, d in enumerate(fabric.devices)
    ]
    for _ in range(3):
        fabric.all_reduce(lists, "max")
    want = fabric.size - 1
    assert all(bool((x == want + k).all()) for given in lists for k, x in enumerate(given))


@pytest.mark.parametrize("spec", SMALL)
def test_graphs_keep_their_tables(fabrics: Fabrics, spec: str) -> None:
    """Other buckets in between, more than are remembered, do not disturb a recorded one."""
    fabric = fabrics(spec)
    lists = [[torch.ones(1000 + k, device=d) for k in range(30)] for d in fabric.devices]
    graph = weft.Graph()
    with graph.capture(fabric):
        fabric.all_reduce(lists)
    for k in range(12):
        others = [[torch.ones(50 + k, device=d)] * 1 for d in fabric.devices]
        fabric.all_reduce(others, "avg")
    for _ in range(3):
        graph.replay()
    assert all(bool((x == fabric.size**3).all()) for given in lists for x in given)


@pytest.mark.parametrize("spec", SMALL)
def test_a_capture_of_the_callers_streams_keeps_the_table(fabrics: Fabrics, spec: str) -> None:
    fabric = fabrics(spec)
    lists = [[torch.ones(3000, device=d) for _ in range(40)] for d in fabric.devices]
    streams = [torch.cuda.Stream(d) for d in fabric.devices]
    fabric.all_reduce(lists, streams=streams)
    for d in set(fabric.devices):
        torch.cuda.synchronize(d)
    graph = torch.cuda.CUDAGraph()
    with (
        torch.cuda.graph(graph, stream=streams[0], capture_error_mode="relaxed"),
        ExitStack() as on,
    ):
        fork = torch.cuda.Event()
        fork.record(streams[0])
        for stream in streams[1:]:
            stream.wait_event(fork)
        for stream in streams:
            on.enter_context(torch.cuda.stream(stream))
        fabric.all_reduce(lists, "avg", streams=streams)
        for stream in streams[1:]:
            join = torch.cuda.Event()
            join.record(stream)
            streams[0].wait_event(join)
    for k in range(12):  # the fabric forgets the captured bucket, and lends its tables again
        fabric.all_reduce([[torch.ones(60 + k, device=d)] for d in fabric.devices])
    for turn in range(3):
        for r, given in enumerate(lists):
            for x in given:
                x.fill_(turn + 2 * r)
        for d in set(fabric.devices):
            torch.cuda.synchronize(d)
        with torch.cuda.stream(streams[0]):
            graph.replay()
        streams[0].synchronize()
        want = turn + fabric.size - 1
        assert all(bool((x == want).all()) for given in lists for x in given)


@pytest.mark.parametrize("spec", SMALL)
def test_what_torch_has_under_way_comes_first(fabrics: Fabrics, spec: str) -> None:
    fabric = fabrics(spec)
    lists = [[torch.zeros(100_000, device=d) for _ in range(4)] for d in fabric.devices]
    for d in set(fabric.devices):
        torch.cuda.synchronize(d)
    sides = [torch.cuda.Stream(d) for d in sorted(set(fabric.devices))]
    for turn in range(1, 6):
        with ExitStack() as on:
            for side in sides:
                on.enter_context(torch.cuda.stream(side))
                torch.cuda._sleep(2_000_000)
            for given in lists:
                for x in given:
                    x.fill_(turn)
            fabric.all_reduce(lists)
            for given in lists:
                for x in given:
                    x.mul_(2)
        for d in set(fabric.devices):
            torch.cuda.synchronize(d)
        want = 2 * turn * fabric.size
        assert all(bool((x == want).all()) for given in lists for x in given)


@pytest.mark.parametrize("spec", SMALL)
def test_a_fault_in_a_bucket_ends(spec: str) -> None:
    with weft.Fabric(spec, timeout=1.0) as fabric:
        lists = [[torch.ones(5000, device=d) for _ in range(20)] for d in fabric.devices]
        fabric._native.plan_fault(1, 1, "stop")
        with pytest.raises(weft.Error) as caught:
            fabric.all_reduce(lists, async_op=True).wait()
        assert 1 in caught.value.culprits
        fabric._native.plan_fault(-1, -1, "none")
        fabric.recover()
        fabric.all_reduce(lists, "max", async_op=True).wait()


@pytest.mark.gpu2
def test_tensors_that_peers_could_not_reach(fabrics: Fabrics) -> None:
    """Each tensor is mapped memory of its own, which CUDA opens to nobody by itself."""
    fabric = fabrics("cuda:0,1")
    setting = torch._C._accelerator_setAllocatorSettings
    setting("expandable_segments:True")
    try:
        lists = [[torch.ones(4 << 20, device=d) for _ in range(3)] for d in fabric.devices]
        fabric.all_reduce(lists)
        assert all(bool((x == 2).all()) for given in lists for x in given)
    finally:
        setting("expandable_segments:False")

"""Every collective on GPUs, against the simulator, bit for bit; graphs and captures."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

import weft
from gpu.support import DTYPES, FLOAT8, bits, dtypes, random_inputs, torch

Fabrics = Callable[[str], weft.Fabric]

SPECS = [
    pytest.param(s, marks=pytest.mark.gpu1)
    for s in ("cuda:0x1", "cuda:0x2", "cuda:0x3", "cuda:0x5", "cuda:0x8")
] + [pytest.param(s, marks=pytest.mark.gpu2) for s in ("cuda:0,1", "cuda:0x2,1", "cuda:0x4,1x4")]
SMALL = [
    pytest.param("cuda:0x3", marks=pytest.mark.gpu1),
    pytest.param("cuda:0,1", marks=pytest.mark.gpu2),
]
MOVES = ["auto", "ll", "one_shot", "copy_engine"]
LENGTHS = (1, 3, 64, 1001, 70001)


def on(fabric: weft.Fabric, tensors: list[Any]) -> list[Any]:
    return [x.to(d) for d, x in zip(fabric.devices, tensors, strict=True)]


def empty(fabric: weft.Fabric, shape: tuple[int, ...], dtype: Any) -> list[Any]:
    return [torch.full(shape, 7, dtype=dtype, device=d) for d in fabric.devices]


def same(got: Any, want: Any) -> bool:
    return bool(torch.equal(bits(got), bits(want)))


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(
    "dtype", dtypes("bool", "int16", *FLOAT8, "bfloat16", "float32", "float64")
)
def test_reduce_scatter_and_reduce(fabrics: Fabrics, spec: str, dtype: str) -> None:
    fabric = fabrics(spec)
    n = fabric.size
    for rows in LENGTHS:
        inputs = random_inputs(n, n * rows, dtype, "sum")
        tensors = on(fabric, inputs)
        out = empty(fabric, (rows,), DTYPES[dtype])
        with weft.Fabric(f"sim:{n}") as sim:
            parts = [torch.empty(rows, dtype=DTYPES[dtype]) for _ in range(n)]
            sim.reduce_scatter(inputs, parts)
            whole = [torch.empty_like(inputs[0])] * n
            sim.reduce(inputs, n - 1, out=whole)
        fabric.reduce_scatter(tensors, out)
        assert all(same(o, p) for o, p in zip(out, parts, strict=True))
        fabric.reduce(tensors, n - 1)
        assert same(tensors[-1], whole[-1])
        assert all(same(t, x) for t, x in zip(tensors[:-1], inputs[:-1], strict=True))


def scattered(
    fabric: weft.Fabric, rows: int, dtype: str, op: str, algorithm: str, offset: int = 0
) -> None:
    """A reduce_scatter, against the simulator's; inputs and outputs begin `offset` elements in."""
    n = fabric.size
    inputs = random_inputs(n, n * rows, dtype, op)
    tensors = [x[offset:] for x in on(fabric, [torch.cat((x[:offset], x)) for x in inputs])]
    out = [x[offset:] for x in empty(fabric, (rows + offset,), DTYPES[dtype])]
    parts = [torch.empty(rows, dtype=DTYPES[dtype]) for _ in range(n)]
    with weft.Fabric(f"sim:{n}") as sim:
        sim.reduce_scatter(inputs, parts, op, algorithm=algorithm)
    fabric.reduce_scatter(tensors, out, op, algorithm=algorithm)
    assert all(same(o, p) for o, p in zip(out, parts, strict=True))
    assert all(same(t, x) for t, x in zip(tensors, inputs, strict=True)), "an input changed"


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("algorithm", ["one_shot", "ring"])
def test_reduce_scatter_by_pushes(fabrics: Fabrics, spec: str, algorithm: str) -> None:
    fabric = fabrics(spec)
    for rows in (*LENGTHS, 300007):
        scattered(fabric, rows, "float32", "sum", algorithm)
    for offset in (1, 2, 3):
        for dtype in ("uint8", "bfloat16", "float64"):
            scattered(fabric, 2011, dtype, "max", algorithm, offset)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("algorithm", ["one_shot", "ring"])
@pytest.mark.parametrize("dtype", list(DTYPES))
def test_reduce_scatter_by_pushes_of_every_dtype_and_op(
    fabrics: Fabrics, spec: str, dtype: str, algorithm: str
) -> None:
    floats = DTYPES[dtype].is_floating_point
    for op in ("sum", "avg", "min", "max", "prod") if floats else ("sum", "min", "max", "prod"):
        scattered(fabrics(spec), 1011, dtype, op, algorithm)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("dtype", list(DTYPES))
def test_all_gather_by_the_ring(fabrics: Fabrics, spec: str, dtype: str) -> None:
    fabric = fabrics(spec)
    n = fabric.size
    for rows in (*LENGTHS, 300007):
        for offset in (0, 1) if rows == 1001 else (0,):
            inputs = random_inputs(n, rows, dtype, "sum")
            tensors = [x[offset:] for x in on(fabric, [torch.cat((x[:offset], x)) for x in inputs])]
            joined = [x[offset:] for x in empty(fabric, (n * rows + offset,), DTYPES[dtype])]
            fabric.all_gather(tensors, joined, algorithm="ring", max_blocks=5)
            assert all(same(j, torch.cat(inputs)) for j in joined)
            assert all(same(t, x) for t, x in zip(tensors, inputs, strict=True)), "an input changed"


@pytest.mark.parametrize("spec", SPECS)
def test_a_rank_that_is_done_leaves_slots_alone_that_others_have_yet_to_read(
    fabrics: Fabrics, spec: str
) -> None:
    """A ring with a rank that is late, and right behind it pushes into everybody's slots."""
    fabric = fabrics(spec)
    n = fabric.size
    rows = 4096
    for late in range(n):
        for step in range(n):
            tensors = [torch.full((n * rows,), r + 1.0, device=d)
                       for r, d in enumerate(fabric.devices)]  # fmt: skip
            out = empty(fabric, (rows,), torch.float32)
            rooms = [torch.full((rows,), 1000.0, device=d) for d in fabric.devices]
            fabric._native.plan_fault(late, step, "delay", 0.003)
            fabric.reduce_scatter(tensors, out, algorithm="ring")
            fabric._native.plan_fault(-1, -1, "none", 0.0)
            fabric.all_reduce(rooms, algorithm="one_shot")
            assert all(bool((o == n * (n + 1) / 2).all()) for o in out), f"rank {late} at {step}"
            assert all(bool((room == 1000 * n).all()) for room in rooms), f"rank {late} at {step}"


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("algorithm", MOVES)
@pytest.mark.parametrize("dtype", dtypes("uint8", "float8_e4m3fn", "float16", "int64"))
def test_moves(fabrics: Fabrics, spec: str, algorithm: str, dtype: str) -> None:
    fabric = fabrics(spec)
    n = fabric.size
    kind = DTYPES[dtype]
    for rows in LENGTHS[:-1] if algorithm == "ll" else LENGTHS:
        inputs = random_inputs(n, n * rows, dtype, "sum")
        tensors = on(fabric, inputs)
        joined = empty(fabric, (n * n * rows,), kind)
        fabric.all_gather(tensors, joined, algorithm=algorithm)
        whole = torch.cat([bits(x) for x in inputs])
        assert all(same(j, whole) for j in joined)
        swapped = empty(fabric, (n * rows,), kind)
        fabric.all_to_all(tensors, swapped, algorithm=algorithm)
        for j, got in enumerate(swapped):
            assert same(got, torch.cat([bits(x[j * rows : (j + 1) * rows]) for x in inputs]))
        for root in {0, n - 1}:
            copies = empty(fabric, (n * rows,), kind)
            fabric.broadcast(tensors, root, out=copies, algorithm=algorithm)
            assert all(same(c, inputs[root]) for c in copies)
            parts = empty(fabric, (rows,), kind)
            fabric.scatter(tensors, root, out=parts, algorithm=algorithm)
            for j, got in enumerate(parts):
                assert same(got, inputs[root][j * rows : (j + 1) * rows])
            gathered = fabric.gather(tensors, root, algorithm=algorithm)
            assert same(gathered[root], whole)
        moved = fabric.send_recv(tensors, [(r + 1) % n for r in range(n)], algorithm=algorithm)
        assert all(same(moved[(r + 1) % n], inputs[r]) for r in range(n))
        assert all(same(t, x) for t, x in zip(tensors, inputs, strict=True)), "an input changed"


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("algorithm", MOVES)
def test_uneven_splits(fabrics: Fabrics, spec: str, algorithm: str) -> None:
    fabric = fabrics(spec)
    n = fabric.size
    splits = [[(3 * i + 5 * j) % 11 * 101 for j in range(n)] for i in range(n)]
    inputs = [
        random_inputs(1, sum(row), "float32", "sum", seed=i)[0] for i, row in enumerate(splits)
    ]
    got = fabric.all_to_all(on(fabric, inputs), splits=splits, algorithm=algorithm)
    for j in range(n):
        want = [x.split(row)[j] for x, row in zip(inputs, splits, strict=True)]
        assert same(got[j], torch.cat(want))


@pytest.mark.parametrize("spec", SMALL)
@pytest.mark.parametrize(
    "algorithm",
    ["ring", "ll", "lamport", "two_shot", "push_two_shot", "copy_engine", "one_shot",
     "halving_doubling", "hierarchical"],
)  # fmt: skip
def test_a_graph_replays_what_it_recorded(fabrics: Fabrics, spec: str, algorithm: str) -> None:
    fabric = fabrics(spec)
    rooms = [torch.ones(5000, device=d) for d in fabric.devices]
    graph = weft.Graph()
    with graph.capture(fabric):
        for _ in range(3):
            fabric.all_reduce(rooms, "avg", algorithm=algorithm)
            fabric.all_reduce(rooms, "max", algorithm=algorithm)
    assert [o["algorithm"] for o in graph.operations] == [algorithm] * 6
    for round_ in range(5):
        for rank, room in enumerate(rooms):
            with torch.cuda.device(room.device):
                room.fill_(round_ + 2 * rank)
        fabric.all_reduce(rooms)  # eager in between
        for rank, room in enumerate(rooms):
            with torch.cuda.device(room.device):
                room.fill_(round_ + 2 * rank)
        graph.replay()
        want = round_ + fabric.size - 1
        assert all(bool((room == want).all()) for room in rooms)
    timed = graph.replay(timing=True)
    assert timed is not None
    assert 0 < timed < 1e6


@pytest.mark.parametrize("spec", SMALL)
def test_a_capture_of_the_callers_streams(fabrics: Fabrics, spec: str) -> None:
    """One CUDA graph of torch holds torch's work and weft's, on a stream for each rank."""
    fabric = fabrics(spec)
    rooms = [torch.ones(3000, device=d) for d in fabric.devices]
    streams = [torch.cuda.Stream(d) for d in fabric.devices]
    fabric.all_reduce(rooms, streams=streams)
    for d in set(fabric.devices):
        torch.cuda.synchronize(d)
    graph = torch.cuda.CUDAGraph()
    with (
        torch.cuda.graph(graph, stream=streams[0], capture_error_mode="relaxed"),
        ExitStack() as on,
    ):
        fork = torch.cuda.Event()
        fork.record(streams[0])
        for rank, (room, stream) in enumerate(zip(rooms, streams, strict=True)):
            if rank > 0:
                stream.wait_event(fork)
            on.enter_context(torch.cuda.stream(stream))
            room.fill_(rank + 1)
        fabric.all_reduce(rooms, streams=streams)
        with pytest.raises(weft.InvalidArgument, match="captures of single streams"):
            fabric.all_reduce(rooms, streams=streams, algorithm="copy_engine")
        for room, stream in zip(rooms, streams, strict=True):
            with torch.cuda.stream(stream):
                room.mul_(2)
        for stream in streams[1:]:
            join = torch.cuda.Event()
            join.record(stream)
            streams[0].wait_event(join)
    for _ in range(4):
        for room in rooms:
            room.zero_()
        for d in set(fabric.devices):
            torch.cuda.synchronize(d)
        with torch.cuda.stream(streams[0]):
            graph.replay()
        streams[0].synchronize()
        want = fabric.size * (fabric.size + 1)
        assert all(bool((room == want).all()) for room in rooms)


@pytest.mark.parametrize("spec", SMALL)
def test_staged_tensors_are_refused_in_a_capture(fabrics: Fabrics, spec: str) -> None:
    fabric = fabrics(spec)
    rooms = [torch.ones((4, 4), device=d).t()[::2] for d in fabric.devices]
    graph = weft.Graph()
    with pytest.raises(weft.InvalidArgument, match="contiguous"), graph.capture(fabric):
        fabric.all_reduce(rooms)
    fabric.all_reduce(rooms)
    assert all(bool((room == fabric.size).all()) for room in rooms)


@pytest.mark.parametrize("spec", SMALL)
def test_copy_between_ranks(fabrics: Fabrics, spec: str) -> None:
    fabric = fabrics(spec)
    source = torch.arange(1000.0, device=fabric.devices[0])
    target = torch.zeros(1000, device=fabric.devices[-1])
    fabric.copy(source, target)
    assert same(source, target)


@pytest.mark.parametrize("spec", SMALL)
def test_copies_follow_what_the_default_stream_has(fabrics: Fabrics, spec: str) -> None:
    """Of the source, read too early, and of the target, written too early."""
    fabric = fabrics(spec)
    first, last = fabric.devices[0], fabric.devices[-1]
    source = torch.zeros(1 << 20, device=first)
    target = torch.zeros(1 << 20, device=last)
    torch.cuda.synchronize()
    with torch.cuda.device(first):
        torch.cuda._sleep(200_000_000)  # cycles: a tenth of a second
        source.fill_(3)
    fabric.copy(source, target)
    assert bool((target == 3).all())
    with torch.cuda.device(last):
        torch.cuda._sleep(200_000_000)
        target.fill_(5)
    fabric.copy(source, target)
    assert bool((target == 3).all())
    with torch.cuda.device(first):
        torch.cuda._sleep(200_000_000)
        source.fill_(7)
    assert bool((weft.from_dlpack(source).numpy() == 7).all())


UNREACHABLE = """
import torch, weft
with weft.Fabric("cuda:0,1") as fabric:
    rooms = [torch.full((1000,), r + 1.0, device=d) for r, d in enumerate(fabric.devices)]
    fabric.copy(rooms[0], rooms[1])
    assert bool((rooms[1] == 1).all())
    for elements in (1000, 1 << 20, 40 << 20):
        for algorithm in ("two_shot", "ring", "push_two_shot", "copy_engine", "auto"):
            rooms = [torch.full((elements,), r + 1, dtype=torch.int32, device=d)
                     for r, d in enumerate(fabric.devices)]
            fabric.all_reduce(rooms, algorithm=algorithm)
            assert all(bool((room == 3).all()) for room in rooms), algorithm
            joined = fabric.all_gather(rooms)
            assert all(bool((j == 3).all()) for j in joined), algorithm
print("done")
"""


@pytest.mark.gpu2
@pytest.mark.parametrize("allocator", ["backend:cudaMallocAsync", "expandable_segments:True"])
def test_memory_that_is_not_mapped_for_peers_is_opened_to_them(allocator: str) -> None:
    """Memory of CUDA's pools, and mapped memory: peer access does not cover them."""
    child = subprocess.run(
        [sys.executable, "-c", UNREACHABLE],
        env=os.environ | {"PYTORCH_CUDA_ALLOC_CONF": allocator},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert child.stdout.strip() == "done", child.stderr

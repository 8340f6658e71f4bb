"""All-reduce on GPUs, bit for bit what the simulator computes with the same schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import weft
from gpu.support import DTYPES, FLOAT8, bits, dtypes, random_inputs, torch

Fabrics = Callable[[str], weft.Fabric]

ONE_GPU = ["cuda:0x1", "cuda:0x2", "cuda:0x3", "cuda:0x4", "cuda:0x5", "cuda:0x8"]
TWO_GPUS = ["cuda:0,1", "cuda:0x2,1", "cuda:0x2,1x2", "cuda:0x3,1x2", "cuda:0x4,1x4"]
SPECS = [pytest.param(s, marks=pytest.mark.gpu1) for s in ONE_GPU] + [
    pytest.param(s, marks=pytest.mark.gpu2) for s in TWO_GPUS
]
SMALL = [
    pytest.param("cuda:0x3", marks=pytest.mark.gpu1),
    pytest.param("cuda:0,1", marks=pytest.mark.gpu2),
]


# Those that add in rank order agree bit for bit; each is compared with its own schedule, simulated.
OWN_ORDER = ["ring", "halving_doubling", "hierarchical"]
ALGORITHMS = ["auto", "ll", "lamport", "one_shot", "one_shot_pull", "two_shot", "push_two_shot",
              "copy_engine", *OWN_ORDER]  # fmt: skip
LL_BYTES = 32 << 10  # that fit its lines with 16 ranks


def simulated(
    inputs: list[Any], op: str, algorithm: str = "ring", group_size: int | None = None
) -> Any:
    """What the simulator makes of the same inputs."""
    copies = [x.clone() for x in inputs]
    if len(inputs) == 1:
        return copies[0]
    if algorithm not in OWN_ORDER:
        algorithm = "two_shot"
    with weft.Fabric(f"sim:{len(inputs)}") as fabric:
        fabric.all_reduce(copies, op, algorithm=algorithm, group_size=group_size)
    return copies[0]


def in_groups(ranks: int) -> int:
    """Ranks a group: two groups, if there can be; else one."""
    return ranks // 2 if ranks % 2 == 0 else ranks


def place(fabric: weft.Fabric, inputs: list[Any], offset: int = 0) -> list[Any]:
    """The inputs on the ranks' devices, `offset` elements into an allocation."""
    placed = []
    for device, x in zip(fabric.devices, inputs, strict=True):
        room = torch.empty(x.numel() + offset, dtype=x.dtype, device=device)
        room[offset:] = x.to(device)
        placed.append(room[offset:])
    return placed


def check(
    fabric: weft.Fabric,
    elements: int,
    dtype: str = "float32",
    op: str = "sum",
    *,
    in_place: bool = True,
    offset: int = 0,
    max_blocks: int | None = None,
    algorithm: str = "ring",
    group_size: int | None = None,
) -> None:
    if algorithm == "hierarchical" and group_size is None:
        group_size = in_groups(fabric.size)
    inputs = random_inputs(fabric.size, elements, dtype, op)
    tensors = place(fabric, inputs, offset)
    out = tensors if in_place else place(fabric, [torch.zeros_like(x) for x in inputs], offset)
    results = None if in_place else out
    fabric.all_reduce(
        tensors, op, out=results, max_blocks=max_blocks, algorithm=algorithm, group_size=group_size
    )
    expected = bits(simulated(inputs, op, algorithm, group_size))
    for rank, result in enumerate(out):
        assert torch.equal(bits(result), expected), f"rank {rank}"
    if not in_place:
        for x, kept in zip(inputs, tensors, strict=True):
            assert torch.equal(bits(kept), bits(x)), "an input was changed"


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("elements", [1, 2, 3, 5, 31, 33, 127, 1000, 4099, 65537, 1000003])
def test_lengths(fabrics: Fabrics, spec: str, elements: int, in_place: bool) -> None:
    check(fabrics(spec), elements, in_place=in_place)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("op", ["sum", "avg", "min", "max", "prod"])
@pytest.mark.parametrize("dtype", dtypes(*DTYPES))
def test_dtypes_and_ops(fabrics: Fabrics, spec: str, dtype: str, op: str) -> None:
    if op == "avg" and not DTYPES[dtype].is_floating_point:
        tensors = place(fabrics(spec), random_inputs(fabrics(spec).size, 8, dtype, op))
        with pytest.raises(weft.DTypeMismatch):
            fabrics(spec).all_reduce(tensors, op)
        return
    check(fabrics(spec), 20011, dtype, op)


def serves(algorithm: str, dtype: str, in_place: bool) -> bool:
    if algorithm == "lamport":
        return DTYPES[dtype].is_floating_point and dtype not in FLOAT8
    return algorithm != "one_shot_pull" or not in_place


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("algorithm", [a for a in ALGORITHMS if a not in ("ring", "auto")])
def test_lengths_under_every_algorithm(
    fabrics: Fabrics, spec: str, algorithm: str, in_place: bool
) -> None:
    if fabrics(spec).size > 1 and not serves(algorithm, "float32", in_place):
        tensors = place(fabrics(spec), random_inputs(fabrics(spec).size, 8, "float32", "sum"))
        with pytest.raises(weft.InvalidArgument, match="out="):
            fabrics(spec).all_reduce(tensors, algorithm=algorithm)
        return
    for elements in (1, 2, 3, 5, 31, 33, 127, 1000, 4099, 8001):
        check(fabrics(spec), elements, in_place=in_place, algorithm=algorithm)
    if algorithm != "ll":
        check(fabrics(spec), 300007, "bfloat16", in_place=in_place, algorithm=algorithm)
        check(fabrics(spec), 1000003, in_place=in_place, algorithm=algorithm)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", dtypes(*DTYPES))
def test_dtypes_and_ops_under_every_algorithm(
    fabrics: Fabrics, spec: str, dtype: str, algorithm: str
) -> None:
    if algorithm != "auto" and not serves(algorithm, dtype, in_place=False):
        return
    floats = DTYPES[dtype].is_floating_point
    for op in ("sum", "avg", "min", "max", "prod") if floats else ("sum", "min", "max", "prod"):
        check(fabrics(spec), 1011, dtype, op, in_place=False, algorithm=algorithm)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(
    "algorithm",
    ["ll", "lamport", "one_shot", "one_shot_pull", "two_shot", "copy_engine", "halving_doubling",
     "hierarchical"],
)  # fmt: skip
def test_any_alignment_under_every_algorithm(fabrics: Fabrics, spec: str, algorithm: str) -> None:
    for offset in (1, 2, 3):
        for dtype in ("bfloat16", "float32", "float64"):
            check(fabrics(spec), 2011, dtype, offset=offset, in_place=False, algorithm=algorithm)


@pytest.mark.parametrize("spec", SMALL)
@pytest.mark.parametrize("algorithm", ["ll", "lamport", "two_shot", "ring", "halving_doubling"])
def test_every_bfloat16_pattern_as_payload(fabrics: Fabrics, spec: str, algorithm: str) -> None:
    """max against minus infinity gives every pattern back; of a NaN, a NaN."""
    fabric = fabrics(spec)
    patterns = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    for part in patterns.split(1 << 14):
        lowest = torch.full_like(part, float("-inf"))
        tensors = place(fabric, [part] + [lowest] * (fabric.size - 1))
        fabric.all_reduce(tensors, "max", algorithm=algorithm)
        for result in tensors:
            got = result.cpu()
            nan = part.isnan()
            assert torch.equal(got.isnan(), nan)
            assert torch.equal(got.view(torch.int16)[~nan], part.view(torch.int16)[~nan])


@pytest.mark.parametrize("spec", SMALL)
@pytest.mark.parametrize("algorithm", ["ll", "two_shot", "push_two_shot", "ring", "copy_engine"])
@pytest.mark.parametrize("dtype", dtypes(*FLOAT8))
def test_every_pair_of_floats_of_8_bits(
    fabrics: Fabrics, spec: str, algorithm: str, dtype: str
) -> None:
    """The hardware's conversions have the bits of the portable ones: of NaNs too, and at ties."""
    fabric = fabrics(spec)
    patterns = torch.arange(256, dtype=torch.int16).to(torch.uint8)
    first, second = patterns.repeat_interleave(256), patterns.repeat(256)
    others = [second.roll(77 * r) for r in range(fabric.size - 1)]
    for op in ("sum", "avg", "min", "max", "prod"):
        for begin in range(0, 1 << 16, 1 << 14):
            part = slice(begin, begin + (1 << 14))
            inputs = [x[part].clone().view(DTYPES[dtype]) for x in (first, *others)]
            tensors = place(fabric, inputs)
            fabric.all_reduce(tensors, op, algorithm=algorithm)
            expected = bits(simulated(inputs, op, algorithm))
            for rank, result in enumerate(tensors):
                assert torch.equal(bits(result), expected), f"{op}, rank {rank}"


@pytest.mark.parametrize("spec", SMALL)
@pytest.mark.parametrize("dtype", dtypes(*FLOAT8))
def test_lamport_refuses_floats_of_8_bits_and_auto_does_without(
    fabrics: Fabrics, spec: str, dtype: str
) -> None:
    fabric = fabrics(spec)
    inputs = random_inputs(fabric.size, 1000, dtype, "sum")
    tensors = place(fabric, inputs)
    with pytest.raises(weft.InvalidArgument, match=f"not for {dtype}"):
        fabric.all_reduce(tensors, algorithm="lamport")
    work = fabric.all_reduce(tensors, async_op=True)
    work.wait()
    assert work.info["algorithm"] == "ll"
    assert torch.equal(bits(tensors[0]), bits(simulated(inputs, "sum", "ll")))


@pytest.mark.parametrize("spec", SMALL)
def test_algorithms_follow_each_other_in_any_order(fabrics: Fabrics, spec: str) -> None:
    """Sizes, dtypes and algorithms change from call to call; nothing waits in between."""
    fabric = fabrics(spec)
    names = ["ll", "lamport", "two_shot", "push_two_shot", "ring", "copy_engine", "one_shot",
             "halving_doubling", "hierarchical"]  # fmt: skip
    kept = []
    for i in range(600):
        elements = [1, 255, 4096, 7001, 33, 8000][(i * 7 + i // 6) % 6]
        rooms = [
            torch.full((elements,), (r + 1) * (i % 13 + 1), device=d, dtype=torch.float32)
            for r, d in enumerate(fabric.devices)
        ]
        fabric.all_reduce(rooms, algorithm=names[(i * 5 + i // 11) % len(names)])
        kept.append((sum(range(1, fabric.size + 1)) * (i % 13 + 1), rooms))
    for want, rooms in kept:
        for room in rooms:
            assert bool((room == want).all())


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("offset", [1, 2, 3])
@pytest.mark.parametrize("dtype", dtypes("uint8", "float8_e5m2", "bfloat16", "float32", "float64"))
def test_vectors_that_bulk_copies_cannot_take(
    fabrics: Fabrics, spec: str, dtype: str, offset: int
) -> None:
    check(fabrics(spec), 20011, dtype, offset=offset, in_place=offset != 2)


@pytest.mark.parametrize("spec", SMALL)
@pytest.mark.parametrize("max_blocks", [1, 2, 7, 64])
@pytest.mark.parametrize("algorithm", ["one_shot", *OWN_ORDER])
def test_any_number_of_blocks_gives_the_same_bits(
    fabrics: Fabrics, spec: str, algorithm: str, max_blocks: int
) -> None:
    check(fabrics(spec), 3000001, max_blocks=max_blocks, algorithm=algorithm)


@pytest.mark.parametrize("spec", SPECS)
def test_groups_of_every_size(fabrics: Fabrics, spec: str) -> None:
    fabric = fabrics(spec)
    for size in range(1, fabric.size + 1):
        if fabric.size % size == 0:
            for op in ("sum", "avg"):
                check(fabric, 70001, "bfloat16", op, algorithm="hierarchical", group_size=size)


@pytest.mark.parametrize("spec", SMALL)
@pytest.mark.parametrize("algorithm", ["one_shot", "halving_doubling", "hierarchical"])
def test_max_blocks_is_honoured_by_the_step_kernel(
    fabrics: Fabrics, spec: str, algorithm: str
) -> None:
    fabric = fabrics(spec)
    tensors = place(fabric, random_inputs(fabric.size, 1 << 20, "float32", "sum"))
    work = fabric.all_reduce(tensors, algorithm=algorithm, max_blocks=3, async_op=True)
    work.wait()
    assert work.info["blocks"] == 3


@pytest.mark.gpu1
def test_little_scratch_is_enough_or_refused_with_what_it_takes() -> None:
    with weft.Fabric("cuda:0x4", scratch=1 << 16) as fabric:
        for algorithm in ("halving_doubling", "hierarchical"):
            check(fabric, 300007, algorithm=algorithm)
        tensors = place(fabric, random_inputs(4, 8, "float32", "sum"))
        with pytest.raises(weft.InvalidArgument, match="needs 98304 bytes of scratch a rank"):
            fabric.all_reduce(tensors, algorithm="one_shot")


@pytest.mark.parametrize("spec", SMALL)
def test_nan_wins_min_and_max(fabrics: Fabrics, spec: str) -> None:
    fabric = fabrics(spec)
    for op in ("min", "max"):
        inputs = random_inputs(fabric.size, 1001, "float32", op)
        inputs[1][::7] = float("nan")
        inputs[0][3::7] = float("nan")
        tensors = place(fabric, inputs)
        fabric.all_reduce(tensors, op)
        expected = torch.stack(inputs).isnan().any(0)
        for result in tensors:
            assert torch.equal(result.cpu().isnan(), expected)


@pytest.mark.parametrize("spec", SMALL)
def test_sums_keep_the_promised_bound(fabrics: Fabrics, spec: str) -> None:
    fabric = fabrics(spec)
    inputs = random_inputs(fabric.size, 100003, "float32", "sum")
    tensors = place(fabric, inputs)
    fabric.all_reduce(tensors)
    exact = torch.stack(inputs).double()
    bound = (fabric.size + 1) * 2.0**-24 * exact.abs().sum(0)
    assert bool(((tensors[0].cpu().double() - exact.sum(0)).abs() <= bound).all())


@pytest.mark.parametrize("spec", SMALL)
def test_many_operations_in_a_row(fabrics: Fabrics, spec: str) -> None:
    """Counts run on from operation to operation, whatever the sizes."""
    fabric = fabrics(spec)
    for elements in [1, 300007, 17, 65536, 4, 1000003, 128] * 8:
        tensors = [torch.full((elements,), r + 1, device=d) for r, d in enumerate(fabric.devices)]
        for _ in range(3):
            fabric.all_reduce(tensors, "max")
        assert all(bool((x == fabric.size).all()) for x in tensors)


@pytest.mark.parametrize("spec", SMALL)
def test_the_event_says_what_ran(fabrics: Fabrics, spec: str) -> None:
    fabric = fabrics(spec)
    tensors = place(fabric, random_inputs(fabric.size, 4096, "float32", "sum"))
    work = fabric.all_reduce(tensors, algorithm="ring", async_op=True)
    work.wait()
    assert work.info["algorithm"] == "ring"
    assert work.info["path"] == "zero_copy"


@pytest.mark.parametrize("spec", SMALL)
def test_views_that_are_not_contiguous_are_staged(fabrics: Fabrics, spec: str) -> None:
    fabric = fabrics(spec)
    inputs = [x.reshape(60, 70) for x in random_inputs(fabric.size, 4200, "float32", "sum")]
    rooms = [x.to(d).repeat(1, 2) for d, x in zip(fabric.devices, inputs, strict=True)]
    tensors = [room[:, ::2].t() for room in rooms]
    for device in set(fabric.devices):
        torch.cuda.synchronize(device)
    work = fabric.all_reduce(tensors, algorithm="ring", async_op=True)
    work.wait()
    assert work.info["path"] == "staged"
    both = [x.repeat(1, 2) for x in inputs]
    expected = simulated([x[:, ::2].t().contiguous() for x in both], "sum", "ring")
    for room, before, result in zip(rooms, both, tensors, strict=True):
        assert torch.equal(bits(result), bits(expected))
        assert torch.equal(bits(room[:, 1::2]), bits(before[:, 1::2])), "beside the view"


@pytest.mark.parametrize("spec", SMALL)
def test_user_streams_order_the_operation(fabrics: Fabrics, spec: str) -> None:
    """It follows what is on the streams, and what comes later on them follows it; no host sync."""
    fabric = fabrics(spec)
    streams = [torch.cuda.Stream(device) for device in fabric.devices]
    rooms = [torch.zeros(1 << 20, device=device) for device in fabric.devices]
    for device in set(fabric.devices):
        torch.cuda.synchronize(device)
    results = []
    for round_ in range(20):
        for rank, (stream, room) in enumerate(zip(streams, rooms, strict=True)):
            with torch.cuda.stream(stream):
                torch.cuda._sleep(200_000 * (rank + 1))
                room.fill_(rank + round_)
        fabric.all_reduce(rooms, "max", streams=streams)
        for stream, room in zip(streams, rooms, strict=True):
            with torch.cuda.stream(stream):
                results.append((fabric.size - 1 + round_, room.clone()))
    for device in set(fabric.devices):
        torch.cuda.synchronize(device)
    assert all(bool((result == want).all()) for want, result in results)


@pytest.mark.parametrize("spec", SMALL)
def test_the_default_stream_orders_torch_and_weft(fabrics: Fabrics, spec: str) -> None:
    fabric = fabrics(spec)
    rooms = [torch.zeros(3 << 20, device=device) for device in fabric.devices]
    for round_ in range(20):
        for rank, room in enumerate(rooms):
            with torch.cuda.device(room.device):
                torch.cuda._sleep(100_000)
                room.fill_(rank + round_)
        fabric.all_reduce(rooms, "max")
        assert all(bool((room == fabric.size - 1 + round_).all()) for room in rooms)


@pytest.mark.parametrize("spec", SMALL)
def test_staged_vectors_follow_the_stream_too(fabrics: Fabrics, spec: str) -> None:
    fabric = fabrics(spec)
    rooms = [torch.zeros((2048, 512), device=device) for device in fabric.devices]
    for round_ in range(5):
        for rank, room in enumerate(rooms):
            with torch.cuda.device(room.device):
                torch.cuda._sleep(1_000_000)
                room.fill_(rank + round_)
        fabric.all_reduce([room.t() for room in rooms], "max")
        assert all(bool((room == fabric.size - 1 + round_).all()) for room in rooms)


@pytest.mark.gpu1
def test_one_stream_for_two_ranks_under_capture_is_refused(fabrics: Fabrics) -> None:
    fabric = fabrics("cuda:0x2")
    rooms = [torch.ones(1000, device="cuda:0") for _ in range(2)]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        _ = rooms[0] + 1
        streams = [torch.cuda.current_stream()] * 2
        with pytest.raises(weft.InvalidArgument, match="captured on one stream"):
            fabric.all_reduce(rooms, streams=streams)
    fabric.all_reduce(rooms)
    assert rooms[0].tolist() == [2.0] * 1000


@pytest.mark.gpu1
def test_host_memory_is_refused_on_cuda(fabrics: Fabrics) -> None:
    import numpy as np

    with pytest.raises(weft.DeviceMismatch, match="rank 0"):
        fabrics("cuda:0x2").all_reduce([np.ones(3), np.ones(3)])


@pytest.mark.gpu2
def test_a_tensor_on_another_ranks_device_is_refused(fabrics: Fabrics) -> None:
    tensors = [torch.ones(3, device="cuda:1"), torch.ones(3, device="cuda:0")]
    with pytest.raises(weft.DeviceMismatch, match="rank 0"):
        fabrics("cuda:0,1").all_reduce(tensors)

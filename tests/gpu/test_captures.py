"""Graphs among other operations: callers' captures, long graphs, faults in them."""

from __future__ import annotations

import time
from typing import Any

import pytest

import weft
from gpu.support import captured, synchronize, torch

SPECS = ["cuda:0x2", pytest.param("cuda:0,1", marks=pytest.mark.gpu2)]
pytestmark = pytest.mark.gpu1
SLEEP = 100_000_000  # cycles: a twentieth of a second


def rooms_on(fabric: weft.Fabric, elements: int) -> list[Any]:
    return [torch.ones(elements, device=d) for d in fabric.devices]


def streams_on(fabric: weft.Fabric) -> list[Any]:
    return [torch.cuda.Stream(d) for d in fabric.devices]


@pytest.mark.parametrize("algorithm", ["ll", "two_shot", "push_two_shot"])
@pytest.mark.parametrize("spec", SPECS)
def test_replays_and_eager_operations_keep_their_order(spec: str, algorithm: str) -> None:
    """Nothing waits between them but what weft puts there; a swap would give wrong sums."""
    with weft.Fabric(spec) as fabric:
        n = fabric.size
        rooms, others = rooms_on(fabric, 3000), rooms_on(fabric, 3000)
        wrong = [torch.zeros(2, dtype=torch.int64, device=d) for d in fabric.devices]
        streams, eager = streams_on(fabric), streams_on(fabric)
        seen: set[int] = set()

        def work(rank: int | None, stream: Any) -> None:
            if rank is None:
                fabric.all_reduce(rooms, algorithm=algorithm, streams=streams)
            elif rank not in seen:
                seen.add(rank)
                rooms[rank].fill_(rank + 1)
                if rank == n - 1:  # the others are at their operation long before
                    torch.cuda._sleep(1_000_000)
            else:
                wrong[rank][0] += (rooms[rank] != n * (n + 1) // 2).sum()

        fabric.all_reduce(rooms, algorithm=algorithm, streams=streams)
        synchronize(fabric)
        graph = captured(streams, work)
        for turn in range(200):
            with torch.cuda.stream(streams[0]):
                graph.replay()
            for _ in range(turn % 3):
                for rank, stream in enumerate(eager):
                    with torch.cuda.stream(stream):
                        others[rank].fill_(10 + rank + turn)
                fabric.all_reduce(others, algorithm=algorithm, streams=eager)
                want = n * (10 + turn) + n * (n - 1) // 2
                for rank, stream in enumerate(eager):
                    with torch.cuda.stream(stream):
                        wrong[rank][1] += (others[rank] != want).sum()
        synchronize(fabric)
        assert [w.tolist() for w in wrong] == [[0, 0]] * n


@pytest.mark.parametrize("spec", SPECS)
def test_operations_of_one_capture_follow_each_other(spec: str) -> None:
    """On streams of each rank that nothing else orders."""
    with weft.Fabric(spec) as fabric:
        n = fabric.size
        first, second = rooms_on(fabric, 5000), rooms_on(fabric, 5000)
        streams, side = streams_on(fabric), streams_on(fabric)
        seen: set[int] = set()

        def work(rank: int | None, stream: Any) -> None:
            if rank is None:
                for turn in range(4):
                    rooms, on = ((first, streams), (second, side))[turn % 2]
                    fabric.all_reduce(rooms, algorithm="two_shot", streams=on)
            elif rank not in seen:
                seen.add(rank)
                side[rank].wait_stream(stream)
                first[rank].fill_(1)
                second[rank].copy_(first[rank])
                side[rank].wait_stream(stream)
            else:
                stream.wait_stream(side[rank])

        fabric.all_reduce(first, algorithm="two_shot", streams=streams)
        synchronize(fabric)
        graph = captured(streams, work)
        for _ in range(20):
            with torch.cuda.stream(streams[0]):
                graph.replay()
            synchronize(fabric)
            for rooms in (first, second):
                assert all(bool((room == n * n).all()) for room in rooms)


@pytest.mark.parametrize("spec", SPECS)
def test_a_global_capture_is_left_alone_by_operations_under_way(spec: str) -> None:
    with weft.Fabric(spec) as fabric:
        rooms = [weft.ones(1000, device=d) for d in fabric.devices]
        side = streams_on(fabric)
        # Torch gives out a few streams in turn: those made in a row are no two the same.
        capturing = torch.cuda.Stream(fabric.devices[0])
        fabric.all_reduce(rooms, streams=side)
        x = torch.zeros(10, device=fabric.devices[0])
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=capturing, capture_error_mode="global"):
            x.add_(1)
            for stream in side:
                with torch.cuda.stream(stream):
                    torch.cuda._sleep(4 * SLEEP)
            work = fabric.all_reduce(rooms, streams=side, async_op=True)
            time.sleep(0.1)  # the watchdog looks at the operation meanwhile
            assert not work.done()
            x.add_(1)
        graph.replay()
        work.wait()
        synchronize(fabric)
        assert x.tolist() == [2.0] * 10
        assert all(room.tolist() == [fabric.size**2] * 1000 for room in rooms)


@pytest.mark.parametrize("spec", SPECS)
def test_a_fault_in_a_captured_operation_is_told_by_the_next_call(spec: str) -> None:
    with weft.Fabric(spec, timeout=1.0) as fabric:
        rooms = rooms_on(fabric, 3000)
        streams = streams_on(fabric)
        fabric.all_reduce(rooms, streams=streams)
        synchronize(fabric)
        fabric._native.plan_fault(1, 0, "stop")

        def work(rank: int | None, stream: Any) -> None:
            if rank is None:
                fabric.all_reduce(rooms, algorithm="two_shot", streams=streams)

        graph = captured(streams, work)
        fabric._native.plan_fault(-1, -1, "none")
        for turn in range(2):
            with torch.cuda.stream(streams[0]):
                graph.replay()
            synchronize(fabric)
            if turn == 0:
                with pytest.raises(weft.FabricPoisoned, match="rank 1") as caught:
                    fabric.all_reduce(rooms, streams=streams)
                assert list(caught.value.culprits) == [1]
            fabric.recover()
            for room in rooms:
                room.fill_(1)
            synchronize(fabric)
            fabric.all_reduce(rooms, streams=streams)
            synchronize(fabric)
            assert all(bool((room == fabric.size).all()) for room in rooms)


@pytest.mark.parametrize("algorithm", ["two_shot", "push_two_shot", "ring"])
@pytest.mark.parametrize("spec", SPECS)
def test_a_rank_that_left_touches_nobody_in_the_next_operation(spec: str, algorithm: str) -> None:
    """It is launched, and must not take what its peers sent before for the next one's signals."""
    with weft.Fabric(spec, timeout=0.5) as fabric:
        rooms, others = rooms_on(fabric, 100_000), rooms_on(fabric, 100_000)
        streams = streams_on(fabric)
        fabric.all_reduce(rooms, algorithm=algorithm, streams=streams)
        with torch.cuda.stream(streams[1]):  # loads the kernels, which waits for what runs
            torch.cuda._sleep(1)
            others[1].clone()
        synchronize(fabric)
        fabric._native.plan_fault(0, 1, "stop")
        work = fabric.all_reduce(rooms, algorithm=algorithm, streams=streams, async_op=True)
        fabric._native.plan_fault(-1, -1, "none")
        with torch.cuda.stream(streams[1]):
            torch.cuda._sleep(SLEEP)
            seen = others[1].clone()
        later = fabric.all_reduce(others, algorithm=algorithm, streams=streams, async_op=True)
        for launched in (work, later):
            with pytest.raises(weft.CollectiveTimeout):
                launched.wait()
        synchronize(fabric)
        assert bool((seen == 1).all())
        fabric.recover()
        for room in others:
            room.fill_(1)
        synchronize(fabric)
        fabric.all_reduce(others, algorithm=algorithm)
        synchronize(fabric)
        assert all(bool((room == fabric.size).all()) for room in others)


@pytest.mark.parametrize("spec", SPECS)
def test_the_per_thread_default_stream_is_refused(spec: str) -> None:
    with weft.Fabric(spec) as fabric:
        rooms = rooms_on(fabric, 10)
        with pytest.raises(weft.InvalidArgument, match="per-thread") as caught:
            fabric.all_reduce(rooms, streams=[0, 2])
        assert caught.value.rank == 1
        assert all(bool((room == 1).all()) for room in rooms)


def test_ranks_of_one_device_run_any_mixture_in_one_graph() -> None:
    with weft.Fabric("cuda:0x8") as fabric:
        rooms = rooms_on(fabric, 15_000)
        graph = weft.Graph()
        with graph.capture(fabric):
            for algorithm in ("copy_engine", "ll", "ring", "copy_engine", "two_shot"):
                fabric.all_reduce(rooms, "avg", algorithm=algorithm)
        for _ in range(10):
            for rank, room in enumerate(rooms):
                room.fill_(rank)
            torch.cuda.synchronize()
            graph.replay()
            torch.cuda.synchronize()
            assert all(bool((room == 3.5).all()) for room in rooms)


@pytest.mark.parametrize("spec", SPECS)
def test_a_long_graph(spec: str) -> None:
    with weft.Fabric(spec) as fabric:
        rooms = rooms_on(fabric, 256)
        graph = weft.Graph()
        with graph.capture(fabric):
            for _ in range(20_000):
                fabric.all_reduce(rooms, "max")
        for turn in range(3):
            for rank, room in enumerate(rooms):
                room.fill_(rank + turn)
            graph.replay()
            synchronize(fabric)
            assert all(bool((room == turn + fabric.size - 1).all()) for room in rooms)


@pytest.mark.parametrize("spec", SPECS)
def test_the_first_capture_follows_operations_under_way(spec: str) -> None:
    """A replay that did not wait would run while the operation before is still behind the sleep."""
    with weft.Fabric(spec, timeout=5.0) as fabric:
        n = fabric.size
        eager, streams = streams_on(fabric), streams_on(fabric)
        # Not torch's: those would make the streams that use them wait for the captured ones.
        others = [weft.ones(5000, device=d) for d in fabric.devices]
        rooms = rooms_on(fabric, 5000)
        synchronize(fabric)

        def work(rank: int | None, stream: Any) -> None:
            if rank is not None:
                return
            # Not captured, and not before: torch waits for the device when it begins a capture.
            for late in eager:
                with torch.cuda.stream(late):
                    torch.cuda._sleep(20 * SLEEP)
            fabric.all_reduce(others, algorithm="two_shot", streams=eager)
            fabric.all_reduce(rooms, algorithm="two_shot", streams=streams)

        graph = captured(streams, work)
        after = torch.cuda.Event()
        with torch.cuda.stream(streams[0]):
            graph.replay()
            after.record()
        before = [torch.cuda.Event() for _ in eager]
        for event, stream in zip(before, eager, strict=True):
            event.record(stream)
        ended = time.monotonic() + 4.0
        while not after.query() and time.monotonic() < ended:
            time.sleep(0.001)
        # Where the graph has run, the operation before it has.
        assert after.query()
        assert all(event.query() for event in before)
        synchronize(fabric)
        assert all(other.tolist() == [n] * 5000 for other in others)
        assert all(bool((room == n).all()) for room in rooms)


@pytest.mark.parametrize("how", ["recover", "close"])
@pytest.mark.parametrize("spec", SPECS)
def test_recover_and_close_wait_for_replays(spec: str, how: str) -> None:
    with weft.Fabric(spec, timeout=5.0) as fabric:
        rooms, streams = rooms_on(fabric, 5000), streams_on(fabric)
        fabric.all_reduce(rooms, streams=streams)
        synchronize(fabric)

        def work(rank: int | None, stream: Any) -> None:
            if rank is None:
                fabric.all_reduce(rooms, algorithm="two_shot", streams=streams)

        graph = captured(streams, work)
        after = torch.cuda.Event()
        with torch.cuda.stream(streams[0]):
            torch.cuda._sleep(4 * SLEEP)
            graph.replay()
            after.record()
        if how == "close":
            fabric.close()
        else:
            fabric.abort()
            fabric.recover()
        # Only what comes behind the last kernel may be left.
        ended = time.monotonic() + 0.05
        while not after.query() and time.monotonic() < ended:
            pass
        assert after.query()
        synchronize(fabric)
        if how == "recover":
            for room in rooms:
                room.fill_(1)
            synchronize(fabric)
            fabric.all_reduce(rooms, streams=streams)
            synchronize(fabric)
            assert all(bool((room == fabric.size).all()) for room in rooms)


@pytest.mark.parametrize("spec", SPECS)
def test_a_loop_that_only_replays_hears_of_a_fault(spec: str, capfd: Any) -> None:
    with weft.Fabric(spec, timeout=0.5) as fabric:
        rooms, streams = rooms_on(fabric, 3000), streams_on(fabric)
        fabric.all_reduce(rooms, streams=streams)
        synchronize(fabric)
        fabric._native.plan_fault(1, 0, "stop")

        def work(rank: int | None, stream: Any) -> None:
            if rank is None:
                fabric.all_reduce(rooms, algorithm="two_shot", streams=streams)

        graph = captured(streams, work)
        fabric._native.plan_fault(-1, -1, "none")
        fabric.check()
        with torch.cuda.stream(streams[0]):
            graph.replay()
        ended = time.monotonic() + 5.0
        while fabric.stats()["failed"] == 0 and time.monotonic() < ended:
            time.sleep(0.01)  # nobody calls what could notice
        assert fabric.stats()["failed"] == 1
        with pytest.raises(weft.FabricPoisoned, match="rank 1"):
            fabric.check()
        said = ""
        while "rank 1" not in said and time.monotonic() < ended:
            said += capfd.readouterr().err
        assert "rank 1" in said
        synchronize(fabric)
        fabric.recover()
        fabric.check()


@pytest.mark.parametrize("mode", ["global", "thread_local", "relaxed"])
@pytest.mark.parametrize("spec", SPECS)
def test_a_bucket_first_seen_in_a_capture_of_any_mode(spec: str, mode: str) -> None:
    """Its table is of a size that there was none of: pinned memory is allocated meanwhile."""
    places = {"global": 5000, "thread_local": 10_000, "relaxed": 20_000}[mode]
    if spec != "cuda:0x2":
        places *= 8
    with weft.Fabric(spec) as fabric:
        streams = streams_on(fabric)
        warm, whole = rooms_on(fabric, 10), rooms_on(fabric, 4 * places)
        fabric.all_reduce([[room] for room in warm], streams=streams)
        lists = [list(room.split(4)) for room in whole]
        synchronize(fabric)

        def work(rank: int | None, stream: Any) -> None:
            if rank is None:
                fabric.all_reduce(lists, streams=streams)

        graph = captured(streams, work, mode)
        with torch.cuda.stream(streams[0]):
            graph.replay()
        synchronize(fabric)
        fabric.check()
        assert all(bool((room == fabric.size).all()) for room in whole)

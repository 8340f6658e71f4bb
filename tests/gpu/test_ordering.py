"""What operations and replays follow, and what follows them: streams of callers, of libraries."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

import weft
from gpu.support import synchronize, torch

SPECS = ["cuda:0x2", pytest.param("cuda:0,1", marks=pytest.mark.gpu2)]
pytestmark = pytest.mark.gpu1
SLEEP = 100_000_000  # cycles: a twentieth of a second


def rooms_on(fabric: weft.Fabric, elements: int) -> list[Any]:
    return [torch.ones(elements, device=d) for d in fabric.devices]


def streams_on(fabric: weft.Fabric) -> list[Any]:
    return [torch.cuda.Stream(d) for d in fabric.devices]


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("spec", SPECS)
def test_a_replay_of_wefts_own_follows_and_is_followed_by_the_current_streams(
    spec: str, given: bool
) -> None:
    with weft.Fabric(spec) as fabric:
        n = fabric.size
        rooms, streams = rooms_on(fabric, 100_000), streams_on(fabric)
        if not given:  # torch has one current stream a device
            streams = [streams[fabric.devices.index(d)] for d in fabric.devices]
        graph = weft.Graph()
        with graph.capture(fabric):
            fabric.all_reduce(rooms, algorithm="two_shot")
        synchronize(fabric)
        seen = []
        with ExitStack() as on:
            for stream in () if given else streams:
                on.enter_context(torch.cuda.stream(stream))
            for rank, stream in enumerate(streams):
                with torch.cuda.stream(stream):
                    torch.cuda._sleep(SLEEP)
                    rooms[rank].fill_(rank + 2)
            graph.replay(streams=streams if given else None)
            for rank, stream in enumerate(streams):
                with torch.cuda.stream(stream):
                    seen.append(rooms[rank].clone())
        synchronize(fabric)
        assert all(bool((x == sum(range(2, n + 2))).all()) for x in seen)


def test_streams_of_one_device_that_wait_for_each_other_are_no_deadlock() -> None:
    """The default stream under both its names, and streams that were not made as non-blocking."""
    driver = pytest.importorskip("cuda.bindings.runtime", reason="makes blocking streams")
    with weft.Fabric("cuda:0x2", timeout=2.0) as fabric, torch.cuda.device(0):
        made = [driver.cudaStreamCreate()[1] for _ in range(2)]
        handles = [int(stream) for stream in made]
        for streams in ([0, 1], [0, handles[0]], handles):
            rooms = rooms_on(fabric, 5000)
            torch.cuda.synchronize()
            fabric.all_reduce(rooms, algorithm="two_shot", streams=streams)
            torch.cuda.synchronize()
            fabric.check()
            assert all(bool((room == 2).all()) for room in rooms)
        for stream in made:
            driver.cudaStreamDestroy(stream)


@pytest.mark.gpu2
def test_streams_of_other_devices_are_refused_before_anything_is_launched() -> None:
    with weft.Fabric("cuda:0,1") as fabric:
        rooms, streams = rooms_on(fabric, 5000), streams_on(fabric)
        synchronize(fabric)
        for wrong in (streams[::-1], [streams[0], streams[0]]):
            rank = 0 if wrong[0] is streams[1] else 1
            with pytest.raises(weft.DeviceMismatch, match=r"of cuda:\d") as said:
                fabric.all_reduce(rooms, streams=wrong)  # torch's streams say whose they are
            handles = [stream.cuda_stream for stream in wrong]
            with pytest.raises(weft.InvalidArgument, match=r"rank \d's stream.*cuda:\d") as asked:
                fabric.all_reduce(rooms, streams=handles)
            assert said.value.rank == asked.value.rank == rank
        synchronize(fabric)
        assert all(bool((room == 1).all()) for room in rooms)
        fabric.all_reduce(rooms, streams=streams)
        synchronize(fabric)
        assert all(bool((room == 2).all()) for room in rooms)


class Foreign:
    """A tensor of a library that is not torch: it works on a stream of its own."""

    def __init__(self, tensor: Any, stream: Any) -> None:
        self.tensor, self.stream = tensor, stream

    def __dlpack_device__(self) -> Any:
        return self.tensor.__dlpack_device__()

    def __dlpack__(self, *, stream: int | None = None, **options: Any) -> Any:
        if stream != -1:  # the consumer's: it follows what is on the library's
            device = self.tensor.device
            if stream in (None, 0, 1):
                consumer = torch.cuda.default_stream(device)
            else:
                consumer = torch.cuda.ExternalStream(stream, device)
            consumer.wait_stream(self.stream)
        return self.tensor.__dlpack__(stream=-1, **options)


@pytest.mark.parametrize("spec", SPECS)
def test_streams_that_are_given_follow_what_torch_does_now(spec: str) -> None:
    """Torch's tensors are being filled on its current streams; the operation runs on others."""
    with weft.Fabric(spec) as fabric:
        rooms, streams = rooms_on(fabric, 100_000), streams_on(fabric)
        fabric.all_reduce(rooms, streams=streams)
        synchronize(fabric)
        for turn in range(20):
            for rank, room in enumerate(rooms):
                with torch.cuda.device(room.device):
                    torch.cuda._sleep(1_000_000)
                room.fill_(rank + turn)
            work = fabric.all_reduce(rooms, streams=streams, async_op=True)
            work.wait()
            want = sum(rank + turn for rank in range(fabric.size))
            assert all(bool((room == want).all()) for room in rooms)


@pytest.mark.parametrize("spec", SPECS)
def test_inputs_of_another_library_than_the_outputs_are_waited_for(spec: str) -> None:
    with weft.Fabric(spec) as fabric:
        n = fabric.size
        rooms, outs, streams = (
            rooms_on(fabric, 50_000),
            rooms_on(fabric, 50_000),
            streams_on(fabric),
        )
        fabric.all_reduce(rooms_on(fabric, 50_000), out=outs, algorithm="two_shot")
        synchronize(fabric)
        for rank, stream in enumerate(streams):
            with torch.cuda.stream(stream):
                torch.cuda._sleep(SLEEP)
                rooms[rank].fill_(rank + 2)
        inputs = [Foreign(room, stream) for room, stream in zip(rooms, streams, strict=True)]
        fabric.all_reduce(inputs, out=outs, algorithm="two_shot")
        synchronize(fabric)
        assert all(bool((out == sum(range(2, n + 2))).all()) for out in outs)

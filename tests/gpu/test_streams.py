"""Streams and events of torch, CuPy, cuda.core and weft around a collective: no wait of the host.

Every buffer is poisoned first, and the kernels that feed a collective come late: what does not wait
for them reads poison, and what does not wait for the collective finds it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

import weft
from gpu.kernels import Kernels, core
from gpu.support import captured, synchronize, torch

SPECS = ["cuda:0x2", pytest.param("cuda:0,1", marks=pytest.mark.gpu2)]
pytestmark = pytest.mark.gpu1
SLEEP = 100_000_000  # cycles: a twentieth of a second
COUNT = 10_000
POISON = 77.0


def index_of(device: str) -> int:
    return int(device.partition(":")[2])


class Torch:
    """Streams and events of one library on a device."""

    def stream(self, device: str) -> Any:
        return torch.cuda.Stream(device)

    def record(self, stream: Any, device: str) -> Any:
        event = torch.cuda.Event()
        event.record(stream)
        return event

    def wait(self, stream: Any, event: Any) -> None:
        stream.wait_event(event)


class Cupy:
    def __init__(self) -> None:
        self.cupy = pytest.importorskip("cupy", reason="its streams are tested")

    def stream(self, device: str) -> Any:
        with self.cupy.cuda.Device(index_of(device)):
            return self.cupy.cuda.Stream(non_blocking=True)

    def record(self, stream: Any, device: str) -> Any:
        with self.cupy.cuda.Device(index_of(device)):
            event = self.cupy.cuda.Event()
            event.record(stream)
        return event

    def wait(self, stream: Any, event: Any) -> None:
        stream.wait_event(event)


class Core:
    def stream(self, device: str) -> Any:
        here = core.Device(index_of(device))
        here.set_current()
        return here.create_stream()

    def record(self, stream: Any, device: str) -> Any:
        core.Device(index_of(device)).set_current()
        return stream.record()

    def wait(self, stream: Any, event: Any) -> None:
        stream.wait(event)


class Weft:
    def stream(self, device: str) -> Any:
        return weft.Stream(device, priority="high")

    def record(self, stream: Any, device: str) -> Any:
        return stream.record_event()

    def wait(self, stream: Any, event: Any) -> None:
        stream.wait_event(event)


class Number(Torch):
    """Streams as the ints of their handles."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def stream(self, device: str) -> Any:
        self.kept.append(torch.cuda.Stream(device))
        return self.kept[-1].cuda_stream


LIBRARIES = [Torch, Cupy, Core, Weft]


class Handle:
    """Any stream, by cuda.core's protocol."""

    def __init__(self, stream: Any, device: str) -> None:
        self.address = weft._weft.stream_handle(stream, 0, device)

    def __cuda_stream__(self) -> tuple[int, int]:
        return (0, self.address)


def external(stream: Any, device: str) -> Any:
    """Any stream as one of torch's."""
    return torch.cuda.ExternalStream(Handle(stream, device).address, device=device)


class Rig:
    """Poisoned buffers of a fabric's ranks, and the kernels that feed and check them."""

    def __init__(self, fabric: weft.Fabric, feed: list[Any], test: list[Any]) -> None:
        """feed, test: the ranks' streams before and after the collective."""
        self.fabric, self.feed = fabric, feed
        ranks = list(enumerate(fabric.devices))
        self.inputs = [torch.full((COUNT,), POISON, device=d) for _, d in ranks]
        self.outputs = [torch.full((COUNT,), POISON, device=d) for _, d in ranks]
        self.producers = [Kernels(r, d, Handle(feed[r], d)) for r, d in ranks]
        self.checkers = [Kernels(r, d, Handle(test[r], d)) for r, d in ranks]
        synchronize(fabric)
        self.warm_up()

    def warm_up(self) -> None:
        """What is loaded at first use is loaded now, and not between the kernels."""
        self.fabric.all_reduce(self.outputs, streams=self.feed)
        for rank, kernels in enumerate(self.producers):
            kernels.produce(self.outputs[rank], 1)
        synchronize(self.fabric)
        for rank, kernels in enumerate(self.checkers):
            kernels.check(self.outputs[rank], 1, (rank, rank))
        assert self.wrong() == [0] * self.fabric.size
        for output in self.outputs:
            output.fill_(POISON)
        synchronize(self.fabric)

    def produce(self) -> None:
        for rank, device in enumerate(self.fabric.devices):
            with torch.cuda.stream(external(self.feed[rank], device)):
                torch.cuda._sleep(SLEEP)
            self.producers[rank].produce(self.inputs[rank], 5)

    def reduce(self, streams: Any) -> None:
        self.fabric.all_reduce(self.inputs, out=self.outputs, streams=streams)

    def check(self) -> None:
        for rank, checker in enumerate(self.checkers):
            checker.check(self.outputs[rank], 5, (0, self.fabric.size - 1))

    def wrong(self) -> list[int]:
        synchronize(self.fabric)
        return [int(checker.wrong.item()) for checker in self.checkers]


def streams_of(library: Any, fabric: weft.Fabric) -> list[Any]:
    return [library.stream(device) for device in fabric.devices]


@pytest.mark.parametrize("make", [*LIBRARIES, Number])
@pytest.mark.parametrize("spec", SPECS)
def test_a_collective_follows_its_stream_and_is_followed(spec: str, make: Any) -> None:
    library = make()
    with weft.Fabric(spec) as fabric:
        streams = streams_of(library, fabric)
        rig = Rig(fabric, streams, streams)
        rig.produce()
        rig.reduce(streams)
        rig.check()
        for stream, device in zip(streams, fabric.devices, strict=True):
            assert not weft.Stream.from_handle(stream, device).query(), "the host waited"
        assert rig.wrong() == [0] * fabric.size


@pytest.mark.parametrize("spec", SPECS)
def test_a_collective_on_other_streams_is_found_out(spec: str) -> None:
    """The test above can fail: so it does on streams that nothing orders."""
    library = Torch()
    with weft.Fabric(spec) as fabric:
        streams = streams_of(library, fabric)
        rig = Rig(fabric, streams, streams)
        rig.produce()
        rig.reduce(streams_of(library, fabric))
        rig.check()
        assert all(wrong > COUNT // 2 for wrong in rig.wrong())


@pytest.mark.parametrize("by", ["event", "lent event", "stream"])
@pytest.mark.parametrize("make", LIBRARIES)
@pytest.mark.parametrize("spec", SPECS)
def test_events_and_streams_of_other_libraries_order(spec: str, make: Any, by: str) -> None:
    library = make()
    with weft.Fabric(spec) as fabric:
        feed, test = streams_of(library, fabric), streams_of(library, fabric)
        own = [weft.Stream(device) for device in fabric.devices]
        rig = Rig(fabric, feed, test)
        rig.produce()
        for rank, device in enumerate(fabric.devices):
            if by == "stream":
                own[rank].wait_stream(feed[rank])
            else:
                own[rank].wait_event(library.record(feed[rank], device))
        rig.reduce(own)
        for rank, device in enumerate(fabric.devices):
            if by == "event":  # of weft's, waited for by the library's stream
                own[rank].record_event().wait(test[rank])
            elif by == "lent event":  # of the library's, recorded by weft
                event = library.record(test[rank], device)
                assert own[rank].record_event(event) is event
                library.wait(test[rank], event)
            else:
                weft.Stream.from_handle(test[rank], device).wait_stream(own[rank])
        rig.check()
        assert rig.wrong() == [0] * fabric.size


@pytest.mark.parametrize("spec", SPECS)
def test_a_graph_is_replayed_on_streams(spec: str) -> None:
    with weft.Fabric(spec) as fabric:
        streams = [weft.Stream(device) for device in fabric.devices]
        rig = Rig(fabric, streams, streams)
        graph = weft.Graph()
        with graph.capture(fabric):
            rig.reduce(None)
        rig.produce()
        graph.replay(streams=streams)
        rig.check()
        assert rig.wrong() == [0] * fabric.size


@pytest.mark.parametrize("spec", SPECS)
def test_operations_on_wefts_streams_are_captured(spec: str) -> None:
    with weft.Fabric(spec) as fabric:
        streams = streams_of(Torch(), fabric)
        own = [weft.Stream.from_handle(*each) for each in zip(streams, fabric.devices, strict=True)]
        rooms = [torch.ones(COUNT, device=device) for device in fabric.devices]
        synchronize(fabric)
        fabric.all_reduce(rooms, streams=own)
        synchronize(fabric)

        def work(rank: int | None, stream: Any) -> None:
            if rank is None:
                for each in own:
                    for call in (each.query, each.synchronize):
                        with pytest.raises(weft.InvalidArgument, match="captured"):
                            call()
                fabric.all_reduce(rooms, streams=own)

        graph = captured(streams, work)
        for turn in range(1, 4):
            with torch.cuda.stream(streams[0]):
                graph.replay()
            synchronize(fabric)
            assert all(bool((room == fabric.size ** (turn + 1)).all()) for room in rooms)


def busy_stream() -> weft.Stream:
    stream = weft.Stream("cuda:0")
    with torch.cuda.stream(external(stream, "cuda:0")):
        torch.cuda._sleep(10 * SLEEP)
    return stream


def test_waits_have_deadlines() -> None:
    stream = busy_stream()
    event = stream.record_event()
    assert not stream.query()
    assert not event.query()
    for wait in (stream.synchronize, event.synchronize):
        start = time.monotonic()
        with pytest.raises(weft.CollectiveTimeout, match=r"after 0\.05 s"):
            wait(timeout=0.05)
        assert time.monotonic() - start < 0.3
    stream.synchronize()
    assert stream.query()
    assert event.query()


def test_elapsed_time_is_that_of_the_device() -> None:
    stream = weft.Stream("cuda:0")
    first, second = (weft.Event("cuda:0", enable_timing=True) for _ in range(2))
    reference = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
    with torch.cuda.stream(external(stream, "cuda:0")):
        first.record(stream)
        reference[0].record()
        torch.cuda._sleep(SLEEP)
        reference[1].record()
        second.record(stream)
    second.synchronize()
    assert first.elapsed_time(second) == pytest.approx(
        reference[0].elapsed_time(reference[1]), rel=0.1
    )


def test_a_stream_dropped_with_work_on_it_finishes_it() -> None:
    with weft.Fabric("cuda:0x2") as fabric:
        streams = [weft.Stream(device) for device in fabric.devices]
        rooms = [torch.full((COUNT,), POISON, device=device) for device in fabric.devices]
        fabric.all_reduce(rooms, streams=streams)
        synchronize(fabric)
        for stream, room in zip(streams, rooms, strict=True):
            with torch.cuda.stream(external(stream, "cuda:0")):
                torch.cuda._sleep(10 * SLEEP)
                room.fill_(3)
        work = fabric.all_reduce(rooms, streams=streams, async_op=True)
        events = [stream.record_event() for stream in streams]
        del streams, stream
        assert not any(event.query() for event in events)
        work.wait()
        for event in events:
            event.synchronize()
        assert all(bool((room == 6).all()) for room in rooms)
        again = [weft.Stream(device) for device in fabric.devices]
        fabric.all_reduce(rooms, streams=again)
        synchronize(fabric)
        assert all(bool((room == 12).all()) for room in rooms)


@pytest.mark.parametrize("spec", SPECS)
def test_an_export_waits_for_what_was_given_no_stream(spec: str) -> None:
    """torch reads on a stream of its own what a collective writes on the default ones."""
    with weft.Fabric(spec) as fabric:
        rooms = [weft.ones(COUNT, device=device) for device in fabric.devices]
        fabric.all_reduce(rooms)
        synchronize(fabric)
        for device in set(fabric.devices):
            with torch.cuda.device(device):
                torch.cuda._sleep(SLEEP)
        fabric.all_reduce(rooms)
        seen = []
        for room, device in zip(rooms, fabric.devices, strict=True):
            with torch.cuda.device(device), torch.cuda.stream(torch.cuda.Stream(device)):
                seen.append(torch.from_dlpack(room).clone())
        synchronize(fabric)
        assert all(bool((x == fabric.size**2).all()) for x in seen)


@pytest.mark.parametrize("make", [Torch, Cupy, Core, Weft])
@pytest.mark.gpu2
def test_streams_of_the_wrong_devices_are_refused(make: Callable[[], Any]) -> None:
    with weft.Fabric("cuda:0,1") as fabric:
        rooms = [torch.ones(10, device=device) for device in fabric.devices]
        streams = streams_of(make(), fabric)
        with pytest.raises(weft.DeviceMismatch, match=r"rank 0's stream: .*cuda:1"):
            fabric.all_reduce(rooms, streams=streams[::-1])
        fabric.all_reduce(rooms, streams=streams)
        synchronize(fabric)
        assert [room.tolist() for room in rooms] == [[2.0] * 10] * 2


def test_a_torch_event_never_recorded_is_waited_for_by_nobody() -> None:
    stream = weft.Stream("cuda:0")
    stream.wait_event(torch.cuda.Event())
    with pytest.raises(weft.InvalidArgument, match="first record"):
        stream.record_event(torch.cuda.Event())
    stream.synchronize(5)

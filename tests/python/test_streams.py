"""Streams and events: order, waits with deadlines, other libraries' objects, refusals.

An operation is made slow by a planned delay of one rank, so that what does not wait for it is seen.
"""

from __future__ import annotations

import doctest
import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import weft

DELAY = 0.3  # seconds that a slow operation takes at least


@contextmanager
def slow_fabric(devices: Any = "sim:2", delay: float = DELAY) -> Iterator[weft.Fabric]:
    """A fabric whose rank 0 does nothing for `delay` seconds in each operation."""
    with weft.Fabric(devices, timeout=20) as fabric:
        fabric._native.plan_fault(0, 0, "delay", delay)
        yield fabric


def streams_of(fabric: weft.Fabric) -> list[weft.Stream]:
    return [weft.Stream(device) for device in fabric.devices]


def ones(n: int = 2, elements: int = 1000) -> list[Any]:
    return [np.ones(elements) for _ in range(n)]


# Order


def test_operations_of_two_fabrics_on_the_same_streams_follow_each_other():
    with slow_fabric() as slow, weft.Fabric("sim:2") as other:
        streams, data = streams_of(slow), ones()
        slow.all_reduce(data, streams=streams, async_op=True)
        assert data[0][0] == 1, "the slow operation has to be under way"
        other.all_reduce(data, streams=streams)
        assert [x.tolist() for x in data] == [[4.0] * 1000] * 2


def test_without_streams_two_fabrics_are_not_ordered():
    """So that the test above can fail."""
    with slow_fabric() as slow, weft.Fabric("sim:2") as other:
        streams, data = streams_of(slow), ones()
        work = slow.all_reduce(data, streams=streams, async_op=True)
        seen = [np.empty_like(x) for x in data]
        other.all_reduce(data, out=seen)
        assert seen[0].tolist() == [2.0] * 1000
        work.wait()


def test_a_call_returns_when_the_result_is_there_whatever_is_on_its_streams():
    with slow_fabric() as fabric:
        streams, data = streams_of(fabric), ones()
        assert fabric.all_reduce(data, streams=streams)[1].tolist() == [2.0] * 1000


@pytest.mark.parametrize("how", ["wait_stream", "wait_event", "event.wait", "record_event"])
def test_another_stream_waits(how: str):
    with slow_fabric() as slow, weft.Fabric("sim:2") as other:
        first, second, data = streams_of(slow), streams_of(slow), ones()
        slow.all_reduce(data, streams=first, async_op=True)
        for a, b in zip(first, second, strict=True):
            if how == "wait_stream":
                b.wait_stream(a)
            elif how == "wait_event":
                event = weft.Event(a.device)
                event.record(a)
                b.wait_event(event)
            elif how == "event.wait":
                event = a.record_event()
                event.wait(b)
            else:
                b.wait_event(a.record_event(weft.Event(a.device)))
        other.all_reduce(data, streams=second)
        assert data[1].tolist() == [4.0] * 1000


def test_a_stream_waits_for_one_of_another_device():
    with slow_fabric() as slow:
        streams, data = streams_of(slow), ones()
        slow.all_reduce(data, streams=streams, async_op=True)
        third = weft.Stream("sim:5")
        third.wait_stream(streams[0])
        third.wait_event(streams[1].record_event())
        third.synchronize(10)
        assert [x[0] for x in data] == [2, 2]


def test_an_event_stands_for_its_last_record():
    with slow_fabric(delay=0.5) as slow:
        streams = streams_of(slow)
        event = streams[0].record_event()
        event.synchronize(10)
        slow.all_reduce(ones(), streams=streams, async_op=True)
        assert event.query()
        event.record(streams[0])
        assert not event.query()
        event.synchronize(10)
        assert event.query()


@pytest.mark.parametrize("devices", ["sim:2", ["sim:0", "sim:0"]])
def test_ranks_of_one_device_may_share_a_stream(devices: Any):
    with weft.Fabric(devices) as fabric:
        one = weft.Stream("sim:0")
        streams = [one, one] if fabric.devices[1] == "sim:0" else [one, weft.Stream("sim:1")]
        data = ones()
        for _ in range(3):
            fabric.all_reduce(data, streams=streams, async_op=True)
        one.synchronize(10)
        assert data[0].tolist() == [8.0] * 1000


def test_every_collective_takes_streams():
    with weft.Fabric("sim:2") as fabric:
        on: dict[str, Any] = {"streams": streams_of(fabric)}
        x = [np.arange(4.0), np.arange(4.0) + 10]
        both = np.concatenate(x)
        assert np.array_equal(fabric.all_gather(x, **on)[1], both)
        assert fabric.reduce_scatter(x, **on)[1].tolist() == [14.0, 16.0]
        assert fabric.all_to_all(x, **on)[0].tolist() == [0.0, 1.0, 10.0, 11.0]
        assert np.array_equal(fabric.gather(x, **on)[0], both)
        assert fabric.scatter([x[0], None], **on)[1].tolist() == [2.0, 3.0]
        assert fabric.send_recv(x, [1, None], **on)[1].tolist() == x[0].tolist()
        assert fabric.all_reduce([[a, a.copy()] for a in x], **on)[0][1].tolist() == x[0].tolist()
        assert fabric.reduce(x, 0, "max", **on)[0].tolist() == x[1].tolist()
        assert fabric.broadcast(x, 1, **on)[0].tolist() == x[1].tolist()


def test_tensors_that_are_staged_wait_for_the_streams():
    with slow_fabric() as slow, weft.Fabric("sim:2") as other:
        streams = streams_of(slow)
        wide = [np.ones((50, 4)) for _ in range(2)]
        slow.all_reduce(wide, streams=streams, async_op=True)
        other.all_reduce([w[:, ::2] for w in wide], streams=streams)
        assert wide[0][7].tolist() == [4.0, 2.0, 4.0, 2.0]


def test_ranks_in_their_own_threads_give_their_streams():
    with slow_fabric() as slow, weft.Fabric("sim:2") as other:
        streams, data = streams_of(slow), ones()
        slow.all_reduce(data, streams=streams, async_op=True)
        threads = [
            threading.Thread(
                target=other.rank(r).all_reduce, args=(data[r],), kwargs={"stream": streams[r]}
            )
            for r in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert data[0].tolist() == [4.0] * 1000


def test_ranks_of_which_one_gives_no_stream_all_hear_of_it():
    with weft.Fabric("sim:2") as fabric:
        stream, errors = weft.Stream("sim:0"), []

        def work(rank: int) -> None:
            with pytest.raises(weft.WorldSizeError, match="1 streams") as caught:
                fabric.rank(rank).all_reduce(np.ones(3), stream=stream if rank == 0 else None)
            errors.append(caught.value)

        threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(errors) == 2
        assert fabric.all_reduce(ones())[0][0] == 2


def test_a_graph_is_replayed_on_streams():
    with slow_fabric() as slow, weft.Fabric("sim:2") as other:
        streams, data = streams_of(slow), ones()
        graph = weft.Graph()
        with graph.capture(other):
            other.all_reduce(data)
        slow.all_reduce(data, streams=streams, async_op=True)
        graph.replay(streams=streams)
        assert data[0].tolist() == [4.0] * 1000
        assert graph.replay(True, streams=streams) > 0
        with pytest.raises(weft.WorldSizeError, match="1 streams"):
            graph.replay(streams=streams[:1])
        with pytest.raises(weft.InvalidArgument, match="rank 1's stream"):
            graph.replay(streams=[streams[0], "x"])
        assert data[0].tolist() == [8.0] * 1000


# Waits


def test_what_is_under_way_is_told_and_waits_have_deadlines():
    with slow_fabric(delay=0.6) as slow:
        streams = streams_of(slow)
        slow.all_reduce(ones(), streams=streams, async_op=True)
        event = streams[0].record_event()
        assert not streams[0].query()
        assert not event.query()
        for wait in (streams[0].synchronize, event.synchronize):
            start = time.monotonic()
            with pytest.raises(weft.CollectiveTimeout, match=r"after 0\.05 s") as caught:
                wait(timeout=0.05)
            assert time.monotonic() - start < 0.4
            assert isinstance(caught.value, TimeoutError)
            assert (caught.value.code, caught.value.device) == ("collective_timeout", "sim:0")
        streams[0].synchronize()
        event.synchronize()
        assert streams[0].query()
        assert event.query()


def test_a_stream_is_idle_as_soon_as_it_was_waited_for():
    stream = weft.Stream("sim:0")
    for _ in range(2000):
        stream.synchronize()
        assert stream.query()


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "1", True, 1e10])
def test_a_timeout_is_seconds(timeout: Any):
    stream = weft.Stream("sim:0")
    for wait in (stream.synchronize, weft.Event("sim:0").synchronize):
        with pytest.raises(weft.InvalidArgument, match="timeout"):
            wait(timeout=timeout)


def test_an_event_never_recorded_has_happened():
    event = weft.Event("sim:3")
    assert event.query()
    event.synchronize(1)
    stream = weft.Stream("sim:3")
    stream.wait_event(event)
    stream.synchronize(1)


def test_elapsed_time_is_milliseconds():
    with slow_fabric() as slow:
        streams = streams_of(slow)
        start, end = (weft.Event("sim:0", enable_timing=True) for _ in range(2))
        start.record(streams[0])
        slow.all_reduce(ones(), streams=streams, async_op=True)
        end.record(streams[0])
        with pytest.raises(weft.InvalidArgument, match="not happened yet"):
            start.elapsed_time(end)
        end.synchronize()
        assert 1000 * DELAY <= start.elapsed_time(end) < 20_000
        assert end.elapsed_time(start) <= -1000 * DELAY
        for other, error in (
            (weft.Event("sim:0"), "enable_timing"),
            (weft.Event("sim:0", enable_timing=True), "recorded"),
        ):
            with pytest.raises(weft.InvalidArgument, match=error):
                start.elapsed_time(other)
        there = weft.Event("sim:1", enable_timing=True)
        there.record(streams[1])
        there.synchronize()
        with pytest.raises(weft.DeviceMismatch, match="sim:1"):
            start.elapsed_time(there)


# What it is


def test_streams_are_told_apart():
    a, b = weft.Stream("sim:1"), weft.Stream(weft.Device("sim:1"), priority="high")
    assert a.device == weft.Device("sim:1")
    assert a == a
    assert a != b
    assert a != "sim:1"
    assert len({a, b, weft.Stream.from_handle(a, "sim:1")}) == 2
    assert repr(a) == "<weft.Stream on sim:1>"
    assert repr(weft.Event("sim:1", enable_timing=True)) == "<weft.Event of sim:1, timed>"


def test_a_simulated_stream_is_no_cuda_stream():
    stream, event = weft.Stream("sim:0"), weft.Event("sim:0")
    for get in (lambda: stream.cuda_stream, stream.__cuda_stream__, lambda: event.cuda_event):
        with pytest.raises(weft.InvalidArgument, match="no CUDA"):
            get()


def test_every_example_in_a_docstring_runs():
    runner = doctest.DocTestRunner()
    for owner in (weft.Stream, weft.Event):
        for name in ("__doc__", *dir(owner)):
            doc = owner.__doc__ if name == "__doc__" else getattr(owner, name).__doc__
            found = doctest.DocTestParser().get_doctest(doc or "", {"weft": weft}, name, None, 0)
            runner.run(found)
    assert runner.failures == 0
    assert runner.tries >= 15


# Lifetime


def test_a_stream_dropped_with_work_on_it_finishes_it():
    with slow_fabric() as slow:
        streams, data = streams_of(slow), ones()
        work = slow.all_reduce(data, streams=streams, async_op=True)
        event = streams[0].record_event()
        del streams
        gc.collect()
        assert event.query()
        work.wait(10)
        assert data[1].tolist() == [2.0] * 1000


def test_other_threads_run_while_a_stream_is_dropped():
    with slow_fabric() as slow:
        streams = streams_of(slow)
        slow.all_reduce(ones(), streams=streams, async_op=True)
        ticks = []
        done = threading.Event()

        def tick() -> None:
            while not done.is_set():
                ticks.append(time.monotonic())
                time.sleep(0.01)

        thread = threading.Thread(target=tick)
        thread.start()
        start = time.monotonic()
        del streams
        gc.collect()
        end = time.monotonic()
        done.set()
        thread.join(10)
        assert end - start > DELAY / 2
        assert len([t for t in ticks if start < t < end]) > 3


def test_streams_live_for_the_call_whatever_becomes_of_the_list():
    class Lent:
        """A tensor that is lent after the streams were read."""

        def __init__(self, array: Any) -> None:
            self.array = array

        def __dlpack__(self, **options: Any) -> Any:
            streams.clear()
            gc.collect()
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self) -> tuple[int, int]:
            return self.array.__dlpack_device__()

    with weft.Fabric("sim:2") as fabric:
        streams, data = streams_of(fabric), ones()
        fabric.all_reduce([Lent(x) for x in data], streams=streams)
        assert streams == []
        assert data[0].tolist() == [2.0] * 1000


def test_streams_outlive_a_fabric_and_serve_the_next():
    streams = [weft.Stream(f"sim:{i}") for i in range(2)]
    for _ in range(3):
        with weft.Fabric("sim:2") as fabric:
            assert fabric.all_reduce(ones(), streams=streams)[0][0] == 2
    with pytest.raises(weft.FabricClosed):
        fabric.all_reduce(ones(), streams=streams)


def test_a_fault_reaches_who_waits_and_streams_go_on_after_recover():
    with weft.Fabric("sim:2", timeout=0.3) as fabric:
        streams = streams_of(fabric)
        fabric._native.plan_fault(1, 0, "stop")
        work = fabric.all_reduce(ones(), streams=streams, async_op=True)
        fabric._native.plan_fault(-1, -1, "none")
        with pytest.raises(weft.CollectiveTimeout):
            work.wait()
        streams[0].synchronize(10)
        fabric.recover()
        assert fabric.all_reduce(ones(), streams=streams)[0][0] == 2


@pytest.mark.stress
def test_streams_are_made_used_and_dropped_by_many_threads():
    with weft.Fabric("sim:2") as fabric:
        errors: list[BaseException] = []

        def work() -> None:
            try:
                for _ in range(20):
                    streams, data = streams_of(fabric), ones(elements=50)
                    fabric.all_reduce(data, streams=streams, async_op=True)
                    streams[0].wait_stream(streams[1])
                    streams[0].synchronize(20)
                    assert data[0].tolist() == [2.0] * 50
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not errors


def ended(program: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "import numpy as np, weft\n" + program],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


FORKED = """
import os
stream, event = weft.Stream("sim:0"), weft.Event("sim:0")
event.record(stream)
if os.fork() == 0:
    for call in (stream.query, stream.synchronize, stream.record_event, event.query,
                 lambda: event.record(weft.Stream("sim:0")),
                 lambda: weft.Fabric("sim:1").all_reduce([np.ones(1)], streams=[stream])):
        try:
            call()
        except weft.InvalidArgument as error:
            assert "fork" in str(error)
        else:
            os._exit(1)
    del stream, event, call
    weft.Stream("sim:0").synchronize(10)
    raise SystemExit(7)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_a_forked_child_is_refused_and_can_end():
    assert ended(FORKED) == (0, "7\n", "")


INTERRUPTED = """
import os, signal, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell has it ignored
fab = weft.Fabric("sim:2")
fab._native.plan_fault(0, 0, "delay", 2)
streams = [weft.Stream("sim:0"), weft.Stream("sim:1")]
work = fab.all_reduce([np.ones(3), np.ones(3)], streams=streams, async_op=True)
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
start = time.monotonic()
try:
    streams[0].synchronize()
except KeyboardInterrupt:
    print(time.monotonic() - start < 1.5)
work.wait()
"""


def test_ctrl_c_ends_a_wait_for_a_stream():
    assert ended(INTERRUPTED) == (0, "True\n", "")


@pytest.mark.parametrize("left", ["", "del streams[0]", "fab.close()"])
def test_the_interpreter_ends_quietly_with_work_on_a_stream(left: str):
    program = (
        "weft._weft.set_leak_warnings(True)\nfab = weft.Fabric('sim:2')\n"
        "streams = [weft.Stream('sim:0'), weft.Stream('sim:1')]\n"
        "work = fab.all_reduce([np.ones(100_000)] + [np.ones(100_000)], streams=streams,"
        " async_op=True)\nevent = streams[1].record_event()\n" + left
    )
    assert ended(program) == (0, "", "")


# Other libraries' streams and events: what their objects say of themselves


class TorchDevice:
    def __init__(self, index: int) -> None:
        self.type, self.index = "cuda", index


class TorchStream:
    def __init__(self, handle: int, index: int = 0) -> None:
        self.cuda_stream, self.device = handle, TorchDevice(index)


class TorchEvent:
    def __init__(self, handle: int) -> None:
        self.cuda_event, self.device = handle, TorchDevice(0)


class CupyStream:
    def __init__(self, handle: int, index: int = -1) -> None:
        self.ptr, self.device_id = handle, index

    def wait_event(self, event: object) -> None: ...


class CupyEvent:
    def __init__(self, handle: int) -> None:
        self.ptr = handle

    @property
    def done(self) -> bool:
        raise AssertionError("it must not be asked: that is a call to the driver")

    def record(self, stream: object = None) -> None: ...


class CoreDevice:
    def __init__(self, index: int) -> None:
        self.device_id = index


class CoreStream:
    """Of cuda.core; what `__cuda_stream__` gives is as told."""

    def __init__(self, said: Any, index: int = 0, is_closed: bool = False) -> None:
        self.said, self.device, self.is_closed = said, CoreDevice(index), is_closed

    def __cuda_stream__(self) -> Any:
        return self.said


class NewCupyStream(CupyStream):
    def __cuda_stream__(self) -> tuple[int, int]:
        return (0, self.ptr)


class NumbaStream:
    def __cuda_stream__(self) -> tuple[int, int]:
        return (0, 0x30)


def handle(stream: Any, device: str = "cuda:0") -> int:
    return weft._weft.stream_handle(stream, 1, device)


@pytest.mark.parametrize(
    ("stream", "device", "address"),
    [
        (0, "cuda:0", 0),
        (0x7F0000001000, "cuda:3", 0x7F0000001000),
        (TorchStream(0), "cuda:0", 0),
        (TorchStream(0x10, 2), "cuda:2", 0x10),
        (CupyStream(0x20), "cuda:1", 0x20),
        (CupyStream(0x20, 1), "cuda:1", 0x20),
        (NewCupyStream(0x20), "cuda:1", 0x20),
        (CoreStream((0, 0x40), 3), "cuda:3", 0x40),
        (NumbaStream(), "cuda:5", 0x30),
    ],
)
def test_streams_of_other_libraries_are_taken(stream: Any, device: str, address: int):
    assert handle(stream, device) == address


@pytest.mark.parametrize(
    "stream",
    [TorchStream(0x10, 1), CupyStream(0x20, 1), NewCupyStream(0x20, 1), CoreStream((0, 0x40), 1)],
)
def test_a_stream_that_says_it_is_of_another_device_is_refused(stream: Any):
    with pytest.raises(weft.DeviceMismatch, match=r"cuda:1.*cuda:0") as caught:
        handle(stream)
    assert (caught.value.rank, caught.value.device) == (1, "cuda:0")


@pytest.mark.parametrize(
    "garbage",
    [
        None, "x", True, 1.5, -1, 2**64, object(), [], {}, TorchDevice(0), TorchEvent(0x10),
        CupyEvent(0x10), np.ones(2), weft.Event("sim:0"), CoreStream((1, 0x40)), CoreStream(0x40),
        CoreStream((0,)), CoreStream((0, None)), CoreStream((0, -4)), CoreStream((0, True)),
        CoreStream((0, 0x40), is_closed=True),
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_stream_is_refused(garbage: Any):
    with pytest.raises(weft.InvalidArgument, match="rank 1's stream") as caught:
        handle(garbage)
    assert (caught.value.rank, caught.value.device) == (1, "cuda:0")
    with pytest.raises(weft.InvalidArgument, match=r"weft\.Stream"):
        handle(garbage, "sim:0")


def test_what_an_object_raises_is_passed_on():
    class Broken:
        @property
        def cuda_stream(self) -> int:
            raise RuntimeError("its own error")

    with pytest.raises(RuntimeError, match="its own error"):
        handle(Broken())


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.wait_stream(0),
        lambda s: s.wait_stream(None),
        lambda s: s.wait_stream(TorchStream(0x10)),
        lambda s: s.wait_event(TorchEvent(0x10)),
        lambda s: s.wait_event(CupyEvent(0x10)),
        lambda s: s.wait_event(s),
        lambda s: s.wait_event(None),
        lambda s: s.record_event(0x10),
        lambda s: s.record_event(TorchEvent(0x10)),
        lambda s: weft.Event("sim:0").record(),
        lambda s: weft.Event("sim:0").wait(),
        lambda s: weft.Event("sim:0").record(NumbaStream()),
        lambda s: weft.Stream.from_handle(0x10, "sim:0"),
        lambda s: weft.Stream.from_handle(0x10, "cuda:99"),
        lambda s: weft.Stream("sim:64"),
        lambda s: weft.Stream("gpu:0"),
        lambda s: weft.Stream("sim:0", priority="urgent"),
        lambda s: weft.Stream("sim:0", priority=1),
        lambda s: weft.Event("cuda:99"),
    ],
)
def test_on_simulated_devices_only_wefts_own_are_taken(call: Callable[[weft.Stream], Any]):
    stream = weft.Stream("sim:0")
    with pytest.raises(weft.InvalidArgument):
        call(stream)
    stream.synchronize(1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: weft.Stream("cpu"),
        lambda: weft.Event("cpu"),
        lambda: weft.Stream.from_handle(weft.Stream("sim:1"), "sim:0"),
        lambda: weft.Event("sim:0").record(weft.Stream("sim:1")),
        lambda: weft.Stream("sim:0").record_event(weft.Event("sim:1")),
        lambda: handle(weft.Stream("sim:0"), "sim:1"),
        lambda: handle(weft.Stream("sim:0"), "cuda:0"),
    ],
)
def test_a_stream_or_event_of_another_device_is_refused(call: Callable[[], Any]):
    with pytest.raises(weft.DeviceMismatch):
        call()


def test_a_collective_with_streams_of_the_wrong_devices_changes_nothing():
    with weft.Fabric("sim:2") as fabric:
        data = ones()
        streams = streams_of(fabric)
        with pytest.raises(weft.DeviceMismatch, match=r"rank 0's stream: .*sim:1") as caught:
            fabric.all_reduce(data, streams=streams[::-1])
        assert (caught.value.rank, caught.value.device) == (0, "sim:0")
        with pytest.raises(weft.DeviceMismatch, match="rank 1's stream"):
            fabric.rank(1).all_reduce(data[1], stream=streams[0])
        assert data[0].tolist() == [1.0] * 1000
        assert fabric.stats()["operations"] == 0


def test_a_lent_stream_keeps_its_lender():
    lender = weft.Stream("sim:0")
    lent = weft.Stream.from_handle(lender, "sim:0")
    references = sys.getrefcount(lender)
    del lent
    gc.collect()
    assert sys.getrefcount(lender) == references - 1

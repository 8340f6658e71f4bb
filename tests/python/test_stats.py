"""What is under way, what was staged and what events were lost, each against a count of its own."""

import threading
import time

import numpy as np
import pytest

import weft


def data(fabric, count=8):
    return [np.ones(count, np.float32) for _ in range(fabric.size)]


def test_what_is_in_flight_is_what_was_launched_and_has_not_ended():
    with weft.Fabric("sim:2", timeout=120) as fabric:
        fabric.all_reduce(data(fabric))
        assert (fabric.stats()["in_flight"], fabric.stats()["peak_in_flight"]) == (0, 1)
        fabric._native.plan_fault(1, 0, "stop")  # nothing ends from here on
        tensors = [data(fabric) for _ in range(5)]
        works = [fabric.all_reduce(t, algorithm="ring", async_op=True) for t in tensors]
        stats = fabric.stats()
        assert (stats["in_flight"], stats["peak_in_flight"]) == (5, 5)
        assert stats["operations"] + stats["failed"] == 1
        text = fabric.metrics()
        assert 'weft_operations_in_flight{backend="sim"} 5' in text
        assert 'weft_operations_in_flight_peak{backend="sim"} 5' in text
        fabric.abort()
        for work in works:
            with pytest.raises(weft.Error):
                work.wait()
        stats = fabric.stats()
        assert (stats["in_flight"], stats["peak_in_flight"], stats["failed"]) == (0, 5, 5)
        fabric.reset_stats()
        assert fabric.stats()["peak_in_flight"] == 0


def test_statistics_see_the_end_of_what_nobody_waits_for():
    with weft.Fabric("sim:2") as fabric:
        work = fabric.all_reduce(data(fabric), async_op=True)
        ended = time.monotonic() + 60
        while fabric.stats()["in_flight"] > 0 and time.monotonic() < ended:
            time.sleep(0.001)
        assert fabric.stats()["operations"] == 1
        assert work.done()


def test_a_call_that_is_refused_or_recorded_was_not_in_flight():
    with weft.Fabric("sim:2") as fabric:
        with pytest.raises(weft.ShapeMismatch):
            fabric.all_reduce([np.ones(2), np.ones(3)])
        with pytest.raises(weft.CollectiveTimeout):  # of one rank alone nothing is launched
            fabric.rank(0).all_reduce(np.ones(2), timeout=0.05)
        stats = fabric.stats()
        assert (stats["failed"], stats["in_flight"], stats["peak_in_flight"]) == (1, 0, 0)


@pytest.mark.stress
def test_every_snapshot_adds_up_while_threads_launch():
    """What was launched by then is at least what had ended, and at most what was asked for."""
    calls = 200
    with weft.Fabric("sim:2") as fabric:

        def launch():
            tensors = data(fabric)
            for _ in range(calls):
                fabric.all_reduce(tensors)

        threads = [threading.Thread(target=launch) for _ in range(2)]
        for thread in threads:
            thread.start()
        before = 0
        while any(thread.is_alive() for thread in threads):
            stats = fabric.stats()
            launched = stats["operations"] + stats["failed"] + stats["in_flight"]
            assert before <= launched <= 2 * calls
            assert stats["in_flight"] <= stats["peak_in_flight"]
            assert stats["events_recorded"] >= 2 * stats["operations"]
            before = launched
        for thread in threads:
            thread.join()
        stats = fabric.stats()
        assert (stats["operations"], stats["in_flight"]) == (2 * calls, 0)
        assert 1 <= stats["peak_in_flight"] <= 2


def strided(count):
    return np.ones((count, 2), np.float32)[:, 0]


def unaligned(count):
    return np.zeros(4 * count + 1, np.uint8)[1:].view(np.float32)


@pytest.mark.parametrize(
    ("call", "tensors", "size"),
    [
        # In place each is copied to and from its place; apart, inputs to it and outputs from it.
        (lambda f: f.all_reduce([strided(10), strided(10)]), 4, 160),
        (lambda f: f.all_reduce([strided(10), np.ones(10, np.float32)]), 2, 80),
        (lambda f: f.all_reduce([unaligned(5), unaligned(5)]), 4, 80),
        (lambda f: f.all_gather([strided(6), strided(6)]), 2, 48),
        (lambda f: f.all_reduce(data(f), out=[strided(8), strided(8)]), 2, 64),
        (lambda f: f.all_reduce([[strided(3), np.ones(3, np.float32)] for _ in range(2)]), 4, 48),
        (lambda f: f.all_reduce(data(f)), 0, 0),
        (lambda f: f.all_reduce([strided(0), strided(0)]), 0, 0),
    ],
)
def test_tensors_that_are_copied_are_counted_with_their_bytes(call, tensors, size):
    with weft.Fabric("sim:2") as fabric:
        for times in (1, 2):
            call(fabric)
            expected = {"tensors": times * tensors, "bytes": times * size}
            assert fabric.stats()["staged"] == expected
        assert f'weft_staged_bytes_total{{backend="sim"}} {2 * size}' in fabric.metrics()
        fabric.reset_stats()
        assert fabric.stats()["staged"] == {"tensors": 0, "bytes": 0}


def test_events_are_counted_as_the_snapshots_of_events_are():
    with weft.Fabric("sim:8") as fabric:
        for _ in range(3):
            fabric.all_reduce(data(fabric))
        with pytest.raises(weft.CollectiveTimeout):
            fabric.rank(0).barrier(0.05)
        fabric.recover()
        events, stats = fabric.events(), fabric.stats()
        assert stats["events_recorded"] == events.next_seq > 24
        assert stats["events_dropped"] == events.dropped_total == 0
        fabric.reset_stats()
        assert fabric.stats()["events_recorded"] == events.next_seq


def test_events_that_were_overwritten_are_counted():
    with weft.Fabric("sim:64") as fabric:
        for _ in range(1030):  # of 64 events each
            fabric.barrier()
        events, stats = fabric.events(), fabric.stats()
        assert events.dropped_total > 0
        assert stats["events_recorded"] == events.next_seq
        assert stats["events_dropped"] == events.dropped_total
        text = fabric.metrics()
        assert f'weft_events_dropped_total{{backend="sim"}} {events.dropped_total}' in text

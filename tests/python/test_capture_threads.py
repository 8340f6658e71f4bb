"""Captures while other threads call: what was recorded is held, and what was not is waited for."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import time
import weakref

import numpy as np
import pytest

import weft


class Array(np.ndarray):
    """An array that a test can watch."""


def arrays(count: int = 1000) -> list[np.ndarray]:
    return [np.ones(count, np.float32).view(Array) for _ in range(2)]


class Gated(weft.Fabric):
    """A fabric whose calls stop between their launch and what Python does then, until `go`."""

    def __init__(self, devices):
        super().__init__(devices, timeout=20)
        self.launched, self.go = threading.Event(), threading.Event()

    def _finish(self, operation, tensors, async_op):
        self.launched.set()
        assert self.go.wait(20)
        super()._finish(operation, tensors, async_op)


def test_a_call_that_was_launched_before_a_capture_waits_for_its_result():
    with Gated("sim:2") as fab:
        data, seen = arrays(), []
        fab._native.plan_fault(0, 0, "delay", 0.5)

        def call():
            fab.all_reduce(data)
            seen.append([float(x[-1]) for x in data])

        thread = threading.Thread(target=call)
        thread.start()
        assert fab.launched.wait(20)
        with weft.Graph().capture(fab):
            fab.go.set()
            thread.join(20)
        assert seen == [[2.0, 2.0]]


def test_an_error_of_a_call_that_was_launched_before_a_capture_reaches_its_caller():
    with Gated("sim:2") as fab:
        errors = []
        fab._native.plan_fault(0, 0, "stop")

        def call():
            try:
                fab.all_reduce(arrays(), timeout=0.3)
            except weft.Error as error:
                errors.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        assert fab.launched.wait(20)
        graph = weft.Graph()
        capture = graph.capture(fab)
        capture.__enter__()
        fab.go.set()
        thread.join(20)
        with pytest.raises(weft.FabricPoisoned):
            capture.__exit__(None, None, None)
        assert [type(error) for error in errors] == [weft.CollectiveTimeout]


def test_tensors_of_a_call_that_returns_after_the_capture_are_held():
    with Gated("sim:2") as fab:
        graph, watched = weft.Graph(), []

        def call():
            data = arrays()
            watched.extend(weakref.ref(x) for x in data)
            fab.all_reduce(data)

        thread = threading.Thread(target=call)
        with graph.capture(fab):
            thread.start()
            assert fab.launched.wait(20)
        fab.go.set()
        thread.join(20)
        gc.collect()
        assert len(graph.operations) == 1
        assert all(ref() is not None for ref in watched)
        graph.replay()
        assert [float(ref()[0]) for ref in watched] == [2.0, 2.0]
        del graph
        gc.collect()
        assert all(ref() is None for ref in watched)


def test_a_dropped_recording_lets_go_of_its_tensors():
    with weft.Fabric("sim:2") as fab:
        data = arrays()
        watched = weakref.ref(data[0])
        capture = weft.Graph().capture(fab)
        capture.__enter__()
        fab.all_reduce(data)
        assert not capture.__exit__(KeyError, KeyError(), None)
        del data, capture
        gc.collect()
        assert watched() is None


def test_only_its_own_capture_is_dropped():
    with weft.Fabric("sim:2") as fab:
        graph = weft.Graph()
        with graph.capture(fab):
            fab._native.drop_capture(0)
            fab.all_reduce(arrays())
        assert len(graph.operations) == 1


@pytest.mark.stress
def test_calls_beside_captures_have_their_result_or_are_recorded_and_held():
    with weft.Fabric("sim:2", timeout=20) as fab:
        stop = threading.Event()
        unheld, recorded = [], []

        def capture():
            while not stop.is_set():
                graph = weft.Graph()
                with graph.capture(fab):
                    time.sleep(0.001)
                recorded.append(len(graph.operations))
                gc.collect(0)
                graph.replay()

        def reduce():
            while not stop.is_set():
                data = arrays(1 << 15)
                work = fab.all_reduce(data, async_op=True)
                work.wait()
                done = all(float(x[0]) == 2.0 == float(x[-1]) for x in data)
                if not done and not work._operation.recorded_for:
                    unheld.append(data)

        threads = [threading.Thread(target=f) for f in (capture, reduce, reduce)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        stop.set()
        for thread in threads:
            thread.join(60)
        assert unheld == []
        assert sum(recorded) > 0


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_fabric_is_not_copied(how):
    with weft.Fabric("sim:2") as fab, pytest.raises(weft.InvalidArgument, match="one object"):
        how(fab)


def test_a_capture_takes_a_fabric_and_nothing_else():
    for wrong in ("x", None, 5):
        with pytest.raises(weft.InvalidArgument, match="Fabric"), weft.Graph().capture(wrong):
            pass


def test_a_replay_is_timed_or_not():
    with weft.Fabric("sim:2") as fab:
        graph = weft.Graph()
        with graph.capture(fab):
            fab.all_reduce(arrays())
        with pytest.raises(weft.InvalidArgument, match="timing"):
            graph.replay(5)


def test_a_copy_during_a_capture_is_refused():
    with weft.Fabric("sim:2") as fab:
        source, target = weft.ones(3, device="sim:0"), weft.zeros(3, device="sim:1")
        with (
            weft.Graph().capture(fab),
            pytest.raises(weft.InvalidArgument, match="not recorded"),
        ):
            fab.copy(source, target)
        assert target.tolist() == [0.0, 0.0, 0.0]
        fab.copy(source, target)
        assert target.tolist() == [1.0, 1.0, 1.0]

"""Several Python threads on one fabric, and how the interpreter ends."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest

import weft


def in_threads(count: int, work: Callable[[int], None]) -> list[BaseException]:
    """Runs work(0) ... work(count - 1), a thread each; what they raised."""
    errors: list[BaseException] = []

    def run(index: int) -> None:
        try:
            work(index)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return errors


@pytest.mark.stress
def test_ranks_in_their_own_threads_meet():
    with weft.Fabric("sim:4") as fab:
        arrays = [np.full(1000, rank + 1, np.int64) for rank in range(4)]

        def work(rank: int) -> None:
            view = fab.rank(rank)
            for _ in range(5):
                view.all_reduce(arrays[rank], "max")
                view.barrier()

        assert in_threads(4, work) == []
        assert all((array == 4).all() for array in arrays)
        assert fab.stats()["operations"] == 10


@pytest.mark.stress
def test_calls_from_many_threads_are_serialised():
    with weft.Fabric("sim:3") as fab:

        def work(index: int) -> None:
            for round_ in range(5):
                arrays = [np.full(100 + index, index + round_ + rank) for rank in range(3)]
                fab.all_reduce(arrays)
                assert all((array == 3 * (index + round_) + 3).all() for array in arrays)

        assert in_threads(4, work) == []


@pytest.mark.stress
def test_abort_while_others_call_has_one_outcome_for_all_ranks():
    with weft.Fabric("sim:3") as fab:
        work = fab.all_reduce([np.ones(20_000) for _ in range(3)], async_op=True)
        assert in_threads(2, lambda _: fab.abort()) == []
        try:
            work.wait()
        except weft.CollectiveAborted:
            assert isinstance(work.exception(), weft.CollectiveAborted)
        else:
            assert all((out == 3).all() for out in work.outputs)
        with pytest.raises(weft.FabricPoisoned):
            fab.all_reduce([np.ones(3) for _ in range(3)])
        fab.recover()
        assert fab.all_reduce([np.ones(3) for _ in range(3)])[2].tolist() == [3, 3, 3]


@pytest.mark.stress
def test_a_fabric_that_is_dropped_finishes_its_work_first():
    fab = weft.Fabric("sim:3")
    work = fab.all_reduce([np.ones(200_000) for _ in range(3)], async_op=True)
    assert work.info["algorithm"] == "ring"
    del work
    del fab


def test_tensors_whose_deleter_needs_the_interpreter_are_let_go_of():
    class Lent:
        """A NumPy array by DLPack only, so that NumPy's own deleter runs."""

        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    for _ in range(20):
        fab = weft.Fabric("sim:2")
        fab.all_reduce([Lent(np.ones(10_000)) for _ in range(2)], async_op=True)
        del fab


def test_ranks_that_call_different_operations_all_hear_of_it():
    with weft.Fabric("sim:2") as fab:

        def work(rank: int) -> None:
            view = fab.rank(rank)
            view.barrier() if rank == 0 else view.all_reduce(np.ones(3))

        errors = in_threads(2, work)
        assert [type(error) for error in errors] == [weft.InvalidArgument] * 2
        assert fab.all_reduce([np.ones(2), np.ones(2)])[0].tolist() == [2, 2]


def test_the_longest_and_shortest_timeouts():
    with weft.Fabric("sim:2", timeout=1e-10) as fab:
        fab.barrier(timeout=1e9)
        fab.all_reduce([np.ones(2), np.ones(2)], timeout=1e9)


def test_what_one_rank_is_refused_for_all_ranks_hear():
    with weft.Fabric("sim:3") as fab:

        def work(rank: int) -> None:
            array = np.ones(3, complex if rank == 1 else float)
            fab.rank(rank).all_reduce(array)

        errors = in_threads(3, work)
        assert [type(error) for error in errors] == [weft.DTypeMismatch] * 3
        assert {error.rank for error in errors} == {1}
        assert fab.all_reduce([np.ones(2) for _ in range(3)])[0].tolist() == [3, 3]


FORKED = """
import os, numpy as np, weft
fab = weft.Fabric("sim:2", timeout=5)
fab.all_reduce([np.ones(3), np.ones(3)])
child = os.fork()
if child == 0:
    try:
        fab.all_reduce([np.ones(3), np.ones(3)])
    except weft.FabricClosed as error:
        assert "fork" in str(error)
        fab.close()
        with weft.Fabric("sim:2") as own:
            assert own.all_reduce([np.ones(1), np.ones(1)])[0].tolist() == [2]
        raise SystemExit(7)
    raise SystemExit(1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_is_refused_and_can_end():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "7\n", "")


def test_many_operations_in_flight_when_a_fabric_is_dropped():
    fab = weft.Fabric("sim:4")
    works = [fab.all_reduce([np.ones(300_000) for _ in range(4)], async_op=True) for _ in range(12)]
    del fab
    del works


INTERRUPTED = """
import os, signal, threading, time, numpy as np, weft
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell has it ignored
fab = weft.Fabric("sim:2", timeout=30)
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
start = time.monotonic()
try:
    fab.rank(0).all_reduce(np.ones(3))
except KeyboardInterrupt:
    print(time.monotonic() - start < 5)
"""


def test_ctrl_c_ends_a_rank_that_waits_for_the_others():
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


EXITS = {
    "a fabric left open": "fab = weft.Fabric('sim:3')",
    "work in flight": (
        "fab = weft.Fabric('sim:3')\n"
        "work = fab.all_reduce([np.ones(100_000) for _ in range(3)], async_op=True)"
    ),
    "a rank stopped": (
        "fab = weft.Fabric('sim:2', timeout=0.2)\n"
        "fab._native.plan_fault(1, 0, 'stop')\n"
        "work = fab.all_reduce([np.ones(10) for _ in range(2)], async_op=True)"
    ),
    "a cycle and a caught error": (
        "class Holder: pass\n"
        "h = Holder(); h.self = h; h.fab = weft.Fabric('sim:2'); h.t = weft.ones(3)\n"
        "try:\n    h.fab.all_reduce([np.ones(2), np.ones(3)])\n"
        "except weft.ShapeMismatch as error:\n    h.error = error"
    ),
}


@pytest.mark.parametrize("what", EXITS)
def test_the_interpreter_ends_quietly_with(what):
    program = "import numpy as np, weft\nweft._weft.set_leak_warnings(True)\n" + EXITS[what]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

"""Several Python threads on one fabric, and how the interpreter ends."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
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
    tensors = [np.ones(200_000) for _ in range(3)]
    work = fab.all_reduce(tensors, async_op=True)
    del work
    del fab
    assert all((tensor == 3).all() for tensor in tensors)


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


# What a child does before it ends with 7; killed, and so ended with -9, if it hangs.
FORKED_ENDS = """
import os, signal, sys, threading, time, numpy as np, weft
fab = weft.Fabric("sim:2", timeout=30)
data = [np.ones(10), np.ones(10)]
{before}
child = os.fork()
if child == 0:
    {inside}
    sys.exit(7)
deadline = time.monotonic() + 20
while True:
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        break
    if time.monotonic() > deadline:
        os.kill(child, signal.SIGKILL)
        deadline += 20
    time.sleep(0.02)
print(os.waitstatus_to_exitcode(status))
{after}
"""
SLOW = "fab._native.plan_fault(1, 0, 'delay', 1.0)\nwork = fab.all_reduce(data, async_op=True)"
ENDED = "work = fab.all_reduce(data, async_op=True); time.sleep(0.3)"
WAITING = (
    "thread = threading.Thread(target=lambda: fab.rank(0).all_reduce(data[0]))\n"
    "thread.start(); time.sleep(0.2)"
)
FINE = "work.wait(); assert data[0][0] == 2"
REFUSED = (
    "assert 'another process' in repr(work)\n"
    "    for call in (work.wait, work.done, work.exception, lambda: work.wait(5)):\n"
    "        try: call()\n"
    "        except weft.FabricClosed: continue\n"
    "        sys.exit(1)"
)
CHILDREN = {
    "drops an operation in flight": (SLOW, "del work, fab", FINE),
    "ends with an operation in flight": (SLOW, "pass", FINE),
    "settles and closes": (SLOW, "fab.settle(); fab.close(); assert fab.closed", FINE),
    "waits for an operation in flight": (SLOW, REFUSED, FINE),
    "drops a fabric whose watchdog ran": (ENDED, "del work, fab", FINE),
    "ends with a fabric whose watchdog ran": (ENDED, "pass", FINE),
    "drops a graph": (
        "graph = weft.Graph()\nwith graph.capture(fab): fab.all_reduce(data)",
        "del graph, fab",
        "graph.replay(); assert data[0][0] == 2",
    ),
    "drops a fabric that a rank waited in": (
        WAITING,
        "del thread, fab",
        "fab.rank(1).all_reduce(data[1]); thread.join(); assert data[0][0] == 2",
    ),
}


@pytest.mark.parametrize("what", CHILDREN)
def test_a_forked_child_ends_that(what):
    before, inside, after = CHILDREN[what]
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            FORKED_ENDS.format(before=before, inside=inside, after=after),
        ],
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


# Rank 0, in the main thread, waits while rank 1 launches: staged, so that it takes the second that
# a planned fault delays it by. Ctrl-C comes meanwhile.
INTERRUPTED_LAUNCH = """
import os, signal, threading, time, numpy as np, weft
signal.signal(signal.SIGINT, signal.default_int_handler)
fab = weft.Fabric("sim:2", timeout=10)
fab._native.plan_fault(1, 0, "delay", 1.0)
heard = []
def other():
    time.sleep(0.2)
    try: fab.rank(1).all_reduce(np.ones((200, 2))[:, 0])
    except weft.Error as error: heard.append(type(error).__name__)
thread = threading.Thread(target=other)
thread.start()
threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT)).start()
data = np.ones(200)
try:
    fab.rank(0).all_reduce(data)
except KeyboardInterrupt:
    print("interrupted")
thread.join()
print(heard)
fab._native.plan_fault(-1, -1, "none")
fab.recover()
print(fab.all_reduce([np.ones(2), np.ones(2)])[0].tolist())
"""
INTERRUPTED_STAGED = """
import os, signal, threading, time, numpy as np, weft
signal.signal(signal.SIGINT, signal.default_int_handler)
fab = weft.Fabric("sim:2", timeout=30)
fab._native.plan_fault(1, 0, "delay", 20.0)
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
start = time.monotonic()
data = [np.ones((200, 2)) for _ in range(2)]
try:
    fab.all_reduce([array[:, 0] for array in data])
except KeyboardInterrupt:
    print(time.monotonic() - start < 10)
print(bool((data[0] == 1).all()))
fab._native.plan_fault(-1, -1, "none")
fab.recover()
print(fab.all_reduce([np.ones(2), np.ones(2)])[0].tolist())
"""


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (INTERRUPTED_LAUNCH, "interrupted\n['CollectiveAborted']\n[2.0, 2.0]\n"),
        (INTERRUPTED_STAGED, "True\nTrue\n[2.0, 2.0]\n"),
    ],
    ids=["that another rank is in", "on staged tensors"],
)
def test_ctrl_c_ends_a_launch(program, said):
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


class Unwilling:
    """Looks like a tensor until it is asked for its memory."""

    def __dlpack_device__(self):
        return (1, 0)

    def __dlpack__(self, **options):
        raise RuntimeError("not today")


REFUSED_CALLS = {
    "its __dlpack__ raises": (RuntimeError, lambda view: view.all_reduce(Unwilling())),
    "no op": (weft.InvalidArgument, lambda view: view.all_reduce(np.ones(2), 5)),
    "no such op": (weft.InvalidArgument, lambda view: view.all_reduce(np.ones(2), "xor")),
    "a bad timeout": (weft.InvalidArgument, lambda view: view.all_reduce(np.ones(2), timeout=-3)),
    "a bad stream": (weft.InvalidArgument, lambda view: view.all_reduce(np.ones(2), stream="x")),
    "half a bucket": (
        weft.InvalidArgument,
        lambda view: view.all_reduce([np.ones(2)], out=np.ones(2)),
    ),
    "nothing to gather": (weft.InvalidArgument, lambda view: view.all_gather(object())),
    "a bad dtype": (weft.DTypeMismatch, lambda view: view.all_reduce(np.ones(2, complex))),
    "an unknown option": (TypeError, lambda view: view.all_gather(np.ones(2), algo="ring")),
    "a bad barrier": (weft.InvalidArgument, lambda view: view.barrier(-1)),
}


@pytest.mark.stress
@pytest.mark.parametrize("why", REFUSED_CALLS)
def test_a_rank_that_is_refused_ends_the_others_calls_and_the_fabric_stays_usable(why):
    kind, refused = REFUSED_CALLS[why]
    others = weft.InvalidArgument if kind in (RuntimeError, TypeError) else kind
    with weft.Fabric("sim:3", timeout=20) as fab:
        start = time.monotonic()

        def work(rank: int) -> None:
            view = fab.rank(rank)
            refused(view) if rank == 1 else view.all_reduce(np.ones(2))

        errors = in_threads(3, work)
        assert time.monotonic() - start < 10
        assert sorted(type(error).__name__ for error in errors) == sorted(
            [kind.__name__, others.__name__, others.__name__]
        )
        assert all("rank 1: " in str(e) and e.rank == 1 for e in errors if type(e) is not kind)
        data = [np.ones(2) for _ in range(3)]

        def again(rank: int) -> None:
            fab.rank(rank).all_reduce(data[rank])

        assert in_threads(3, again) == []
        assert data[0].tolist() == [3, 3]


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

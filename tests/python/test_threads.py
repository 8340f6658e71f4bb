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

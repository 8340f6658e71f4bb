"""Section C, faults while a collective runs: the right error, the right culprit, in time; then
everything works again."""

from __future__ import annotations

import gc
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft
from python import matrix
from python.faults.calls import (
    COLLECTIVES,
    WAYS,
    Array,
    Memory,
    call,
    in_threads,
    listed,
    oracle,
    unchanged,
    works,
)
from python.faults.table import ROOT, checked, covered, does_not_apply

#: Seconds: a rank that only waits for a processor is not taken for one that stopped.
TIMEOUT = 0.4
#: Beyond a timeout, until the error is there; the C++ tests measure it on quiet machines.
GRACE = 5.0
ALGORITHMS = [a for a in matrix.ALGORITHMS["all_reduce"] if a != "auto"]


@contextmanager
def planned(
    fabric: weft.Fabric, rank: int, step: int, action: str, seconds: float = 0.0
) -> Iterator[None]:
    """A fault at a step of a rank, for the operations of the block."""
    fabric._native.plan_fault(rank, step, action, seconds)
    try:
        yield
    finally:
        fabric._native.plan_fault(-1, -1, "none")


def numbers(world: int, length: int = 500, dtype: Any = np.float64) -> list[Array]:
    return [np.full(length, rank + 1, dtype) for rank in range(world)]


def total(world: int) -> int:
    return world * (world + 1) // 2


def recovers(fabric: weft.Fabric, times: int = 3) -> None:
    fabric.recover()
    for _ in range(times):
        works(fabric)


def faults(fabric: weft.Fabric) -> Any:
    """The events of what did not end well, one a rank or one for a meeting."""
    array = fabric.events().array
    return array[array["status"] != "ok"]


@checked(
    "C-01",
    "a rank never comes",
    "CollectiveTimeout on every rank that came, names the absent; nothing was launched",
    cases=(2, 3, 4),
    stress=True,
)
def absent_rank(world: int) -> None:
    with weft.Fabric(f"sim:{world}", timeout=TIMEOUT) as fabric:
        for absent in range(world):
            fabric.reset_stats()
            data = numbers(world)
            ready = threading.Barrier(world - 1)

            def come(rank: int, absent: int = absent, data: Any = data, ready: Any = ready) -> None:
                if rank != absent:
                    ready.wait(30)
                    fabric.rank(rank).all_reduce(data[rank])

            began = time.monotonic()
            errors = in_threads(world, come)
            assert time.monotonic() - began < TIMEOUT + GRACE
            for rank, error in enumerate(errors):
                if rank != absent:
                    assert isinstance(error, weft.CollectiveTimeout)
                    assert absent in error.culprits
                    assert "nothing was launched" in str(error)
            assert fabric.stats()["operations"] == 0
            assert all((x == rank + 1).all() for rank, x in enumerate(data))
            recovers(fabric, 1)


@checked(
    "C-02",
    "a rank comes late, but in time",
    "success; the operation has taken as long as it was late",
)
def late_rank() -> None:
    with weft.Fabric("sim:3", timeout=30) as fabric:
        for late in range(3):
            fabric.reset_stats()
            data = numbers(3)

            def come(rank: int, late: int = late, data: Any = data) -> None:
                time.sleep(0.05 if rank == late else 0)
                fabric.rank(rank).all_reduce(data[rank])

            assert in_threads(3, come) == [None] * 3
            assert all((x == total(3)).all() for x in data)
            with planned(fabric, late, 1, "delay", 0.05):
                fabric.all_reduce(data, "max", algorithm="ring")
            assert fabric.stats()["host_seconds"] >= 0.05
            assert fabric.stats()["operations"] == 2


@checked(
    "C-03",
    "a rank comes just when the others' time is over",
    "one outcome for all ranks, whichever it is",
    stress=True,
)
def at_the_deadline() -> None:
    outcomes = set()
    with weft.Fabric("sim:2") as fabric:
        for turn in range(24):
            data = numbers(2)
            ready = threading.Barrier(2)
            wait = 0.05 + 0.0005 * (turn % 12 - 6)

            def come(rank: int, data: Any = data, ready: Any = ready, wait: float = wait) -> None:
                ready.wait(30)
                if rank == 1:
                    time.sleep(wait)
                fabric.rank(rank).all_reduce(data[rank], timeout=0.05)

            errors = in_threads(2, come)
            good = {error is None for error in errors}
            assert len(good) == 1, errors
            outcomes |= good
            if good == {True}:
                assert all((x == 3).all() for x in data)
            else:
                for error in errors:
                    assert isinstance(error, (weft.CollectiveTimeout, weft.FabricPoisoned))
                if "nothing was launched" in str(errors[0]):
                    assert all((x == rank + 1).all() for rank, x in enumerate(data))
            recovers(fabric, 1)
    assert outcomes  # which of them come up is the scheduler's affair


@checked(
    "C-04",
    "a rank stops at any step",
    "CollectiveTimeout that names it, then FabricPoisoned until recover()",
    cases=[2, pytest.param(3, marks=pytest.mark.slow), pytest.param(5, marks=pytest.mark.slow)],
)
def rank_that_stops(world: int) -> None:
    with weft.Fabric(f"sim:{world}", timeout=TIMEOUT) as fabric:
        for rank in range(world):
            for step in range(2 * world - 2):  # after the last of these it has done its part
                data = numbers(world)
                with planned(fabric, rank, step, "stop"):
                    began = time.monotonic()
                    with pytest.raises(weft.CollectiveTimeout) as caught:
                        fabric.all_reduce(data, algorithm="ring")
                    assert time.monotonic() - began < TIMEOUT + GRACE
                assert caught.value.culprits == (rank,), f"rank {rank} step {step}"
                with pytest.raises(weft.FabricPoisoned):
                    fabric.all_reduce(data)
                recovers(fabric, 1)


class Unwilling:
    """Raises when it is asked for its memory."""

    shape = (5,)

    def __dlpack__(self, **options: Any) -> Any:
        raise KeyError("not today")

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


@checked(
    "C-05",
    "the thread of a rank raises while its call is prepared",
    "it gets its own exception, the others hear of it at once, and nothing was launched",
    stress=True,
)
def rank_that_raises() -> None:
    memory = Memory()
    with weft.Fabric("sim:3", timeout=30) as fabric:
        for culprit in range(3):
            data = [memory.array((5,)) for _ in range(3)]

            def come(rank: int, culprit: int = culprit, data: Any = data) -> None:
                tensor = Unwilling() if rank == culprit else data[rank]
                fabric.rank(rank).all_reduce(tensor)

            errors = unchanged(fabric, memory, lambda come=come: in_threads(3, come))
            for rank, error in enumerate(errors):
                if rank == culprit:
                    assert isinstance(error, KeyError)
                else:
                    assert isinstance(error, weft.InvalidArgument)
                    assert re.search(rf"rank {culprit}: KeyError: .*not today", str(error))
                    assert error.rank == culprit


covered(
    "C-06",
    "the launch of one rank fails after others were launched",
    "the error names the rank, the others end, and nothing is left behind",
    ("tests/collectives/test_faults.cc",
     "a launch that fails on one rank ends the others, and leaves nothing behind"),
    ("tests/fabric/test_fabric.cc", "what a joint work enqueued before it failed is waited for"),
    ("tests/fabric/test_fabric.cc",
     "a launch that runs out of host memory is poisoned, and held until its works ended"),
)  # fmt: skip


@checked(
    "C-07",
    "ranks wait for one that stopped until their time is over",
    "all leave, one fault event a rank, and the streams are usable",
    cases=ALGORITHMS,
)
def timeout_while_waiting(algorithm: str) -> None:
    with weft.Fabric("sim:3", timeout=TIMEOUT) as fabric:
        out = numbers(3, 5000)
        with planned(fabric, 1, 0, "stop"):
            work = fabric.all_reduce(numbers(3, 5000), algorithm=algorithm, out=out, async_op=True)
            began = time.monotonic()
            with pytest.raises(weft.CollectiveTimeout) as caught:
                work.wait()
            assert time.monotonic() - began < TIMEOUT + GRACE
        assert caught.value.culprits == (1,)
        assert isinstance(work.exception(), weft.CollectiveTimeout)
        assert fabric.stats()["errors"] == {"CollectiveTimeout": 1}
        recovers(fabric)


@checked(
    "C-08",
    "abort() from other threads, several at once, at any step",
    "CollectiveAborted for whoever waits; again and again does no harm",
    stress=True,
)
def aborts() -> None:
    with weft.Fabric("sim:3", timeout=30) as fabric:
        for turn in range(12):
            with planned(fabric, turn % 3, turn % 4, "stop"):
                work = fabric.all_reduce(numbers(3, 5000), algorithm="ring", async_op=True)
                time.sleep(0.0005 * (turn % 4))
                assert in_threads(4, lambda _: [fabric.abort() for _ in range(20)]) == [None] * 4
                with pytest.raises(weft.CollectiveAborted):
                    work.wait(20)
            recovers(fabric, 1)


@checked(
    "C-09",
    "abort() while the operation ends",
    "one outcome for all ranks, and a success is whole",
    stress=True,
)
def abort_races() -> None:
    with weft.Fabric("sim:3", timeout=30) as fabric:
        for turn in range(20):
            data = numbers(3, 3000)
            ready = threading.Barrier(4)

            def come(index: int, data: Any = data, ready: Any = ready, turn: int = turn) -> None:
                ready.wait(30)
                if index < 3:
                    fabric.rank(index).all_reduce(data[index])
                else:
                    time.sleep(0.0002 * (turn % 10))
                    fabric.abort()

            errors = in_threads(4, come)[:3]
            assert len({error is None for error in errors}) == 1, errors
            if errors[0] is None:
                assert all((x == 6).all() for x in data)
            for error in errors:
                assert error is None or isinstance(
                    error, (weft.CollectiveAborted, weft.FabricPoisoned)
                )
            recovers(fabric, 1)


@checked(
    "C-10",
    "a call on a fabric that had a fault",
    "FabricPoisoned at once, says why; nothing changes",
    cases=COLLECTIVES,
)
def poisoned(name: str) -> None:
    made = call(name)
    with weft.Fabric("sim:3", timeout=30) as fabric:
        works(fabric)
        fabric.abort()
        before = made.memory.contents(), fabric.stats(), fabric.events().next_seq
        began = time.monotonic()
        for way in WAYS:
            for error in way(fabric, made):
                assert type(error) is weft.FabricPoisoned
                assert "abort() was called" in str(error)
        for extra in (fabric.barrier, fabric.check):
            with pytest.raises(weft.FabricPoisoned, match=r"recover\(\)"):
                extra()
        assert time.monotonic() - began < GRACE
        assert before == (made.memory.contents(), fabric.stats(), fabric.events().next_seq)
        recovers(fabric)


def resources() -> tuple[int, int]:
    """Threads and descriptors of the process."""
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


def back_to(before: tuple[int, int]) -> bool:
    """Whether no more is in use; a thread that ended is listed for a moment longer."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if all(now <= then for now, then in zip(resources(), before, strict=True)):
            return True
        time.sleep(0.01)
    return False


def fault_stop(fabric: weft.Fabric) -> None:
    with planned(fabric, 1, 1, "stop"), pytest.raises(weft.CollectiveTimeout):
        fabric.all_reduce(numbers(3), algorithm="ring", timeout=TIMEOUT)


def fault_absent(fabric: weft.Fabric) -> None:
    with pytest.raises(weft.CollectiveTimeout):
        fabric.rank(2).all_reduce(np.ones(3), timeout=0.05)


def fault_abort(fabric: weft.Fabric) -> None:
    with planned(fabric, 0, 1, "delay", 0.2):
        work = fabric.all_reduce(numbers(3), algorithm="ring", async_op=True)
        fabric.abort()
        with pytest.raises(weft.CollectiveAborted):
            work.wait(20)


def fault_raises(fabric: weft.Fabric) -> None:
    with pytest.raises(KeyError):
        fabric.rank(0).all_reduce(Unwilling())
    for rank in (1, 2):
        with pytest.raises(weft.InvalidArgument):
            fabric.rank(rank).all_reduce(np.ones(3))


@checked(
    "C-11",
    "recover() after each kind of fault",
    "100 collectives with the right bits, and no thread or descriptor more",
    cases=(fault_stop, fault_absent, fault_abort, fault_raises),
)
def recover_after(fault: Callable[[weft.Fabric], None]) -> None:
    weft.Fabric("sim:3").close()  # what is loaded at first use is
    gc.collect()
    before = resources()
    with weft.Fabric("sim:3", timeout=30) as fabric:
        fault(fabric)
        recovers(fabric, 100)
    assert back_to(before), f"{resources()} and not {before}"


@checked(
    "C-12",
    "abort() twice, recover() without a fault, recover() while an operation runs",
    "once is as good as twice; nothing happens; the operation ends as ever",
)
def twice() -> None:
    with weft.Fabric("sim:3", timeout=30) as fabric:
        fabric.recover()
        fabric.abort()
        fabric.abort()
        fabric.recover()
        fabric.recover()
        data = numbers(3)
        with planned(fabric, 1, 1, "delay", 0.1):
            work = fabric.all_reduce(data, algorithm="ring", async_op=True)
            fabric.recover()
            work.wait(20)
        assert all((x == 6).all() for x in data)
        works(fabric)


@checked(
    "C-13",
    "close() while an operation runs",
    "waits for it, at most the timeout; then it is aborted and its error kept",
)
def closed_in_flight() -> None:
    fabric = weft.Fabric("sim:3", timeout=30)
    data = numbers(3)
    with planned(fabric, 1, 1, "delay", 0.1):
        work = fabric.all_reduce(data, algorithm="ring", async_op=True)
        fabric.close()
    assert work.done()
    assert work.exception() is None
    assert all((x == 6).all() for x in data)
    stuck = weft.Fabric("sim:3", timeout=TIMEOUT)
    stuck._native.plan_fault(1, 0, "stop")
    work = stuck.all_reduce(numbers(3), algorithm="ring", timeout=60, async_op=True)
    began = time.monotonic()
    stuck.close()
    assert time.monotonic() - began < TIMEOUT + GRACE
    assert isinstance(work.exception(), weft.Error)


covered(
    "C-14",
    "more blocks than a device can hold at once",
    "CoResidencyError before any launch, or fewer blocks",
    ("tests/gpu/test_faults.py", "test_too_many_ranks_for_a_device_are_refused_or_run"),
)
covered(
    "C-15",
    "another kernel occupies the device",
    "the collective begins when it has ended, and waits from then on",
    ("tests/gpu/test_streams.py", "test_a_collective_follows_its_stream_and_is_followed"),
    ("tests/fabric/test_signal.cc",
     "the deadline counts from the first wait, not from the start of the operation"),
)  # fmt: skip
covered(
    "C-16",
    "streams that wait for each other: the default stream, one connection",
    "no deadlock: the operations then run on streams of the fabric's own",
    ("tests/fabric/test_captures.cc",
     "ranks of one device go onto their caller's streams only if these never wait"),
    ("tests/gpu/test_ordering.py",
     "test_streams_of_one_device_that_wait_for_each_other_are_no_deadlock"),
    ("tests/gpu/test_all_reduce.py", "test_the_default_stream_orders_torch_and_weft"),
)  # fmt: skip


@checked(
    "C-17",
    "several threads call one fabric at once",
    "one after the other: every call has its own result",
    stress=True,
)
def calls_at_once() -> None:
    with weft.Fabric("sim:3", timeout=60) as fabric:

        def work(index: int) -> None:
            for turn in range(8):
                made = call(COLLECTIVES[(index + turn) % len(COLLECTIVES)], rows=20 + index)
                assert listed(fabric, made) == [None]
                want = oracle(made)
                for rank in made.getters:
                    assert made.get("outputs", rank).tobytes() == want[rank].tobytes()

        assert in_threads(6, work) == [None] * 6
        assert fabric.stats()["operations"] == 48


@checked(
    "C-18",
    "two fabrics on the same devices, called in opposite orders",
    "each has its own streams: no deadlock, and exact results",
    stress=True,
)
def two_fabrics() -> None:
    with (
        weft.Fabric(["sim:0", "sim:1", "sim:2"], timeout=60) as one,
        weft.Fabric(["sim:2", "sim:1", "sim:0"], timeout=60) as other,
    ):

        def work(index: int) -> None:
            for _ in range(15):
                for fabric in (one, other) if index % 2 else (other, one):
                    works(fabric)

        assert in_threads(4, work) == [None] * 4


covered(
    "C-19",
    "counters that pass 2^32",
    "exact before, at and after it, under every algorithm",
    ("tests/collectives/test_algorithms.cc",
     "algorithms follow each other in any order, through the 2^32 wrap of all counts"),
    ("tests/collectives/test_all_reduce.cc", "counts run through the 2^32 wrap"),
    ("tests/fabric/test_signal.cc", "a wait across the 2^32 wrap"),
)  # fmt: skip


@checked(
    "C-20",
    "operations back to back on the same buffers, no rank in step with another",
    "exact",
    cases=ALGORITHMS,
)
def back_to_back(algorithm: str) -> None:
    rng = np.random.default_rng(3)
    with weft.Fabric("sim:3", timeout=60) as fabric:
        data = [np.full(700, float(rank)) for rank in range(3)]
        works_under_way = []
        for turn in range(60):
            rank, step = int(rng.integers(3)), int(rng.integers(3))
            fabric._native.plan_fault(rank, step, "delay", float(rng.uniform(0, 0.0005)))
            out = None if algorithm != "one_shot_pull" else data[::-1]
            if out is not None:
                out = [x.copy() for x in data]
            works_under_way.append(
                fabric.all_reduce(data, "avg" if turn else "sum", algorithm=algorithm, out=out,
                                  async_op=True)
            )  # fmt: skip
            data = works_under_way[-1].outputs
            if out is not None:
                works_under_way[-1].wait(30)
        fabric._native.plan_fault(-1, -1, "none")
        for work in works_under_way:
            work.wait(30)
        assert all((x == 3).all() for x in data)


@checked(
    "C-21",
    "length, dtype, op, algorithm and collective change from call to call",
    "exact, each of them",
)
def ever_changing() -> None:
    dtypes = st.sampled_from(["int8", "int32", "int64"])
    calls = st.tuples(st.sampled_from(COLLECTIVES), st.integers(0, 3000), dtypes)

    @settings(max_examples=12, deadline=None)
    @given(st.integers(2, 5), st.lists(calls, min_size=5, max_size=25))
    def check(world: int, made_of: list[tuple[str, int, str]]) -> None:
        with weft.Fabric(f"sim:{world}", timeout=60) as fabric:
            for name, rows, dtype in made_of:
                made = call(name, world, rows, dtype=dtype)
                want = oracle(made)
                assert listed(fabric, made) == [None]
                for rank in made.getters:
                    assert made.get("outputs", rank).tobytes() == want[rank].tobytes()

    check()


@checked(
    "C-22",
    "the handle of an operation is dropped",
    "it ends all the same, or the next call says that it did not",
)
def dropped_handle() -> None:
    with weft.Fabric("sim:3", timeout=TIMEOUT) as fabric:
        data = numbers(3)
        with planned(fabric, 1, 1, "delay", 0.05):
            fabric.all_reduce(data, algorithm="ring", async_op=True)
            gc.collect()
            fabric.settle()
        assert all((x == 6).all() for x in data)
        with planned(fabric, 1, 0, "stop"):
            fabric.all_reduce(numbers(3), algorithm="ring", async_op=True)
            gc.collect()
            deadline = time.monotonic() + 30
            while fabric.stats()["failed"] == 0:  # somebody finds out, though nobody asks
                assert time.monotonic() < deadline
                time.sleep(0.01)
        with pytest.raises(weft.FabricPoisoned, match="rank 1"):
            fabric.check()
        recovers(fabric)


@checked(
    "C-23",
    "tensors are let go of while the operation runs",
    "their memory is not used for anything else before it has ended",
)
def freed_in_flight() -> None:
    with weft.Fabric("sim:3", timeout=30) as fabric:
        for host in (True, False):

            def make(rank: int, host: bool = host) -> Any:
                where = "cpu" if host else f"sim:{rank}"
                return weft.full((5000,), rank + 1, dtype="int64", device=where)

            with planned(fabric, 1, 0, "delay", 0.1):
                fabric.all_reduce([make(rank) for rank in range(3)], algorithm="ring",
                                  async_op=True)  # fmt: skip
                gc.collect()
                canaries = [make(rank) for _ in range(20) for rank in range(3)]
                fabric.settle()
            for index, canary in enumerate(canaries):
                assert (canary.numpy() == index % 3 + 1).all()
        works(fabric)


@checked(
    "C-24",
    "the clock of the host is set",
    "waits and deadlines go by a clock that is never set",
)
def clocks() -> None:
    set_by_others = re.compile(
        r"system_clock|CLOCK_REALTIME|gettimeofday|high_resolution_clock|\btime\.time\(|\btime\(nullptr"
    )
    read = 0
    for folder, endings in (
        ("core", (".h", ".cc")), ("fabric", (".h", ".cc")), ("collectives", (".h", ".cc")),
        ("topology", (".h", ".cc")), ("python/bind", (".h", ".cc")), ("python/weft", (".py",)),
    ):  # fmt: skip
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in endings and path.is_file():
                text = path.read_text(encoding="utf-8")
                assert not set_by_others.search(text), path
                read += 1
    assert read > 100
    assert "steady_clock" in (ROOT / "core/base/clock.h").read_text()


does_not_apply(
    "C-25",
    "a bit flips on the way",
    "an error that names the hop, where checks are asked for",
    "There are no checksums of data under way: links are tried when a fabric is opened, not after.",
)
does_not_apply(
    "C-26",
    "a kernel is loaded while another waits",
    "no hang in a process that has run nothing yet",
    "Simulated executors load nothing; on GPUs every kernel is loaded when the fabric opens.",
)

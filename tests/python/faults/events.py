"""Section E, events, statistics and configuration."""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft
from python.faults.calls import call, in_threads, listed, works
from python.faults.process import program
from python.faults.runtime import TIMEOUT, fault_abort, fault_absent, numbers, planned
from python.faults.table import checked, covered, does_not_apply
from python.faults.world import in_process
from weft import events as events_module

CAPACITY = 65_536


def whole(snapshot: weft.Events) -> None:
    """No event is missing, doubled or torn."""
    array = snapshot.array
    assert len(array) == snapshot.next_seq - snapshot.base_seq
    assert len(array) == snapshot.next_seq - snapshot.dropped_total
    assert array["seq"].tolist() == list(range(snapshot.base_seq, snapshot.next_seq))
    assert set(array["kind"]) <= set(events_module.KINDS)
    assert (snapshot.operations["rank"] >= 0).all()
    assert (array["t_launch_ns"] <= array["t_end_ns"]).all()


@checked(
    "E-01",
    "more events than there is room for",
    "what was recorded is what is kept and what was dropped, exactly, always",
)
def overflow() -> None:
    with weft.Fabric("sim:64") as fabric:
        nothing = [weft.zeros(0, device=device) for device in fabric.devices]
        for operations in range(1, CAPACITY // 64 + 21):
            fabric.all_reduce(nothing)
            if operations % 128 and operations <= CAPACITY // 64:
                continue
            snapshot = fabric.events()
            assert snapshot.capacity == CAPACITY
            stats = fabric.stats()
            assert stats["events_recorded"] == snapshot.next_seq
            assert stats["events_dropped"] == snapshot.dropped_total
            assert snapshot.dropped_total == max(0, snapshot.next_seq - CAPACITY)
            whole(snapshot)
            if not snapshot.dropped_total:
                assert len(snapshot.operations) == 64 * operations
        assert snapshot.dropped_total >= 20 * 64


@checked(
    "E-02",
    "a snapshot while operations record events",
    "whole, in order, and never behind an earlier one",
    stress=True,
)
def snapshots_in_traffic() -> None:
    with weft.Fabric("sim:3", timeout=60) as fabric:
        over = threading.Event()

        def work(index: int) -> None:
            if index < 3:
                for _ in range(40):
                    works(fabric)
                over.set()
                return
            last = 0
            while not over.is_set():
                snapshot = fabric.events()
                whole(snapshot)
                assert snapshot.next_seq >= last
                last = snapshot.next_seq

        assert in_threads(5, work) == [None] * 5
        assert len(fabric.events().operations) == 3 * 40 * 3


covered(
    "E-03",
    "a reader that is slower than a whole lap of the writers",
    "what it missed is counted; nothing doubled, nothing torn",
    ("tests/core/base/test_event_ring.cc",
     "16 writers of 100,000 events and 2 readers: nothing torn, lost or counted twice"),
    ("tests/core/base/test_event_ring.cc",
     "writers that lap one another, with a reader, many times over"),
    ("tests/core/base/test_event_ring.cc", "the oldest events are dropped, and counted exactly"),
)  # fmt: skip


@checked(
    "E-04",
    "no memory for a snapshot",
    "OutOfMemory, a MemoryError; the events are still there",
)
def no_room_for_a_snapshot() -> None:
    program("""
        import resource
        with weft.Fabric("sim:64") as fab:
            data = [np.ones(1) for _ in range(64)]
            for _ in range(600):
                fab.all_reduce(data, "max")
            before = fab.events().next_seq
            used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 20), -1))
            try:
                fab._native.events()
            except MemoryError as error:
                assert isinstance(error, weft.OutOfMemory) and error.code == "out_of_memory"
            else:
                raise AssertionError("there was room")
            resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
            events = fab.events()
            assert events.next_seq == before == len(events)
            assert len(events.operations) == 600 * 64
    """)


does_not_apply(
    "E-05",
    "a capacity of 0, of 1, of no power of two, of 2^40",
    "an error, or as asked for",
    "The capacity is 65,536 events, as documented, and cannot be chosen.",
)
does_not_apply(
    "E-06",
    "recording is switched on and off while operations run",
    "no count is lost",
    "WEFT_EVENTS is read once; while a fabric is open its events cannot be switched off.",
)


@checked(
    "E-07",
    "statistics are reset while operations run",
    "every reading agrees with itself: totals are the sums of their kinds",
    stress=True,
)
def reset_in_traffic() -> None:
    with weft.Fabric("sim:3", timeout=60) as fabric:
        over = threading.Event()

        def work(index: int) -> None:
            if index < 2:
                for _ in range(60):
                    works(fabric)
                over.set()
                return
            while not over.is_set():
                stats = fabric.stats()
                kinds = stats["kinds"]
                assert stats["operations"] == sum(row["operations"] for row in kinds)
                assert stats["bytes"] == sum(row["bytes"] for row in kinds)
                assert set(stats["ranks"]) == {stats["operations"]}
                if index == 2:
                    fabric.reset_stats()

        assert in_threads(4, work) == [None] * 4
        fabric.reset_stats()
        assert fabric.stats()["operations"] == 0
        works(fabric)
        assert fabric.stats()["operations"] == 1


does_not_apply(
    "E-08",
    "counters near 2^63",
    "they stop or wrap, as documented",
    "Totals only count up, from 0: at 1 TB/s those of bytes last for 100 days, and can be reset.",
)

#: Bytes from rank to rank that a collective by one_shot of 3 ranks sends, in parts of 8 elements.
LINKS = {
    "all_gather": {(a, b): 1 for a in range(3) for b in range(3) if a != b},
    "all_to_all": {(a, b): 1 for a in range(3) for b in range(3) if a != b},
    "broadcast": {(1, 0): 1, (1, 2): 1},
    "scatter": {(1, 0): 1, (1, 2): 1},
    "gather": {(0, 1): 1, (2, 1): 1},
    "send_recv": {(0, 1): 1, (1, 2): 1, (2, 0): 1},
}


@checked(
    "E-09",
    "statistics beside what is counted elsewhere, failures included",
    "operations, bytes, and bytes of every link are those that were sent",
)
def stats_are_true() -> None:
    steps = st.tuples(st.sampled_from(sorted(LINKS)), st.sampled_from(["ok", "refused", "empty"]))

    @settings(max_examples=12, deadline=None)
    @given(st.lists(steps, min_size=1, max_size=12))
    def check(chosen: list[tuple[str, str]]) -> None:
        links: dict[str, int] = {}
        counts = {"ok": 0, "refused": 0, "empty": 0}
        with weft.Fabric("sim:3", timeout=TIMEOUT) as fabric:
            for name, what in chosen:
                made = call(name, rows=0 if what == "empty" else 8)
                made.arguments["algorithm"] = "one_shot"
                if what == "refused":
                    made.put("outputs", 1, made.memory.array((5,)))
                (error,) = listed(fabric, made)
                assert (error is None) == (what != "refused")
                counts[what] += 1
                for (a, b), parts in LINKS[name].items() if what == "ok" else ():
                    links[f"{a}->{b}"] = links.get(f"{a}->{b}", 0) + parts * 8 * 8
            stats = fabric.stats()
            assert stats["links"] == links
            assert stats["operations"] == counts["ok"] + counts["empty"]
            assert (stats["empty"], stats["failed"]) == (counts["empty"], 0)
            assert stats["ranks"] == [stats["operations"]] * 3
            ended = fabric.events().operations
            assert stats["bytes"] == int(ended["bytes"][ended["rank"] == 0].sum())

    check()
    with weft.Fabric("sim:3", timeout=TIMEOUT) as fabric:
        works(fabric)
        with planned(fabric, 1, 0, "stop"), pytest.raises(weft.CollectiveTimeout):
            fabric.all_reduce(numbers(3))
        fabric.recover()
        fault_absent(fabric)
        stats = fabric.stats()
        assert (stats["operations"], stats["failed"]) == (1, 2)
        assert stats["errors"] == {"CollectiveTimeout": 2}


@checked(
    "E-10",
    "a collective fails",
    "one failure, one failed event a rank (or one for a meeting), with the culprit, at once",
    cases=("a rank stops", "a rank is absent", "abort"),
)
def events_of_faults(what: str) -> None:
    with weft.Fabric("sim:3", timeout=TIMEOUT) as fabric:
        works(fabric)
        if what == "a rank stops":
            with planned(fabric, 2, 0, "stop"), pytest.raises(weft.CollectiveTimeout):
                fabric.all_reduce(numbers(3))
        elif what == "a rank is absent":
            with pytest.raises(weft.CollectiveTimeout):
                fabric.rank(0).all_reduce(np.ones(3), timeout=0.05)
        else:
            fault_abort(fabric)
        array = fabric.events().array
        failed = array[array["status"] == "failed"]
        assert fabric.stats()["failed"] == 1
        if what == "a rank is absent":
            assert failed["kind"].tolist() == ["fault"]
            assert failed["culprit"].tolist() == [1]
        else:
            assert failed["rank"].tolist() == [0, 1, 2]
            assert len(set(failed["op_id"].tolist())) == 1
            assert set(failed["culprit"].tolist()) == {2 if what == "a rank stops" else -1}
        fabric.recover()
        works(fabric)
        assert fabric.stats()["failed"] == 1


GARBAGE = ("abc", "-1", "0x10", " 5 ", "nan", "1e400", "é", "x" * 100_000)


def variables() -> list[dict[str, Any]]:
    return list(weft._weft.config())


@checked(
    "E-11",
    "a variable of the environment holds what it cannot mean",
    "ConfigError, when it is first used, that names variable, value and what is allowed",
    cases=[row["name"] for row in variables()],
)
def garbage(name: str) -> None:
    default = next(row for row in variables() if row["name"] == name)["default"]
    code = (
        "import sys, json, weft\n"
        "try:\n"
        "    weft.Fabric().close()\n"
        "except weft.ConfigError as error:\n"
        "    print(json.dumps(['ConfigError', str(error)]))\n"
        "except (weft.Error, OSError) as error:\n"
        "    print(json.dumps([type(error).__name__, str(error)]))\n"
        "else:\n"
        "    print(json.dumps(['taken', '']))"
    )
    for value in GARBAGE if not isinstance(default, str) else ("abc", "-1", "x" * 1000, "é"):
        done = in_process(code, **{"WEFT_DEVICES": "sim:2", name: value})
        assert done.returncode == 0, done.stderr
        kind, message = json.loads(done.stdout)
        if name in ("WEFT_DUMP", "WEFT_STATS"):  # any text is a folder
            assert kind in ("taken", "OSError", "FileNotFoundError"), (value[:20], message)
            continue
        assert kind == "ConfigError", (value[:20], kind, message)
        assert message.startswith(f"{name} is '{value[:10]}"), message[:100]
        assert "must be" in message or ":" in message
    unset = in_process(code, **{"WEFT_DEVICES": "sim:2", name: ""})
    assert json.loads(unset.stdout)[0] == "taken"


@checked(
    "E-12",
    "a variable that is none: a misspelling",
    "one warning, with the nearest name; everything works",
)
def misspelt() -> None:
    for name in (row["name"] for row in variables()):
        wrong = name[:-1] + ("Z" if name[-1] != "Z" else "Y")
        code = "import weft\nfrom weft import fabric, graph\nweft.Fabric('sim:2').close()"
        done = in_process(code, **{wrong: "1"})
        assert done.returncode == 0
        assert done.stderr.count("Warning") == 1, done.stderr
        assert f"unknown environment variable {wrong}; did you mean WEFT_" in done.stderr


@checked(
    "E-13",
    "a variable changes after it was read",
    "nothing changes: variables are read once, as documented",
)
def changed_later() -> None:
    said = program("""
        first = weft.Fabric("sim:2", timeout=5)
        os.environ.update(WEFT_TIMEOUT="garbage", WEFT_DEVICES="sim:7", WEFT_EVENTS="0",
                          WEFT_SIM_TOPOLOGY="toaster", WEFT_DUMP="/no/such/folder",
                          WEFT_STATS="/no/such/folder")
        with weft.Fabric() as fab:
            works(fab)
            print(fab.size, len(fab.events().operations), fab._dumper)
        works(first)
    """, WEFT_DEVICES="sim:3")  # fmt: skip
    assert said == "3 3 None\n"

"""Traces of single chunks on simulated devices: what they hold, for every algorithm."""

from __future__ import annotations

import collections
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft
from weft import chunks

ALGORITHMS = (
    "ring", "ll", "lamport", "one_shot", "one_shot_pull", "two_shot", "push_two_shot",
    "copy_engine", "halving_doubling", "hierarchical",
)  # fmt: skip
PULLS = ("one_shot_pull", "two_shot", "copy_engine")
RANKS = (2, 3, 4, 6)


def traced(
    path: Path, ranks: int, algorithm: str, elements: int = 300_000, calls: int = 2
) -> tuple[dict[str, Any], dict[str, int]]:
    """The trace of some calls, and the bytes of every link that `stats()` counted for them."""
    with weft.Fabric(f"sim:{ranks}") as fabric:
        data = [np.ones(elements, np.float32) for _ in range(ranks)]
        out = [np.empty_like(x) for x in data]
        with fabric.trace(path, detail="chunks"):
            for _ in range(calls):
                fabric.all_reduce(data, out=out, algorithm=algorithm)
        links = fabric.stats()["links"]
    return json.loads(path.read_text()), links


def of_clock(document: dict[str, Any], clock: str) -> list[dict[str, Any]]:
    return [
        event
        for event in document["traceEvents"]
        if event.get("cat") == "chunk" and event["args"]["clock"] == clock
    ]


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_trace_obeys_the_format(tmp_path: Path, algorithm: str, ranks: int) -> None:
    """Slices of a track do not overlap, arrows have two ends and go forward, tracks have names."""
    document, _ = traced(tmp_path / "t.json", ranks, algorithm)
    events = document["traceEvents"]
    tracks = collections.defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            assert event["dur"] >= 0
            tracks[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    names = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"}
    assert set(tracks) <= names
    for slices in tracks.values():
        slices.sort()
        for (_, end), (begin, _) in itertools.pairwise(slices):
            assert begin >= end - 1e-6  # microseconds: rounding of doubles
    starts = {e["id"]: e for e in events if e["ph"] == "s"}
    ends = {e["id"]: e for e in events if e["ph"] == "f"}
    assert starts
    assert starts.keys() == ends.keys()
    assert len(starts) + len(ends) == sum(e["ph"] in "sf" for e in events)
    for number, begin in starts.items():
        assert begin["pid"] != ends[number]["pid"]
        # Seen as soon as it is published, which may be before the sender's own stamp: a little.
        early = 1000 if number.startswith("host") else 1e-3
        assert begin["ts"] <= ends[number]["ts"] + early


@pytest.mark.parametrize("clock", ["host", "predicted"])
@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("algorithm", [a for a in ALGORITHMS if a not in PULLS])
def test_pushed_bytes_are_those_of_the_statistics(
    tmp_path: Path, algorithm: str, ranks: int, clock: str
) -> None:
    document, links = traced(tmp_path / "t.json", ranks, algorithm)
    pushed: collections.Counter[str] = collections.Counter()
    for event in of_clock(document, clock):
        said = event["args"]
        if event["name"] == "move" and said["to"] >= 0:
            pushed[f"{event['pid']}->{said['to']}"] += said["bytes"]
    assert {link: count for link, count in pushed.items() if count} == links


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_predicted_timeline_ends_when_the_operation_is_predicted_to(
    tmp_path: Path, algorithm: str
) -> None:
    with weft.Fabric("sim:4") as fabric:
        data = [np.ones(100_000, np.float32) for _ in range(4)]
        out = [np.empty_like(x) for x in data]
        with fabric.trace(tmp_path / "t.json", detail="chunks"):
            fabric.all_reduce(data, out=out, algorithm=algorithm)
        seconds = fabric.stats()["seconds"]
    drawn = of_clock(json.loads((tmp_path / "t.json").read_text()), "predicted")
    begin = min(event["ts"] for event in drawn)
    end = max(event["ts"] + event["dur"] for event in drawn)
    assert end - begin == pytest.approx(seconds * 1e6, rel=0.05, abs=1.5)


@pytest.mark.parametrize("late", range(4))
def test_a_delay_is_a_gap_of_the_rank_that_is_late(tmp_path: Path, late: int) -> None:
    with weft.Fabric("sim:4") as fabric:
        data = [np.ones(10_000, np.float32) for _ in range(4)]
        fabric.all_reduce(data, algorithm="ring")
        fabric._native.plan_fault(late, 2, "delay", 0.05)
        with fabric.trace(tmp_path / "t.json", detail="chunks"):
            fabric.all_reduce(data, algorithm="ring")
        fabric._native.plan_fault(-1, -1, "none")
    gaps: dict[int, float] = {}
    for rank in range(4):
        own = [
            (event["ts"], event["ts"] + event["dur"])
            for event in of_clock(json.loads((tmp_path / "t.json").read_text()), "host")
            if event["pid"] == rank
        ]
        own.sort()
        gaps[rank] = max(b - end for (_, end), (b, _) in itertools.pairwise(own))
    assert gaps[late] >= 50_000
    assert all(gap < 40_000 for rank, gap in gaps.items() if rank != late)


def test_records_are_taken_only_inside_the_block(tmp_path: Path) -> None:
    with weft.Fabric("sim:2") as fabric:
        data = [np.ones(1000, np.float32) for _ in range(2)]
        assert fabric._native.stop_chunks()["records"] == b""
        fabric.all_reduce(data)
        for calls in (3, 1):
            with fabric.trace(tmp_path / "t.json", detail="chunks"):
                for _ in range(calls):
                    fabric.all_reduce(data)
            fabric.all_reduce(data)
            document = json.loads((tmp_path / "t.json").read_text())
            operations = {event["args"]["op_id"] for event in of_clock(document, "host")}
            assert len(operations) == calls
            assert document["otherData"]["chunks_dropped"] == 0
        fabric.all_reduce(data)
        assert fabric._native.stop_chunks()["records"] == b""


def test_a_body_that_raises_leaves_a_trace_and_no_log(tmp_path: Path) -> None:
    with weft.Fabric("sim:2", timeout=0.2) as fabric:
        data = [np.ones(1000, np.float32) for _ in range(2)]
        fabric._native.plan_fault(0, 1, "stop")
        with (
            pytest.raises(weft.CollectiveTimeout),
            fabric.trace(tmp_path / "t.json", detail="chunks"),
        ):
            fabric.all_reduce(data, algorithm="ring")
        fabric._native.plan_fault(-1, -1, "none")
        document = json.loads((tmp_path / "t.json").read_text())
        ranks = {event["pid"] for event in of_clock(document, "host")}
        assert ranks == {0, 1}  # what was done before the fault
        fabric.recover()
        fabric.all_reduce(data)
        assert fabric._native.stop_chunks()["records"] == b""


def test_records_have_64_bytes() -> None:
    assert chunks.RECORD.itemsize == 64
    with pytest.raises(ValueError, match=r"multiple|buffer"):
        chunks.decode(b"12345")

"""Traces of chunks by the ring's kernels: whole, in order, on the host's clock."""

from __future__ import annotations

import collections
import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest

import weft
from gpu.support import synchronize, torch

SPECS = ["cuda:0x2", "cuda:0x3", pytest.param("cuda:0,1", marks=pytest.mark.gpu2)]
pytestmark = pytest.mark.gpu1


def rooms_on(fabric: weft.Fabric, elements: int, offset: int = 0) -> list[Any]:
    return [torch.ones(elements + offset, device=d)[offset:] for d in fabric.devices]


def chunks_of(path: Path) -> list[dict[str, Any]]:
    events = json.loads(path.read_text())["traceEvents"]
    return [event for event in events if event.get("cat") == "chunk"]


@pytest.mark.parametrize("offset", [0, 1], ids=["bulk", "simple"])
@pytest.mark.parametrize("elements", [1, 3000, 2_000_001])
@pytest.mark.parametrize("spec", SPECS)
def test_every_piece_is_there_once(spec: str, elements: int, offset: int, tmp_path: Path) -> None:
    with weft.Fabric(spec) as fabric:
        rooms = rooms_on(fabric, elements, offset)
        fabric.all_reduce(rooms, algorithm="ring")
        fabric.settle()
        fabric.reset_stats()
        before = time.monotonic_ns()
        with fabric.trace(tmp_path / "t.json", detail="chunks"):
            for _ in range(3):
                fabric.all_reduce(rooms, algorithm="ring")
        took = (time.monotonic_ns() - before) / 1e3
        links = fabric.stats()["links"]
        document = json.loads((tmp_path / "t.json").read_text())
    assert document["otherData"]["chunks_dropped"] == 0
    assert document["otherData"]["chunks_clock"] == "device"
    assert 0 < document["otherData"]["chunks_residual_ns"] < 50_000
    pushed: collections.Counter[str] = collections.Counter()
    tracks = collections.defaultdict(list)
    for event in document["traceEvents"]:
        if event.get("cat") != "chunk":
            continue
        said = event["args"]
        tracks[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
        assert -50 <= event["ts"] <= event["ts"] + event["dur"] <= took
        if event["name"] == "move" and said["to"] >= 0:
            pushed[f"{event['pid']}->{said['to']}"] += said["bytes"]
    assert pushed == links
    for slices in tracks.values():
        slices.sort()
        for (_, end), (begin, _) in itertools.pairwise(slices):
            assert begin >= end - 1e-3
    starts = {e["id"]: e for e in document["traceEvents"] if e["ph"] == "s"}
    ends = {e["id"]: e for e in document["traceEvents"] if e["ph"] == "f"}
    assert starts.keys() == ends.keys()
    assert starts or elements == 1
    early = 2 * document["otherData"]["chunks_residual_ns"] / 1e3 + 10
    for number, begin in starts.items():
        assert begin["ts"] <= ends[number]["ts"] + early


@pytest.mark.parametrize("late", [0, 1])
@pytest.mark.parametrize("spec", ["cuda:0x2", pytest.param("cuda:0,1", marks=pytest.mark.gpu2)])
def test_a_delay_is_seen_where_it_is(spec: str, late: int, tmp_path: Path) -> None:
    """Two milliseconds before step 0: the peer waits; the late rank does not, its move is long."""
    with weft.Fabric(spec) as fabric:
        rooms = rooms_on(fabric, 30_000)
        fabric.all_reduce(rooms, algorithm="ring")
        synchronize(fabric)
        fabric._native.plan_fault(late, 0, "delay", 0.002)
        with fabric.trace(tmp_path / "t.json", detail="chunks"):
            fabric.all_reduce(rooms, algorithm="ring")
        fabric._native.plan_fault(-1, -1, "none")
    longest: collections.Counter[tuple[int, str]] = collections.Counter()
    for event in chunks_of(tmp_path / "t.json"):
        place = event["pid"], event["name"]
        longest[place] = max(longest[place], event["dur"])
    assert longest[late, "move"] > 1500
    assert longest[1 - late, "wait"] > 1500
    assert longest[1 - late, "move"] < 1000
    assert longest[late, "wait"] < 1000


def test_replays_of_what_was_captured_inside_are_recorded_too(tmp_path: Path) -> None:
    with weft.Fabric("cuda:0x2") as fabric:
        rooms = rooms_on(fabric, 100_000)
        with fabric.trace(tmp_path / "t.json", detail="chunks"):
            graph = weft.Graph()
            with graph.capture(fabric):
                fabric.all_reduce(rooms, algorithm="ring")
            for _ in range(4):
                graph.replay()
            synchronize(fabric)
        drawn = [e for e in chunks_of(tmp_path / "t.json") if e["name"] == "move"]
        each = collections.Counter((e["pid"], e["args"]["step"], e["args"]["piece"],
                                    e["args"]["block"]) for e in drawn)  # fmt: skip
        assert set(each.values()) == {4}
        graph.replay()
        synchronize(fabric)
        assert fabric._native.stop_chunks()["records"] == b""

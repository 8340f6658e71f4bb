"""What every chunk of every operation did, and when: the slices of a trace of detail "chunks".

A record is one piece of one step of one rank, with four times: it began to wait, saw what it waited
for, had reduced or copied the piece, had signalled it. In a trace these are the slices "wait",
"move" and "signal" on the track of the piece's block, and an arrow goes from each signal to the
wait that it ended.

The clock of simulated devices is the host's: how long the simulator took. What the links that they
stand for would take is a timeline of its own, predicted, drawn from each operation's launch on.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["RECORD", "decode", "slices", "track_name"]

#: A record as the extension stores it: 64 bytes (fabric/chunk_log.h). Times in nanoseconds.
RECORD = np.dtype(
    [
        ("t_wait", "i8"), ("t_ready", "i8"), ("t_moved", "i8"), ("t_signal", "i8"),
        ("operation", "u4"), ("bytes", "i4"), ("round", "i4"), ("received", "u4"), ("sent", "u4"),
        ("rank", "i2"), ("block", "i2"), ("step", "i2"), ("piece", "i2"), ("from", "i2"),
        ("to", "i2"),
    ]
)  # fmt: skip
assert RECORD.itemsize == 64

_FIRST_TRACK = {"host": 16, "device": 16, "predicted": 1 << 16}  # of a rank's chunks
_PIECE = ("operation", "rank", "block", "round", "step", "piece")
_LANES = 64  # tracks of a block: pieces that it has under way at the same time
_PARTS = (("wait", "t_wait", "t_ready"), ("move", "t_ready", "t_moved"),
          ("signal", "t_moved", "t_signal"))  # fmt: skip


def decode(records: bytes) -> npt.NDArray[np.void]:
    """The structured array (RECORD) of records of 64 bytes. ValueError for a broken length."""
    return np.frombuffer(records, dtype=RECORD)


def track_name(track: int) -> str | None:
    """What a trace calls a track of chunks; None for any other."""
    for clock in ("predicted", "host"):
        if track >= _FIRST_TRACK[clock]:
            block, lane = divmod(track - _FIRST_TRACK[clock], _LANES)
            predicted = ", predicted" if clock == "predicted" else ""
            return f"block {block} chunks{f' ({lane})' if lane else ''}{predicted}"
    return None


def slices(
    records: npt.NDArray[np.void], clock: str, algorithms: dict[int, str], start_ns: int
) -> Iterator[dict[str, Any]]:
    """Trace events for the records: slices, and an arrow for every piece that reached its peer.

    clock: "host", "device" or "predicted"; all times are on the host's clock by now. algorithms: by
    operation. start_ns: of the trace, on that clock. On one track nothing overlaps: a block that
    has several pieces under way has as many tracks.
    """
    order = [*_PIECE, "t_wait"]
    names = RECORD.names or ()
    rows = [dict(zip(names, row, strict=True)) for row in np.sort(records, order=order).tolist()]
    tracks = _tracks(rows, _FIRST_TRACK[clock])
    for row, track in zip(rows, tracks, strict=True):
        said = {
            "op_id": row["operation"],
            "algorithm": algorithms.get(row["operation"], ""),
            **{name: row[name] for name in ("step", "round", "piece", "block", "bytes")},
            "from": max(row["from"], -1),  # of everyone: in the rows before
            "to": row["to"],
            "clock": clock,
        }
        place = {"cat": "chunk", "pid": row["rank"], "tid": track}
        for name, begin, end in _PARTS:
            if _has(row, name):
                times = {"ts": (row[begin] - start_ns) / 1e3, "dur": (row[end] - row[begin]) / 1e3}
                yield {"name": name, "ph": "X", **place, **times, "args": said}
    yield from _arrows(rows, tracks, clock, start_ns)


def _tracks(rows: list[dict[str, Any]], first: int) -> list[int]:
    """For each row the first track of its block that is free when it begins."""
    ends: dict[tuple[int, int], list[int]] = {}
    for row in sorted(rows, key=lambda row: row["t_wait"]):
        lanes = ends.setdefault((row["rank"], row["block"]), [])
        free = (i for i, end in enumerate(lanes) if end <= row["t_wait"])
        lane = next(free, len(lanes))
        if lane == len(lanes):
            lanes.append(0)
        lanes[lane] = row["t_signal"]
        row["track"] = first + row["block"] * _LANES + min(lane, _LANES - 1)
    return [row["track"] for row in rows]


def _has(row: dict[str, Any], name: str) -> bool:
    """A wait for nobody, a signal to nobody and a move of nothing are not drawn."""
    if name == "wait":
        return bool(row["from"] >= 0 or row["t_ready"] > row["t_wait"])
    if name == "signal":
        return bool(row["to"] >= 0)
    return bool(row["bytes"] > 0 or row["t_moved"] > row["t_ready"])


def _arrows(
    rows: list[dict[str, Any]], tracks: list[int], clock: str, start_ns: int
) -> Iterator[dict[str, Any]]:
    """The k-th piece that a rank signals to a peer is the k-th that the peer waits for from it."""
    turns = _turns(rows)
    sent: dict[tuple[int, ...], int] = {}
    for i, row in enumerate(rows):
        if row["to"] >= 0:
            lane = row["operation"], row["rank"], row["to"], row["block"], row["sent"], turns[i]
            sent[lane] = i
    for i, row in enumerate(rows):
        if row["from"] < 0:
            continue
        lane = row["operation"], row["from"], row["rank"], row["block"], row["received"], turns[i]
        if lane in sent:
            j = sent[lane]
            name = "-".join(map(str, (clock, *lane)))
            yield _end(name, "s", rows[j], tracks[j], rows[j]["t_signal"] - start_ns)
            yield _end(name, "f", row, tracks[i], row["t_ready"] - start_ns)


def _turns(rows: list[dict[str, Any]]) -> list[int]:
    """Which replay of a recorded operation each row is of, from 0; rows of one piece are in the
    order of their time."""
    seen: collections.Counter[tuple[int, ...]] = collections.Counter()
    turns = []
    for row in rows:
        piece = tuple(row[name] for name in (*_PIECE, "from", "to"))
        turns.append(seen[piece])
        seen[piece] += 1
    return turns


def _end(name: str, phase: str, row: dict[str, Any], track: int, at_ns: int) -> dict[str, Any]:
    event = {
        "name": "chunk", "cat": "chunk.flow", "ph": phase, "id": name,
        "pid": row["rank"], "tid": track, "ts": at_ns / 1e3,
    }  # fmt: skip
    return event | {"bp": "e"} if phase == "f" else event

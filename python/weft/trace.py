"""Chrome trace JSON (ui.perfetto.dev, chrome://tracing) from events.

One process a rank, and one for the fabric. Each has up to three tracks, since the clocks differ:
  host       times measured on the host clock
  device     times measured on the GPU, drawn from the moment of the launch on the host clock
  predicted  times from the link table of a simulated fabric, drawn from the moment of the launch
With detail "chunks" it has a track more for each block of its operations: see `weft.chunks`.
On one track nothing overlaps, as the format demands: an event that would is drawn where the one
before it ends. The times as recorded are in each event's `args`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weft import _weft
from weft._errors import invalid
from weft.events import NOT_OPERATIONS

if TYPE_CHECKING:
    import os

    from weft.events import Events
    from weft.fabric import Fabric

__all__ = ["FABRIC", "record", "trace_document"]

FABRIC = 1024  # the process of what concerns no rank: viewers know no negative numbers
_TRACKS = {"host": 0, "device": 1, "predicted": 2, "none": 3}
_TRACK_NAMES = ("host (measured)", "device (measured)", "links (predicted)", "events")


def trace_document(events: Events, *, start_ns: int, first_seq: int = 0) -> dict[str, Any]:
    """The trace of the events from `first_seq` on, with `ts` in microseconds since `start_ns`."""
    rows = [row for row in events.rows() if row["seq"] >= first_seq]
    rows.sort(key=lambda row: (row["rank"], row["clock"], _begin(row), row["seq"]))
    drawn: list[dict[str, Any]] = []
    free_at: dict[tuple[int, int], int] = {}
    for row in rows:
        track = (row["rank"] if row["rank"] >= 0 else FABRIC, _TRACKS[row["clock"]])
        begin = max(_begin(row), free_at.get(track, start_ns))
        duration = max(row["t_end_ns"] - row["t_start_ns"], 0)
        free_at[track] = begin + duration
        drawn.append(_drawn(row, track, (begin - start_ns) / 1e3, duration / 1e3))
    return {
        "traceEvents": _names(events, sorted(free_at)) + drawn,
        "displayTimeUnit": "ns",
        "otherData": {
            "schema": "weft.trace/1",
            "weft_version": _weft.__version__,
            "clock": "CLOCK_MONOTONIC, from the start of the trace",
            "devices": list(events.devices),
            "dropped": max(events.base_seq - first_seq, 0),
        },
    }


def _begin(row: dict[str, Any]) -> int:
    on_host_clock = row["clock"] == "host"
    return int(row["t_start_ns"] if on_host_clock else row["t_launch_ns"] or row["t_enqueue_ns"])


def _category(row: dict[str, Any]) -> str:
    if row["status"] == "failed":
        return "fault"
    return "fabric" if row["kind"] in NOT_OPERATIONS else "collective"


def _drawn(
    row: dict[str, Any], track: tuple[int, int], start_us: float, duration_us: float
) -> dict[str, Any]:
    event: dict[str, Any] = {
        "name": row["kind"],
        "cat": _category(row),
        "pid": track[0],
        "tid": track[1],
        "ts": start_us,
        "args": {name: value for name, value in row.items() if value not in ("", -1)},
    }
    if row["clock"] == "none":
        return event | {"ph": "i", "s": "p"}
    return event | {"ph": "X", "dur": duration_us}


def _names(events: Events, tracks: list[tuple[int, int]]) -> list[dict[str, Any]]:
    named: list[dict[str, Any]] = []
    for rank in sorted({rank for rank, _ in tracks}):
        known = rank < len(events.devices)
        name = f"rank {rank} on {events.devices[rank]}" if known else "fabric"
        named.append(_metadata("process_name", rank, 0, {"name": name}))
        named.append(_metadata("process_sort_index", rank, 0, {"sort_index": rank}))
    for rank, track in tracks:
        named.append(_metadata("thread_name", rank, track, {"name": _TRACK_NAMES[track]}))
    return named


def _metadata(name: str, pid: int, tid: int, args: dict[str, Any]) -> dict[str, Any]:
    return {"ph": "M", "name": name, "pid": pid, "tid": tid, "args": args}


@contextmanager
def record(fabric: Fabric, path: str | os.PathLike[str], detail: str) -> Iterator[None]:
    """Write what `fabric` does inside the `with` to `path`, also when the body raises.

    InvalidArgument for a `detail` other than "ops" and "chunks", and where events are not recorded;
    OSError, before the body runs, where the file cannot be written.
    """
    if detail not in ("ops", "chunks"):
        raise invalid(f'detail must be "ops" or "chunks", not {detail!r}')
    if not fabric._native.records_events:
        raise invalid(
            "a trace is made of events: WEFT_EVENTS, or events=False, has them switched off"
        )
    target = Path(path)
    target.write_text("", encoding="utf-8")
    start_ns = time.monotonic_ns()
    first_seq = fabric.events().next_seq
    if detail == "chunks":
        fabric._native.start_chunks()
    try:
        yield
    finally:
        fabric.settle()
        events = fabric.events()
        document = trace_document(events, start_ns=start_ns, first_seq=first_seq)
        if detail == "chunks":
            _add_chunks(document, events, fabric._native.stop_chunks(), start_ns)
        target.write_text(json.dumps(document), encoding="utf-8")


def _add_chunks(
    document: dict[str, Any], events: Events, recorded: dict[str, Any], start_ns: int
) -> None:
    """Put the slices of all chunks into the trace, and what there is to say of them."""
    from weft import chunks

    launched = events.array[events.array["t_launch_ns"] > 0]
    numbers = (launched["op_id"] & 0xFFFFFFFF).tolist()  # as the records have them
    algorithms = dict(zip(numbers, launched["algorithm"].tolist(), strict=True))
    launches = dict(zip(numbers, launched["t_launch_ns"].tolist(), strict=True))
    predicted = chunks.decode(recorded["predicted"]).copy()
    begins = np.array([launches.get(op, start_ns) for op in predicted["operation"].tolist()])
    for name in ("t_wait", "t_ready", "t_moved", "t_signal"):
        predicted[name] += begins.astype("i8")
    drawn = [
        *chunks.slices(chunks.decode(recorded["records"]), recorded["clock"], algorithms, start_ns),
        *chunks.slices(predicted, "predicted", algorithms, start_ns),
    ]
    tracks = sorted({(event["pid"], event["tid"]) for event in drawn})
    document["traceEvents"] += [
        _metadata("thread_name", rank, track, {"name": chunks.track_name(track)})
        for rank, track in tracks
    ]
    document["traceEvents"] += drawn
    dropped = recorded["dropped"] + recorded["predicted_dropped"]
    document["otherData"] |= {
        "chunks_dropped": dropped,
        "chunks_clock": recorded["clock"],
        "chunks_residual_ns": recorded["residual_ns"],
    }

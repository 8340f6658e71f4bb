"""Chrome trace JSON (ui.perfetto.dev, chrome://tracing) from events.

One process a rank. Each has up to three tracks, since the clocks differ:
  host       times measured on the host clock
  device     times measured on the GPU, drawn from the moment of the launch on the host clock
  predicted  times from the link table of a simulated fabric, drawn from the moment of the launch
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

from weft import _weft
from weft._config import setting
from weft._errors import invalid

if TYPE_CHECKING:
    import os

    from weft.events import Events
    from weft.fabric import Fabric

__all__ = ["record", "trace_document"]

_TRACKS = {"host": 0, "device": 1, "predicted": 2, "none": 3}
_TRACK_NAMES = ("host (measured)", "device (measured)", "links (predicted)", "events")


def trace_document(events: Events, *, start_ns: int, first_seq: int = 0) -> dict[str, Any]:
    """The trace of the events from `first_seq` on, with `ts` in microseconds since `start_ns`."""
    rows = [row for row in events.rows() if row["seq"] >= first_seq]
    rows.sort(key=lambda row: (row["rank"], row["clock"], _begin(row), row["seq"]))
    drawn: list[dict[str, Any]] = []
    free_at: dict[tuple[int, int], int] = {}
    for row in rows:
        track = (row["rank"], _TRACKS[row["clock"]])
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


def _drawn(
    row: dict[str, Any], track: tuple[int, int], start_us: float, duration_us: float
) -> dict[str, Any]:
    event: dict[str, Any] = {
        "name": row["kind"],
        "cat": "fault" if row["status"] == "failed" else "collective",
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
        known = 0 <= rank < len(events.devices)
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

    InvalidArgument for a `detail` other than "ops", and where WEFT_EVENTS is off; OSError, before
    the body runs, where the file cannot be written.
    """
    if detail != "ops":
        known = '"chunks" is not there yet' if detail == "chunks" else f"not {detail!r}"
        raise invalid(f'detail must be "ops"; {known}')
    if not setting("WEFT_EVENTS"):
        raise invalid("a trace is made of events, and WEFT_EVENTS has switched them off")
    target = Path(path)
    target.write_text("", encoding="utf-8")
    start_ns = time.monotonic_ns()
    first_seq = fabric.events().next_seq
    try:
        yield
    finally:
        fabric.settle()
        document = trace_document(fabric.events(), start_ns=start_ns, first_seq=first_seq)
        target.write_text(json.dumps(document), encoding="utf-8")

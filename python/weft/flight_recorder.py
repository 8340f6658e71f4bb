"""Events in the form of PyTorch's flight recorder, which its analyser (torchfrtrace) reads.

One dict a rank. An operation has the same `collective_seq_id` on every rank, so that the analyser
finds the ranks that did not come to it. What events do not tell is left open: shapes (sizes are
counts of elements), roots, time limits (0) and stacks. What the analyser has no name for is left
out: send_recv (events do not name the peers), replays of graphs, copies.
"""

from __future__ import annotations

import pickle
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft import _weft
from weft._errors import invalid, whole_number

if TYPE_CHECKING:
    import os

    from weft.events import Events

__all__ = ["VERSION", "dumps", "save"]

VERSION = "2.10"
_GROUP = ("0", "default_pg")  # the name and the description of the one process group

#: Kind -> whether the vector of the event's bytes is the input, the output, or the size of both.
_WHOLE = {
    "all_reduce": "both", "broadcast": "both", "reduce": "both", "all_to_all": "both",
    "reduce_scatter": "input", "scatter": "input", "all_gather": "output", "gather": "output",
    "barrier": "none", "fault": "none",
}  # fmt: skip
_DTYPES = {
    "bool": ("Bool", 1), "uint8": ("Byte", 1), "int8": ("Char", 1), "int16": ("Short", 2),
    "int32": ("Int", 4), "int64": ("Long", 8), "float8_e4m3fn": ("Float8_e4m3fn", 1),
    "float8_e5m2": ("Float8_e5m2", 1), "float16": ("Half", 2), "bfloat16": ("BFloat16", 2),
    "float32": ("Float", 4), "float64": ("Double", 8),
}  # fmt: skip
_NOT_TOLD = (
    "not every rank came in time to what this one waited for; events do not tell what it was"
)

Row = dict[str, Any]


def dumps(events: Events, rank: int | None = None) -> dict[Any, Any]:
    """The dump of one rank, or of all by rank where it is None. InvalidArgument for no rank."""
    world = _world(events)
    wanted = range(world)
    if rank is not None:
        index = whole_number(rank)
        if index is None or not 0 <= index < world:
            raise invalid(f"rank must be from 0 to {world - 1} or None, not {rank!r}")
        wanted = range(index, index + 1)
    to_unix = time.time_ns() - time.monotonic_ns()
    entries: dict[int, list[dict[str, Any]]] = {one: [] for one in range(world)}
    for number, rows in enumerate(_operations(events, world), 1):
        for row in rows:
            entries[row["rank"]].append(_entry(row, number, world, to_unix))
    found = {one: _dump(entries[one], world) for one in wanted}
    return found if rank is None else found[wanted[0]]


def save(events: Events, folder: str | os.PathLike[str], prefix: str) -> list[Path]:
    """Write each rank's dump as the pickle `<prefix>_<rank>`. OSError where that fails."""
    target = Path(folder)
    if not prefix or Path(prefix).name != prefix:
        raise invalid(f"prefix must be the beginning of a file's name, not {prefix!r}")
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for rank, dump in dumps(events).items():
        path = target / f"{prefix}_{rank}"
        path.write_bytes(pickle.dumps(dump))
        paths.append(path)
    return paths


def _world(events: Events) -> int:
    highest = int(events.array["rank"].max()) + 1 if len(events.array) else 0
    return max(len(events.devices), highest)


def _operations(events: Events, world: int) -> list[list[Row]]:
    """The rows of each operation, in the order of the operations.

    Where events have been overwritten, the oldest operation may lack some ranks' rows; it would
    look like one that these ranks did not come to, and is left out.
    """
    found: dict[tuple[int, int], list[Row]] = {}
    meetings = _Meetings()
    for row in events.rows():
        if row["kind"] in _WHOLE and row["rank"] >= 0:
            number = meetings.number(row) if row["kind"] == "fault" else 0
            found.setdefault((row["op_id"], number), []).append(row)
        if row["kind"] != "fault":
            meetings.end()
    operations = list(found.values())
    while events.dropped_total and operations and len(operations[0]) < world:
        operations.pop(0)
    return operations


class _Meetings:
    """Tells which faults are of one meeting: those in a row, of different ranks."""

    def __init__(self) -> None:
        self._number, self._ranks = 0, set[int]()

    def number(self, row: Row) -> int:
        if row["rank"] in self._ranks:
            self.end()
        self._ranks.add(row["rank"])
        return self._number

    def end(self) -> None:
        if self._ranks:
            self._number += 1
            self._ranks = set()


def _entry(row: Row, number: int, world: int, to_unix: int) -> dict[str, Any]:
    kind = row["kind"]
    state = (
        "completed" if row["status"] == "ok" else "started" if row["t_launch_ns"] else "scheduled"
    )
    inputs, outputs, dtypes = _sizes(row, world)
    duration = max(row["t_end_ns"] - row["t_start_ns"], 0)
    started = row["t_start_ns"] if row["clock"] == "host" else row["t_launch_ns"]
    done = state == "completed"
    fault = {"name": _NOT_TOLD, "filename": "weft", "line": 0}
    return {
        "record_id": number - 1,
        "pg_id": 0,
        "process_group": _GROUP,
        "collective_seq_id": number,
        "p2p_seq_id": 0,
        "op_id": number if kind == "fault" else row["op_id"],
        "profiling_name": f"nccl:{'barrier' if kind == 'fault' else kind}",
        "time_created_ns": row["t_enqueue_ns"] + to_unix,
        "input_sizes": inputs,
        "input_dtypes": dtypes,
        "output_sizes": outputs,
        "output_dtypes": dtypes,
        "state": state,
        "time_discovered_started_ns": None if state == "scheduled" else started + to_unix,
        "time_discovered_completed_ns": started + duration + to_unix if done else None,
        "duration_ms": duration / 1e6 if done else None,
        "retired": done,
        "timeout_ms": 0,
        "is_p2p": False,
        "frames": [fault] if kind == "fault" else [],
    }


def _sizes(row: Row, world: int) -> tuple[list[list[int]], list[list[int]], list[str]]:
    """Sizes of the inputs and of the outputs in elements, and the dtypes of both."""
    name, itemsize = _DTYPES.get(row["dtype"], ("", 1))
    whole = _WHOLE[row["kind"]]
    if whole == "none" or not name:
        return [[]], [[]], []
    count = row["bytes"] // itemsize
    part = count // world
    inputs = [[part if whole == "output" else count]]
    outputs = [[part if whole == "input" else count]]
    return inputs, outputs, [name]


def _dump(entries: list[dict[str, Any]], world: int) -> dict[str, Any]:
    def last(*states: str) -> int:
        numbers = (one["collective_seq_id"] for one in entries if one["state"] in states)
        return max(numbers, default=-1)

    name, description = _GROUP
    status = {
        "last_enqueued_collective": last("scheduled", "started", "completed"),
        "last_started_collective": last("started", "completed"),
        "last_completed_collective": last("completed"),
    }
    return {
        "version": VERSION,
        "comm_lib_version": f"weft {_weft.__version__}",
        "pg_config": {
            name: {"name": name, "desc": description, "ranks": str(list(range(world)))},
        },
        "pg_status": {name: status},
        "nccl_comm_state": {},
        "entries": entries,
    }

"""Snapshots of a fabric's events: what ran, where, when, on which clock.

A fabric keeps its last 65,536 events. A snapshot is a copy and never changes. Times are nanoseconds
of the host's steady clock, but `t_start_ns` and `t_end_ns` are of the clock that `clock` names:
`host` (that same clock), `device` (the GPU's), `predicted` (a simulated fabric's link table) or
`none` (not known; both are 0).

An operation is one event a rank. `t_enqueue_ns` is when it was called: by each rank itself, where
the ranks call one by one (`Fabric.rank`). The kinds of NOT_OPERATIONS tell of the fabric; their
`op_id` is 2**64 - 1 where nothing else is said, and `rank` is -1 where they concern all:
  open, close   of the fabric
  peer_enable   a rank's device got access to the one that `path` names
  segment       memory was allocated for a rank's signals and scratch: `bytes`
  capture       operations were captured into a `weft.Graph`; `bytes` of one rank's vectors
  copy          the host copied a rank's tensor, as it was not contiguous
  wait          the host waited for the operation `op_id`
  abort         by the user: the first one, before `recover`
  recover       until the fabric could be used again
  fault         an operation that not every rank came to in time, and that was never launched: of
                the rank that noticed, with the first absent one as `culprit`
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import os

    import numpy.typing as npt

__all__ = ["CAPACITY", "COLUMNS", "NOT_OPERATIONS", "RECORD", "Events", "decode"]

CAPACITY = 65536

# The names of the codes in a record, in the order of the enumerations of the extension.
KINDS = (
    "all_reduce", "copy", "wait", "peer_enable", "segment", "capture", "fault", "abort", "recover",
    "open", "close", "barrier", "reduce_scatter", "all_gather", "broadcast", "reduce", "all_to_all",
    "scatter", "gather", "send_recv", "graph",
)  # fmt: skip
NOT_OPERATIONS = frozenset(
    ("open", "close", "peer_enable", "segment", "capture", "copy", "wait", "fault", "abort",
     "recover")
)  # fmt: skip
DTYPES = (
    "bool", "uint8", "int8", "int16", "int32", "int64", "float8_e4m3fn", "float8_e5m2", "float16",
    "bfloat16", "float32", "float64",
)  # fmt: skip
OPS = ("sum", "avg", "min", "max", "prod")
PROTOCOLS = ("none", "chunk_flags", "tokens", "ll", "lamport", "events")
STATUSES = ("ok", "failed")
CLOCKS = ("none", "host", "device", "predicted")

# A record as the extension stores it: 128 bytes (core/base/event_ring.h).
RECORD = np.dtype(
    [
        ("seq", "u8"), ("op_id", "u8"), ("bytes", "i8"), ("t_enqueue_ns", "i8"),
        ("t_launch_ns", "i8"), ("t_start_ns", "i8"), ("t_end_ns", "i8"), ("stream", "u8"),
        ("rank", "i4"), ("device", "i4"), ("blocks", "i4"), ("culprit", "i4"),
        ("algorithm", "S16"), ("path", "S12"), ("kind", "u1"), ("dtype", "u1"), ("op", "u1"),
        ("protocol", "u1"), ("status", "u1"), ("clock", "u1"), ("reserved", "V14"),
    ]
)  # fmt: skip
assert RECORD.itemsize == 128

_NAMED = {
    "kind": KINDS, "dtype": DTYPES, "op": OPS, "protocol": PROTOCOLS, "status": STATUSES,
    "clock": CLOCKS,
}  # fmt: skip

#: The columns of `Events.array`. Where there is none, `rank`, `device` and `culprit` are -1 and
#: names are "".
COLUMNS = np.dtype(
    [
        ("seq", "u8"), ("op_id", "u8"), ("kind", "U16"), ("rank", "i4"), ("device", "i4"),
        ("stream", "u8"), ("algorithm", "U16"), ("protocol", "U12"), ("path", "U12"),
        ("dtype", "U13"), ("op", "U4"), ("bytes", "i8"), ("blocks", "i4"), ("t_enqueue_ns", "i8"),
        ("t_launch_ns", "i8"), ("t_start_ns", "i8"), ("t_end_ns", "i8"), ("clock", "U9"),
        ("status", "U6"), ("culprit", "i4"),
    ]
)  # fmt: skip


def decode(records: bytes) -> npt.NDArray[np.void]:
    """The structured array (COLUMNS) of records of 128 bytes. ValueError for a broken length."""
    raw = np.frombuffer(records, dtype=RECORD)
    array = np.zeros(len(raw), dtype=COLUMNS)
    for name in COLUMNS.names or ():
        if name in _NAMED:
            names = np.zeros(256, dtype=COLUMNS[name])
            names[: len(_NAMED[name])] = _NAMED[name]
            array[name] = names[raw[name]]
        else:
            array[name] = raw[name]
    return array


@dataclass(frozen=True, eq=False)
class Events:
    """The events [base_seq, next_seq) of a fabric, in order.

    `len(array) == next_seq - base_seq == next_seq - dropped_total`: sequence numbers start at 0,
    and the oldest events are overwritten, read or not.

    >>> import numpy as np, weft
    >>> with weft.Fabric("sim:2") as fab:
    ...     _ = fab.all_reduce([np.ones(4, np.float32) for _ in range(2)])
    ...     events = fab.events()
    >>> ops = events.operations
    >>> ops["rank"].tolist(), ops["bytes"].tolist(), ops["dtype"].tolist()
    ([0, 1], [16, 16], ['float32', 'float32'])
    """

    array: npt.NDArray[np.void]
    base_seq: int
    next_seq: int
    #: Said of every trace made from this snapshot: the fabric's ranks and machine.
    devices: tuple[str, ...] = ()
    capacity: int = CAPACITY

    @property
    def dropped_total(self) -> int:
        """How many events have been overwritten since the fabric was opened."""
        return self.base_seq

    @property
    def operations(self) -> npt.NDArray[np.void]:
        """The rows of `array` that tell of operations."""
        return self.array[~np.isin(self.array["kind"], sorted(NOT_OPERATIONS))]

    def __len__(self) -> int:
        return len(self.array)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each event as a dict of plain Python values."""
        names = self.array.dtype.names or ()
        for row in self.array.tolist():
            yield dict(zip(names, row, strict=True))

    def to_jsonl(self) -> str:
        """One JSON object a line; the first line is a header (schema `weft.event/1`)."""
        header = {
            "schema": "weft.event/1",
            "base_seq": self.base_seq,
            "next_seq": self.next_seq,
            "dropped_total": self.dropped_total,
            "devices": list(self.devices),
        }
        return "".join(json.dumps(line) + "\n" for line in [header, *self.rows()])

    def to_perfetto(self, path: str | os.PathLike[str]) -> None:
        """Write all events as Chrome trace JSON, which ui.perfetto.dev opens; times from the first.

        OSError where the file cannot be written.
        """
        from weft.trace import trace_document

        first = int(self.array["t_enqueue_ns"].min()) if len(self.array) else 0
        document = trace_document(self, start_ns=first)
        Path(path).write_text(json.dumps(document), encoding="utf-8")

    def to_flight_recorder(self, rank: int | None = None) -> dict[Any, Any]:
        """What PyTorch's flight recorder would have dumped on `rank`; None: on all, by rank.

        Keys are those of its version 2.10; times are nanoseconds of the Unix clock. An operation
        that failed is "started", one that was never launched "scheduled". docs/traces.md says what
        is left out. InvalidArgument unless 0 <= rank < the number of ranks.

        >>> import numpy as np, weft
        >>> with weft.Fabric("sim:2") as fab:
        ...     _ = fab.all_reduce([np.ones(4, np.float32) for _ in range(2)])
        ...     dump = fab.events().to_flight_recorder(rank=1)
        >>> entry = dump["entries"][0]
        >>> entry["profiling_name"], entry["state"], entry["input_sizes"], entry["input_dtypes"]
        ('nccl:all_reduce', 'completed', [[4]], ['Float'])
        """
        from weft.flight_recorder import dumps

        return dumps(self, rank)

    def save_flight_recorder(
        self, folder: str | os.PathLike[str], prefix: str = "weft"
    ) -> list[Path]:
        """Write each rank's `to_flight_recorder` as a pickle into `folder`, which is made.

        The files are `<prefix>_<rank>`, as PyTorch's analyser expects them:
        `torchfrtrace --prefix weft_ FOLDER`. Returns their paths; OSError where one cannot be
        written.
        """
        from weft.flight_recorder import save

        return save(self, folder, prefix)

"""What is kept of a trace: an operation of a rank, a slice of a chunk, an arrow between slices.

Times are microseconds since the trace began, durations microseconds. Ranks that are not known
are -1 (`NOBODY`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["CHUNK_TRACK", "NOBODY", "NO_OPERATION", "Arrow", "Operation", "Slice", "Trace"]

NOBODY = -1
NO_OPERATION = 2**64 - 1  # the op_id of what was never launched
CHUNK_TRACK = 16  # the first track (tid) of a rank's chunks; see weft.chunks


@dataclass(slots=True)
class Operation:
    """One event of one rank. `clock` is "none" for what has no duration.

    `called_ns`: when it was called, nanoseconds of the host's clock; 0: not known.
    """

    kind: str
    algorithm: str
    rank: int
    op_id: int
    bytes: int
    begin: float
    duration: float
    clock: str
    failed: bool
    culprit: int
    dtype: str = ""
    op: str = ""
    protocol: str = ""
    path: str = ""
    blocks: int = 0
    called_ns: int = 0


@dataclass(slots=True)
class Slice:
    """One part of a chunk's way, on one track of a rank: "wait", "move" or "signal".

    `source` is the rank waited for, `target` the one pushed to.
    """

    name: str
    rank: int
    track: int
    begin: float
    end: float
    op_id: int
    algorithm: str
    step: int
    round: int
    piece: int
    bytes: int
    source: int
    target: int
    clock: str

    @property
    def duration(self) -> float:
        """How long it took, in microseconds."""
        return self.end - self.begin


@dataclass(slots=True)
class Arrow:
    """One end of the way of data: at `time` on a track of a rank."""

    rank: int
    track: int
    time: float


@dataclass
class Trace:
    """All that was read. `sent` and `seen` are the two ends of each arrow, by its id."""

    file: str
    schema: str
    weft_version: str = ""
    devices: list[str] = field(default_factory=list)
    dropped: int = 0
    operations: list[Operation] = field(default_factory=list)
    slices: list[Slice] = field(default_factory=list)
    sent: dict[int | str, Arrow] = field(default_factory=dict)
    seen: dict[int | str, Arrow] = field(default_factory=dict)

    @property
    def measured(self) -> list[Slice]:
        """The slices that sums are made of: what was predicted only where nothing else is there."""
        return [one for one in self.slices if one.clock != "predicted"] or self.slices

    @property
    def predicted(self) -> list[Slice]:
        """The slices that were predicted."""
        return [one for one in self.slices if one.clock == "predicted"]

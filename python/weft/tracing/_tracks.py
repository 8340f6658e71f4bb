"""The slices of one operation, by rank and track, and what is usual among the other ranks.

Usual is a median, over the ranks (or links) other than the one that is looked at, of each one's
own median: a rank that is slow throughout does not make that usual.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

from weft.tracing._links import Link
from weft.tracing._rows import NOBODY, Arrow, Slice, Trace

__all__ = ["Received", "Track", "Tracks", "received_by", "usual"]

K = TypeVar("K", bound=Hashable)
Place = tuple[int, int]  # rank, track


def usual(samples: Mapping[K, float], apart: K) -> float | None:
    """The median over all but `apart`; None where there is no other."""
    others = [value for key, value in samples.items() if key != apart]
    return median(others) if others else None


def _medians(samples: Mapping[K, list[float]]) -> dict[K, float]:
    return {key: median(values) for key, values in samples.items()}


@dataclass
class Track:
    """The slices of a rank's track, in order of time."""

    slices: list[Slice] = field(default_factory=list)
    _begins: list[float] = field(default_factory=list)

    def sort(self) -> None:
        """Bring them into order. Called once, before any other method."""
        self.slices.sort(key=lambda one: (one.begin, one.end))
        self._begins = [one.begin for one in self.slices]

    def first_at(self, time: float) -> int:
        """The index of the slice under way at `time`, else of the first behind it."""
        i = bisect_right(self._begins, time) - 1
        return i if i >= 0 and self.slices[i].end > time else i + 1


@dataclass(frozen=True)
class Received:
    """How the wait for a chunk ended: sent at `time` by (rank, track)."""

    rank: int
    track: int
    time: float


class Tracks:
    """One operation's slices, whose arrows they are, and what is usual in it."""

    def __init__(self, slices: list[Slice], received: Mapping[int, Received]) -> None:
        """received: how each wait ended, by `id()` of its slice."""
        self.slices = slices
        self._received = received
        self.tracks: dict[Place, Track] = defaultdict(Track)
        for one in slices:
            self.tracks[one.rank, one.track].slices.append(one)
        for track in self.tracks.values():
            track.sort()
        #: Of what was predicted: all waits of a rank. It does one thing after the other, and is
        #: drawn on several tracks because what it sent is under way meanwhile.
        self.waits: dict[int, Track] = {}
        for one in slices:
            if one.clock == "predicted" and one.name == "wait":
                self.waits.setdefault(one.rank, Track()).slices.append(one)
        for track in self.waits.values():
            track.sort()
        self.ranks = sorted({rank for rank, _ in self.tracks})
        self.starts: dict[int, float] = {}
        for (rank, _), track in self.tracks.items():
            begin = track.slices[0].begin
            self.starts[rank] = min(begin, self.starts.get(rank, begin))
        self.begin = min(self.starts.values())
        self.end = max(one.end for one in slices)
        self._durations = self._moves()
        self._gaps = self._idle()
        self._flights = self._ways()
        self._known: dict[Hashable, float | None] = {}

    def received(self, wait: Slice) -> Received | None:
        """How a wait ended, where the trace tells."""
        return self._received.get(id(wait))

    def _moves(self) -> dict[tuple[str, bool], dict[int, tuple[float, float]]]:
        """Of each sort of work: each rank's median duration, and median bytes."""
        found: dict[tuple[str, bool], dict[int, list[Slice]]] = defaultdict(dict)
        for one in self.slices:
            if one.name != "wait":
                found[_sort(one)].setdefault(one.rank, []).append(one)
        return {
            sort: {
                rank: (median(one.duration for one in own), median(one.bytes for one in own))
                for rank, own in by_rank.items()
            }
            for sort, by_rank in found.items()
        }

    def usual_work(self, one: Slice) -> float | None:
        """How long work like this takes the other ranks; more bytes may take longer."""
        duration, size = (self._usual_of(_sort(one), one.rank, part) for part in (0, 1))
        if duration is None or size is None:
            return None
        return duration * max(1.0, one.bytes / size if size > 0 else 1.0)

    def _usual_of(self, sort: tuple[str, bool], rank: int, part: int) -> float | None:
        key = (sort, rank, part)
        if key not in self._known:
            by_rank = self._durations[sort]
            self._known[key] = usual({one: pair[part] for one, pair in by_rank.items()}, rank)
        return self._known[key]

    def _once(self, what: str, samples: Mapping[K, float], apart: K) -> float | None:
        if (what, apart) not in self._known:
            self._known[what, apart] = usual(samples, apart)
        return self._known[what, apart]

    def usual_start(self, rank: int) -> float | None:
        """When the other ranks begin."""
        return self._once("start", self.starts, rank)

    def _idle(self) -> dict[int, float]:
        samples: dict[int, list[float]] = {rank: [] for rank in self.ranks}
        for (rank, _), track in self.tracks.items():
            ends = [one.end for one in track.slices]
            begins = [one.begin for one in track.slices[1:]]
            samples[rank] += [max(b - e, 0.0) for e, b in zip(ends, begins, strict=False)]
        return _medians({rank: own for rank, own in samples.items() if own})

    def usual_gap(self, rank: int) -> float:
        """How long the other ranks pause between two slices."""
        return self._once("gap", self._gaps, rank) or 0.0

    def _ways(self) -> dict[Link, float]:
        samples: dict[Link, list[float]] = defaultdict(list)
        for one in self.slices:
            came = self.received(one) if one.name == "wait" else None
            if came is not None and came.time >= one.begin:
                samples[came.rank, one.rank].append(max(one.end - came.time, 0.0))
        return _medians(samples)

    def usual_way(self, link: Link) -> float | None:
        """How long data takes from signalled to seen on the other links, where it was awaited."""
        return self._once("way", self._flights, link)


def _sort(one: Slice) -> tuple[str, bool]:
    return one.name, one.target != NOBODY


def received_by(trace: Trace) -> dict[int, Received]:
    """How each wait of a trace ended, by `id()` of its slice: by its arrow, else by the last
    signal of the same piece that its source sent it before it ended."""
    ends: _Ends = defaultdict(list)
    for number, arrow in trace.seen.items():
        ends[arrow.rank, arrow.track, round(1e3 * arrow.time)].append(number)
    result: dict[int, Received] = {}
    without = []
    for one in trace.slices:
        if one.name != "wait" or one.source == NOBODY:
            continue
        sent = _sent(one, ends, trace.sent)
        if sent is None:
            without.append(one)
        else:
            result[id(one)] = Received(sent.rank, sent.track, sent.time)
    if without:
        _match(without, trace.slices, result)
    return result


# The arrows that end at a time, in nanoseconds, on a track: waits may end together.
_Ends = dict[tuple[int, int, int], list[int | str]]


def _sent(wait: Slice, ends: _Ends, sent: Mapping[int | str, Arrow]) -> Arrow | None:
    nanoseconds = round(1e3 * wait.end)
    for near in (0, -1, 1):  # the same time, added up in another order
        for number in ends.get((wait.rank, wait.track, nanoseconds + near), ()):
            found = sent.get(number)
            if found is not None and found.rank == wait.source:
                return found
    return None


def _match(waits: list[Slice], slices: Iterable[Slice], result: dict[int, Received]) -> None:
    signals: dict[tuple[int, int, int, int], list[Slice]] = defaultdict(list)
    for name in ("signal", "move"):  # moves where nothing was signalled
        found: dict[tuple[int, int, int, int], list[Slice]] = defaultdict(list)
        for one in slices:
            if one.name == name and one.target != NOBODY:
                found[one.op_id, one.rank, one.target, one.piece].append(one)
        for key, own in found.items():
            signals.setdefault(key, own)
    ends: dict[tuple[int, int, int, int], list[float]] = {}
    for key, own in signals.items():
        own.sort(key=lambda one: one.end)
        ends[key] = [one.end for one in own]
    for wait in waits:
        key = (wait.op_id, wait.source, wait.rank, wait.piece)
        i = bisect_right(ends.get(key, []), wait.end + 1e-3)
        if i > 0:
            last = signals[key][i - 1]
            result[id(wait)] = Received(last.rank, last.track, last.end)

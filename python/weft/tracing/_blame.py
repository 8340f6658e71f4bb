"""Why ranks waited: every wait is followed back to who was late without waiting itself.

While rank r waits for rank s, until the moment s signals, the time is s's: what s did then, on the
track that signalled, is looked at. Where s itself waited, the time is followed on to the rank that
s waited for. Else it is put down to a cause, but only as far as it exceeds what is usual among the
other ranks (`_tracks`):
  late    s had not begun, though the others had
  gap     s paused between two slices, or before the first of a track
  work    s moved or signalled
From the moment of the signal until r sees the data the time is the link's:
  way     s to r
All of it is found by time alone; clocks of ranks must agree, as those of one trace do.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from weft.tracing._rows import NOBODY, Slice
from weft.tracing._tracks import Track, Tracks

__all__ = ["MUCH", "Blame", "Budget", "Cause", "blame"]

MUCH = 2.0  # times the usual is "much longer"
MOST_PARTS = 5_000_000  # of waits, that are looked at in one trace
DEEPEST = 256  # ranks that a wait is followed over; clocks that do not agree can make circles


@dataclass(frozen=True)
class Cause:
    """Why somebody waited: `rank` was late, paused or worked; `other` is the link's far end."""

    kind: str
    rank: int
    step: int = NOBODY
    other: int = NOBODY


@dataclass
class Budget:
    """How many parts of waits may still be looked at, so that no file takes for ever."""

    parts: int = MOST_PARTS

    def spend(self) -> bool:
        """Whether one more may be looked at."""
        self.parts -= 1
        return self.parts >= 0


@dataclass
class Blame:
    """Of one operation: time waited for each cause, by who waited; and for no known cause."""

    by_cause: dict[Cause, dict[int, float]]
    waited: float
    complete: bool


@dataclass
class _Part:
    """From `begin` to `end` somebody waited for what (rank, track) does."""

    rank: int
    track: int
    begin: float
    end: float
    depth: int


def blame(tracks: Tracks, budget: Budget) -> Blame:
    """Why the ranks of one operation waited."""
    by_cause: dict[Cause, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    waited, complete = 0.0, True
    for one in tracks.slices:
        if one.name != "wait":
            continue
        waited += one.duration
        todo = _followed(one, one.begin, one.end, tracks, by_cause, one.rank, 0)
        while todo:
            if not budget.spend():
                complete = False
                break
            todo += _explained(todo.pop(), tracks, by_cause, one.rank, budget)
        if not complete:
            break
    return Blame({cause: dict(who) for cause, who in by_cause.items()}, waited, complete)


_ByCause = dict[Cause, dict[int, float]]


def _followed(
    wait: Slice, begin: float, end: float, tracks: Tracks, by_cause: _ByCause, waiter: int,
    depth: int,
) -> list[_Part]:  # fmt: skip
    """What of a wait, from `begin` to `end`, the sender is to explain; the link's part is added."""
    came = tracks.received(wait)
    if came is None or (came.rank, came.track) not in tracks.tracks:
        return []
    if came.time < end:
        _way(wait, max(begin, came.time), end, came.time, tracks, by_cause, waiter)
    if came.time <= begin or depth > DEEPEST:
        return []
    return [_Part(came.rank, came.track, begin, min(end, came.time), depth)]


def _way(
    wait: Slice, begin: float, end: float, sent: float, tracks: Tracks, by_cause: _ByCause,
    waiter: int,
) -> None:  # fmt: skip
    usual = tracks.usual_way((wait.source, wait.rank))
    if usual is None or wait.end - sent <= MUCH * usual:
        return
    late = end - max(begin, sent + usual)
    if late > 0:
        by_cause[Cause("way", wait.source, wait.step, wait.rank)][waiter] += late


def _explained(
    part: _Part, tracks: Tracks, by_cause: _ByCause, waiter: int, budget: Budget
) -> list[_Part]:
    """Put a part down to causes; what the rank itself waited for comes back."""
    track = tracks.tracks[part.rank, part.track]
    further: list[_Part] = []
    at, i = part.begin, track.first_at(part.begin)
    while at < part.end:
        following = track.slices[i] if i < len(track.slices) else None
        if following is None or following.begin > at:
            until = part.end if following is None else min(following.begin, part.end)
            at, deeper = _paused(part, i, at, until, tracks, by_cause, waiter)
            further += deeper
            continue
        if not budget.spend():
            break
        until = min(following.end, part.end)
        if until > at:
            if following.name == "wait":
                depth = part.depth + 1
                further += _followed(following, at, until, tracks, by_cause, waiter, depth)
            else:
                _work(following, at, until, tracks, by_cause, waiter)
            at = until
        i += 1
    return further


def _paused(
    part: _Part, i: int, begin: float, end: float, tracks: Tracks, by_cause: _ByCause, waiter: int
) -> tuple[float, list[_Part]]:
    """Explain what comes first of a time in which nothing is on the track, before its i-th slice:
    the rank waited elsewhere, or it did not. When that ended, and what it waited for."""
    waits = tracks.waits.get(part.rank)
    j = waits.first_at(begin) if waits is not None else 0
    if waits is not None and j < len(waits.slices):
        wait = waits.slices[j]
        if wait.begin <= begin:
            end = min(end, wait.end)
            return end, _followed(wait, begin, end, tracks, by_cause, waiter, part.depth + 1)
        end = min(end, wait.begin)
    _idle(tracks.tracks[part.rank, part.track], i, begin, end, tracks, by_cause, waiter)
    return end, []


def _idle(
    track: Track, i: int, begin: float, end: float, tracks: Tracks, by_cause: _ByCause, waiter: int
) -> None:
    """Nothing was done from `begin` to `end`, before the track's i-th slice."""
    slices = track.slices
    rank = slices[0].rank
    start = tracks.starts[rank]
    if begin < start:
        usual = tracks.usual_start(rank)
        late = min(end, start) - max(begin, usual) if usual is not None else 0.0
        if late > 0:
            by_cause[Cause("late", rank)][waiter] += late
        begin = start
    before = slices[i - 1].end if i > 0 else start
    behind = slices[i].begin if i < len(slices) else end
    usual_gap = tracks.usual_gap(rank)
    if behind - before <= MUCH * usual_gap:
        return
    paused = end - max(begin, before + usual_gap)
    if paused > 0:
        step = slices[min(i, len(slices) - 1)].step
        by_cause[Cause("gap", rank, step)][waiter] += paused


def _work(
    one: Slice, begin: float, end: float, tracks: Tracks, by_cause: _ByCause, waiter: int
) -> None:
    usual = tracks.usual_work(one)
    if usual is None or one.duration <= MUCH * usual:
        return
    late = end - max(begin, one.begin + usual)
    if late > 0:
        by_cause[Cause("work", one.rank, one.step, one.target)][waiter] += late

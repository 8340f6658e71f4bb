"""Verdicts: which rank or link an operation was held up by, and why.

Causes as they are told:
  late start       the rank's first chunk begins late against the others
  slow at step k   it paused before step k, or its moves there took much longer than its peers'
  late call        of ranks that call one by one it called long after the others (`_calls`)
  slow link a->b   from signal to data seen, or every move on that one link, takes much longer than
                   on others
A rank that sends to one other alone, as in a ring, may itself be what makes all its moves slow:
a trace of it looks the same, and it is told as the link.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from weft.tracing._blame import MUCH, Blame, Budget, Cause, blame
from weft.tracing._calls import late_calls
from weft.tracing._links import Link, between
from weft.tracing._rows import Slice, Trace
from weft.tracing._tracks import Tracks, received_by

__all__ = ["LEAST_SHARE", "MOST_VERDICTS", "predicted_stragglers", "stragglers"]

LEAST_SHARE = 0.1  # of an operation's time, that some rank must have waited for the cause
MOST_VERDICTS = 1000  # operations told one by one; the worst come first


@dataclass(frozen=True)
class _Fault:
    """What a straggler is told as; `step` or `link` where the cause has one."""

    rank: int
    cause: str
    step: int | None = None
    link: Link | None = None


def stragglers(trace: Trace) -> dict[str, Any]:
    """Who held up the operations of a trace, ready for JSON.

    overall: a row for each straggler: rank, cause, step, link, in how many operations, and how long
    the other ranks waited for it there, all of them together (waited_us); the worst first.
    operations: the same of single operations, with the longest that one rank waited (delay_us).
    examined and held_up count operations, of those with chunks and those whose ranks called one by
    one; complete is False where a trace was too large to be looked at as a whole.
    """
    called, late = late_calls(trace)
    examined, complete, verdicts = _examine(trace, trace.measured)
    return _report(examined + called, complete, verdicts + late)


def predicted_stragglers(trace: Trace) -> dict[str, Any]:
    """The same of what was predicted: which links, or ranks, of the machine are slow."""
    return _report(*_examine(trace, trace.predicted))


def _examine(trace: Trace, slices: list[Slice]) -> tuple[int, bool, list[dict[str, Any]]]:
    """How many operations were looked at, whether all were, and what was found."""
    received = received_by(trace)
    by_operation: dict[tuple[int, str], list[Slice]] = defaultdict(list)
    for one in slices:
        by_operation[one.op_id, one.algorithm].append(one)
    budget = Budget()
    verdicts: list[dict[str, Any]] = []
    for examined, ((op_id, algorithm), own) in enumerate(by_operation.items()):
        tracks = Tracks(own, received)
        found = blame(tracks, budget)
        if not found.complete:
            return examined, False, verdicts
        verdict = _verdict(tracks, found)
        if verdict is not None:
            verdicts.append({"op_id": op_id, "algorithm": algorithm} | verdict)
    return len(by_operation), True, verdicts


def _report(examined: int, complete: bool, verdicts: list[dict[str, Any]]) -> dict[str, Any]:
    verdicts.sort(key=lambda row: -row["waited_us"])
    return {
        "examined": examined,
        "held_up": len({row["op_id"] for row in verdicts}),
        "complete": complete,
        "overall": _overall(verdicts),
        "operations": verdicts[:MOST_VERDICTS],
    }


def _verdict(tracks: Tracks, found: Blame) -> dict[str, Any] | None:
    """The worst straggler of an operation; None where nobody was held up much."""
    by_fault: dict[_Fault, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    links = _slow_links(tracks)
    for cause, waiters in found.by_cause.items():
        for waiter, time in waiters.items():
            by_fault[_told(cause, links)][waiter] += time
    if not by_fault:
        return None
    rank = _worst_rank(by_fault)
    fault, waiters = max(
        ((fault, own) for fault, own in by_fault.items() if fault.rank == rank),
        key=lambda pair: sum(pair[1].values()),
    )
    delay = max(waiters.values())
    if delay < LEAST_SHARE * (tracks.end - tracks.begin):
        return None
    return _row(fault) | {"waited_us": sum(waiters.values()), "delay_us": delay}


def _worst_rank(by_fault: dict[_Fault, dict[int, float]]) -> int:
    totals: dict[int, float] = defaultdict(float)
    for fault, waiters in by_fault.items():
        totals[fault.rank] += sum(waiters.values())
    return max(totals, key=lambda rank: (totals[rank], -rank))


def _told(cause: Cause, slow_links: set[Link]) -> _Fault:
    if cause.kind == "late":
        return _Fault(cause.rank, "late start")
    link = (cause.rank, cause.other)
    if cause.kind == "way" or (cause.kind == "work" and link in slow_links):
        return _Fault(cause.rank, f"slow link {link[0]}->{link[1]}", link=link)
    return _Fault(cause.rank, f"slow at step {cause.step}", step=cause.step)


def _slow_links(tracks: Tracks) -> set[Link]:
    """Links over which every move, in more than one step, takes much longer than is usual, while
    the rank's moves elsewhere do not."""
    moves: dict[Link, list[tuple[bool, int]]] = defaultdict(list)
    elsewhere: dict[int, dict[Link, bool]] = defaultdict(dict)
    for one in tracks.slices:
        link = between(one)
        usual = tracks.usual_work(one) if link is not None else None
        if link is None or usual is None:
            continue
        slow = one.duration > MUCH * usual
        moves[link].append((slow, one.step))
    for link, own in moves.items():
        elsewhere[link[0]][link] = all(slow for slow, _ in own)
    found = set()
    for link, own in moves.items():
        steps = {step for _, step in own}
        alone = sum(elsewhere[link[0]].values()) == 1
        if elsewhere[link[0]][link] and alone and len(steps) > 1:
            found.add(link)
    return found


def _row(fault: _Fault) -> dict[str, Any]:
    return {
        "rank": fault.rank,
        "cause": fault.cause,
        "step": fault.step,
        "link": None if fault.link is None else list(fault.link),
    }


def _overall(verdicts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows: dict[tuple[int, str], dict[str, Any]] = {}
    for one in verdicts:
        shared = {name: one[name] for name in ("rank", "cause", "step", "link")}
        row = rows.setdefault(
            (one["rank"], one["cause"]), shared | {"operations": 0, "waited_us": 0.0}
        )
        row["operations"] += 1
        row["waited_us"] += one["waited_us"]
    return sorted(rows.values(), key=lambda row: -row["waited_us"])

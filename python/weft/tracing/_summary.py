"""Tables of a trace, ready for JSON (schema weft.trace-summary/1)."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from weft.events import NOT_OPERATIONS
from weft.tracing import _links
from weft.tracing._rows import NO_OPERATION, NOBODY, Operation, Slice, Trace
from weft.tracing._stragglers import predicted_stragglers, stragglers

__all__ = ["MOST_FAULTS", "SCHEMA", "summary"]

SCHEMA = "weft.trace-summary/1"
MOST_FAULTS = 1000  # told one by one


def summary(trace: Trace) -> dict[str, Any]:
    """What happened, in tables. Times are microseconds, rates 10^9 bytes per second.

    operations: by kind, algorithm and clock: count (an operation of all its ranks is one), bytes
    (of one rank's vectors), failed, and p50_us, p99_us and max_us of its longest rank; None where
    no time was told. ranks: operations, time_us, failed, and, where there are chunks, waiting_us,
    moving_us and signalling_us, of all blocks together. faults: who noticed, and the culprit (None:
    not known). stragglers: who held up operations, and why. chunks: None where the trace has none;
    else slices, links and what was predicted of both. docs/traces.md says more.
    """
    faults = [one for one in trace.operations if one.failed]
    return {
        "schema": SCHEMA,
        "file": trace.file,
        "source": trace.schema,
        "weft_version": trace.weft_version or None,
        "devices": trace.devices,
        "events": len(trace.operations) + len(trace.slices),
        "dropped": trace.dropped,
        "span_us": _span(trace),
        "operations": _operations(trace.operations),
        "ranks": _ranks(trace),
        "faults_total": len(faults),
        "faults": [_fault(one) for one in faults[:MOST_FAULTS]],
        "stragglers": stragglers(trace),
        "chunks": _chunks(trace),
    }


def _span(trace: Trace) -> float:
    begins = [one.begin for one in trace.operations] + [one.begin for one in trace.slices]
    ends = [one.begin + one.duration for one in trace.operations]
    ends += [one.end for one in trace.slices]
    return max(ends) - min(begins) if ends else 0.0


@dataclass
class _Ran:
    """One operation of all its ranks."""

    bytes: int = 0
    duration: float = 0.0
    failed: bool = False


@dataclass
class _Rank:
    """What one rank did."""

    operations: int = 0
    time: float = 0.0
    failed: int = 0
    by_slice: dict[str, float] = field(default_factory=lambda: defaultdict(float))


def _operations(operations: list[Operation]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str, str], dict[tuple[int, int], _Ran]] = {}
    for i, one in enumerate(operations):
        group = groups.setdefault((one.kind, one.algorithm, one.clock), {})
        # What was never launched has no number: each such event stands for itself.
        number = (one.op_id, i if one.op_id == NO_OPERATION else 0)
        ran = group.setdefault(number, _Ran())
        ran.bytes = max(ran.bytes, one.bytes)
        ran.duration = max(ran.duration, one.duration)
        ran.failed = ran.failed or one.failed
    rows = []
    for (kind, algorithm, clock), group in groups.items():
        times = sorted(ran.duration for ran in group.values())
        timed = clock != "none"
        rows.append(
            {
                "kind": kind,
                "algorithm": algorithm or None,
                "clock": clock,
                "count": len(group),
                "bytes": sum(ran.bytes for ran in group.values()),
                "failed": sum(ran.failed for ran in group.values()),
                "p50_us": _percentile(times, 0.5) if timed else None,
                "p99_us": _percentile(times, 0.99) if timed else None,
                "max_us": times[-1] if timed else None,
            }
        )
    return sorted(rows, key=lambda row: (-(row["max_us"] or 0) * row["count"], str(row["kind"])))


def _percentile(times: list[float], share: float) -> float:
    """The least of the sorted times that so large a share of them does not exceed."""
    return times[max(math.ceil(share * len(times)) - 1, 0)]


def _ranks(trace: Trace) -> list[dict[str, Any]]:
    ranks: dict[int, _Rank] = defaultdict(_Rank)
    for one in trace.operations:
        if one.rank == NOBODY:
            continue
        rank = ranks[one.rank]
        rank.failed += one.failed
        if one.kind not in NOT_OPERATIONS:
            rank.operations += 1
            rank.time += one.duration
    for part in trace.measured:
        ranks[part.rank].by_slice[part.name] += part.duration
    return [_rank_row(i, ranks[i], trace) for i in sorted(ranks)]


def _rank_row(i: int, rank: _Rank, trace: Trace) -> dict[str, Any]:
    row = {
        "rank": i,
        "device": trace.devices[i] if i < len(trace.devices) else None,
        "operations": rank.operations,
        "time_us": rank.time,
        "failed": rank.failed,
    }
    for column, name in (("waiting", "wait"), ("moving", "move"), ("signalling", "signal")):
        row[f"{column}_us"] = rank.by_slice.get(name, 0.0) if trace.slices else None
    return row


def _fault(one: Operation) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "algorithm": one.algorithm or None,
        "rank": None if one.rank == NOBODY else one.rank,
        "culprit": None if one.culprit == NOBODY else one.culprit,
        "op_id": None if one.op_id == NO_OPERATION else one.op_id,
        "at_us": one.begin,
        "after_us": one.duration,
    }


def _predicted(trace: Trace) -> dict[str, Any] | None:
    slices = trace.predicted
    if not slices:
        return None
    return {"links": _links.rows(slices), "stragglers": predicted_stragglers(trace)}


def _chunks(trace: Trace) -> dict[str, Any] | None:
    if not trace.slices:
        return None
    clocks: dict[str, int] = defaultdict(int)
    slices: list[Slice] = trace.slices
    for one in slices:
        clocks[one.clock] += 1
    return {
        "slices": len(slices),
        "clocks": dict(clocks),
        "links": _links.rows(trace.measured),
        "predicted": _predicted(trace),
    }

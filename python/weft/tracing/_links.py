"""Who moved how much to whom, and when: links between ranks, from the slices of chunks.

A "move" with a rank that it pushes to is a transfer over that link. So is one of an algorithm that
pulls (its name ends in "_pull"), from the rank whose data it waited for. Other moves stay on their
rank.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from weft.tracing._rows import NOBODY, Slice

__all__ = ["Link", "between", "rows", "rows_over_time", "union"]

LEAST = 1e-6  # microseconds; traces tell nanoseconds, and what is less makes rates no double holds
Link = tuple[int, int]  # from, to
Span = tuple[float, float]


def between(one: Slice) -> Link | None:
    """The link that a slice moves data over; None where it moves none to another rank."""
    if one.name != "move":
        return None
    if one.target != NOBODY:
        return (one.rank, one.target) if one.target != one.rank else None
    if one.algorithm.endswith("_pull") and one.source not in (NOBODY, one.rank):
        return (one.source, one.rank)
    return None


def union(spans: Iterable[Span]) -> float:
    """How long at least one of the spans was under way."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        if end > reached:
            total += end - max(begin, reached)
            reached = end
    return total


def rows(slices: list[Slice]) -> list[dict[str, Any]]:
    """Of each link: bytes, transfers, how long it was busy, and the rate while it was.

    Transfers of several blocks at once are busy once. `gbps` is 10^9 bytes per second; None where
    no time was told, or less than LEAST.
    """
    moves = _by_link(slices)
    result = []
    for link in sorted(moves):
        count = sum(one.bytes for one in moves[link])
        busy = union((one.begin, one.end) for one in moves[link])
        result.append(
            {
                "from": link[0],
                "to": link[1],
                "bytes": count,
                "transfers": len(moves[link]),
                "busy_us": busy,
                "gbps": count / busy / 1e3 if busy >= LEAST else None,
            }
        )
    return result


def rows_over_time(slices: list[Slice], begin: float, end: float, parts: int) -> dict[str, Any]:
    """The rate of each link in `parts` equal parts of the time from `begin` to `end`.

    A transfer counts in each part with the share of its time that falls there. Returns
    `{"from_us", "part_us", "gbps": [{"from", "to", "rates": [...]}]}`.
    """
    width = (end - begin) / parts if end > begin else 1.0
    result = []
    for link, moves in sorted(_by_link(slices).items()):
        counts = [0.0] * parts
        for one in moves:
            _spread(counts, one, begin, width)
        rates = [round(count / width / 1e3, 3) for count in counts]
        result.append({"from": link[0], "to": link[1], "rates": rates})
    return {"from_us": begin, "part_us": width, "gbps": result}


def _by_link(slices: list[Slice]) -> dict[Link, list[Slice]]:
    moves: dict[Link, list[Slice]] = defaultdict(list)
    for one in slices:
        link = between(one)
        if link is not None:
            moves[link].append(one)
    return moves


def _spread(counts: list[float], one: Slice, begin: float, width: float) -> None:
    last = len(counts) - 1
    first_part = min(max(int((one.begin - begin) / width), 0), last)
    last_part = min(max(int((one.end - begin) / width), 0), last)
    if first_part == last_part or one.duration <= 0:
        counts[first_part] += one.bytes
        return
    for part in range(first_part, last_part + 1):
        left, right = begin + part * width, begin + (part + 1) * width
        share = (min(one.end, right) - max(one.begin, left)) / one.duration
        counts[part] += one.bytes * max(share, 0.0)

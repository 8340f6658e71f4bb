"""weft beside the fastest of the others, case by case."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

__all__ = ["case_key", "ratios", "verdict"]


def case_key(row: dict[str, Any]) -> tuple[Any, ...]:
    """What rows of different implementations must share to be compared."""
    names = ("collective", "dtype", "op", "bytes", "ranks", "in_place")
    return tuple(row[name] for name in names)


def ratios(rows: Sequence[dict[str, Any]]) -> dict[tuple[Any, ...], tuple[float, str]]:
    """For each case: how many times faster weft is than the fastest other, and which that is.

    >>> a = dict(impl="weft", collective="p2p", dtype="int8", op="one_way", bytes=8, ranks=2,
    ...          in_place=False, time_us=2.0)
    >>> list(ratios([a, {**a, "impl": "nccl", "time_us": 3.0}]).values())
    [(1.5, 'nccl')]
    """
    best: dict[tuple[Any, ...], tuple[float, str]] = {}
    for row in rows:
        if row["impl"] != "weft":
            key = case_key(row)
            best[key] = min(best.get(key, (float("inf"), "")), (row["time_us"], row["impl"]))
    return {
        key: (best[key][0] / row["time_us"], best[key][1])
        for row in rows
        if row["impl"] == "weft" and (key := case_key(row)) in best
    }


def verdict(rows: Sequence[dict[str, Any]]) -> str:
    """One line for the table; empty where nothing was compared."""
    found = ratios(rows)
    if not found:
        return ""
    (least, name), key = min((value, key) for key, value in found.items())
    middle = statistics.median(ratio for ratio, _ in found.values())
    return (
        f"# Against the fastest other: {middle:.2f} times as fast (median), "
        f"{least:.2f} at least ({name} at {key[3]} B, {key[1]} {key[2]})"
    )

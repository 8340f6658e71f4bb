"""From measured times to a table: which algorithm is taken for which sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from math import isqrt
from typing import Any

__all__ = ["Kind", "Point", "Timed", "between", "crossings", "pick", "rows_of"]

_CLOSE = 0.01  # of the time: nearer than that is no difference
_STEP = 256  # bytes: what is measured between sizes is a multiple of it


@dataclass(frozen=True)
class Kind:
    """Calls that have rows of their own. `dtype` stands for its class."""

    collective: str
    dtype: str
    dtypes: str  # "any", "floating" or "integral"
    mode: str  # "graph" or "eager"
    captured: bool | None  # what rows say of it; None: rows are for both
    place: bool  # measured in place
    in_place: bool | None

    @property
    def words(self) -> str:
        """For people: "all_reduce floating graph in place"."""
        place = {True: " in place", False: " out of place", None: ""}[self.in_place]
        dtypes = "" if self.dtypes == "any" else f" {self.dtypes}"
        return f"{self.collective}{dtypes} {self.mode}{place}"


@dataclass(frozen=True)
class Timed:
    """The time of one algorithm, microseconds; spread: between the rounds' medians."""

    us: float
    spread: float


@dataclass(frozen=True)
class Point:
    """What was measured at one size. bytes: of a rank's input; size: of its largest vector."""

    size: int
    bytes: int
    times: Mapping[str, Timed]
    chosen: str
    shipped: str | None  # of `times`, what weft takes where nothing was measured

    @property
    def faster(self) -> float:
        """How many times as fast as the shipped choice the chosen one is.

        >>> Point(8, 8, {"ll": Timed(2.0, 0), "ring": Timed(3.0, 0)}, "ll", "ring").faster
        1.5
        """
        if self.shipped is None:
            return 1.0
        return self.times[self.shipped].us / self.times[self.chosen].us


def pick(times: Mapping[str, Timed], incumbent: str | None) -> str:
    """The fastest; but the incumbent where it is not slower by more than the times spread.

    >>> times = {"ll": Timed(2.0, 0.1), "lamport": Timed(2.05, 0.0), "ring": Timed(9.0, 8.0)}
    >>> pick(times, None), pick(times, "lamport"), pick(times, "ring"), pick(times, "two_shot")
    ('ll', 'lamport', 'll', 'll')
    """
    best = min(times, key=lambda name: times[name].us)
    if incumbent is None or incumbent not in times:
        return best
    first, second = times[best], times[incumbent]
    # A spread of its own may not excuse any time at all.
    doubt = max(first.spread, min(second.spread, first.us / 4), _CLOSE * first.us)
    return incumbent if second.us <= first.us + doubt else best


def between(a: int, b: int) -> int:
    """The size in the middle of two, where times go with powers.

    >>> between(1024, 4096)
    2048
    """
    return isqrt(a * b)


def rows_of(kind: Kind, points: Iterable[Point]) -> list[dict[str, Any]]:
    """The rows of a table for `kind`: ranges without a gap, up to the largest size measured.

    Where the choice changes between two sizes, so does the row in their middle. What is below the
    smallest size belongs to it.

    >>> kind = Kind("all_reduce", "float32", "floating", "eager", None, True, True)
    >>> rows = rows_of(kind, [
    ...     Point(size, size, {name: Timed(1.0, 0.0)}, name, None)
    ...     for size, name in [(1024, "ll"), (4096, "ll"), (16384, "ring")]
    ... ])
    >>> [(row["from_bytes"], row["up_to_bytes"], row["algorithm"]) for row in rows]
    [(0, 8192, 'll'), (8193, 16384, 'ring')]
    """
    ordered = sorted(points, key=lambda point: point.bytes)
    groups = [list(group) for _, group in groupby(ordered, key=lambda point: point.chosen)]
    rows: list[dict[str, Any]] = []
    for i, group in enumerate(groups):
        last = group[-1].bytes
        end = last if i + 1 == len(groups) else between(last, groups[i + 1][0].bytes)
        rows.append(
            {
                "dtypes": kind.dtypes,
                "captured": kind.captured,
                "in_place": kind.in_place,
                "from_bytes": rows[-1]["up_to_bytes"] + 1 if rows else 0,
                "up_to_bytes": end,
                "algorithm": group[0].chosen,
                "blocks": 0,
                "measured": [_measured(point) for point in group],
            }
        )
    return rows


def crossings(points: Sequence[Point], ratio: float) -> list[int]:
    """Sizes worth measuring: in the middle of neighbours that differ and are `ratio` apart.

    >>> a, b = (Point(size, size, {}, name, None) for size, name in [(1024, "ll"), (2048, "ring")])
    >>> crossings([b, a], 1.5), crossings([a, a], 1.5), crossings([a, b], 2.0)
    ([1280], [], [])
    """
    ordered = sorted(points, key=lambda point: point.size)
    return [
        between(a.size, b.size) // _STEP * _STEP
        for a, b in pairwise(ordered)
        if a.chosen != b.chosen and b.size > ratio * a.size
    ]


def _measured(point: Point) -> dict[str, Any]:
    times = sorted(point.times.items(), key=lambda item: item[1].us)
    return {
        "bytes": point.bytes,
        "shipped": point.shipped,
        "us": {name: round(timed.us, 3) for name, timed in times},
        "spread_us": {name: round(timed.spread, 3) for name, timed in times},
    }

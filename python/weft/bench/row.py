"""One row of a benchmark, and what is computed from the times of its iterations.

Units: microseconds and 10^9 bytes per second, as in nccl-tests. What is not known is None.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Case", "Row", "bus_factor", "make_row", "percentile"]


@dataclass(frozen=True)
class Case:
    """What is timed: one collective at one size."""

    collective: str
    dtype: str
    op: str
    count: int  # elements of a rank's vector
    item_bytes: int
    in_place: bool

    @property
    def bytes(self) -> int:
        """Of one rank's vector."""
        return self.count * self.item_bytes


@dataclass(frozen=True)
class Row:
    """A row of schema `weft.bench/1`."""

    impl: str
    collective: str
    algo: str
    dtype: str
    op: str
    bytes: int
    ranks: int
    devices: list[str]
    in_place: bool
    mode: str
    clock: str  # "host" or "device": what measured the times
    time_us: float
    p50_us: float
    p99_us: float
    spread_us: float  # between the slowest and the fastest round's median
    rounds: int
    algbw_gbps: float
    busbw_gbps: float
    pct_peak: float | None
    blocks: int | None
    scratch_bytes: int | None
    wrong: int
    predicted: bool  # whether time_us is; times here are always measured
    predicted_us: float | None  # what the link table of a simulated fabric says

    def as_json(self) -> dict[str, Any]:
        """The row as a dict for JSON."""
        return asdict(self)


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that is at least as large as `percent` per cent of them.

    >>> percentile([4.0, 1.0, 3.0, 2.0], 50), percentile([1.0, 2.0], 99)
    (2.0, 2.0)
    """
    ordered = sorted(samples)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank) - 1, 0)]


def bus_factor(collective: str, ranks: int) -> float:
    """busbw / algbw, as nccl-tests defines it. KeyError for an unknown collective.

    >>> bus_factor("all_reduce", 4)
    1.5
    """
    return {"all_reduce": 2 * (ranks - 1) / ranks}[collective]


def make_row(
    case: Case,
    rounds: Sequence[Sequence[float]],
    *,
    peak_gbps: float | None = None,
    **told: Any,
) -> Row:
    """The row for `rounds`: for each round, the seconds of its iterations (the slowest rank's).

    peak_gbps: what pct_peak refers to. told: the fields of Row that are not computed.
    """
    samples = [1e6 * seconds for one in rounds for seconds in one]
    medians = [1e6 * statistics.median(one) for one in rounds]
    time_us = statistics.median(samples)
    algbw = case.bytes / time_us / 1e3
    busbw = algbw * bus_factor(case.collective, told["ranks"])
    return Row(
        collective=case.collective,
        dtype=case.dtype,
        op=case.op,
        bytes=case.bytes,
        in_place=case.in_place,
        time_us=time_us,
        p50_us=percentile(samples, 50),
        p99_us=percentile(samples, 99),
        spread_us=max(medians) - min(medians),
        rounds=len(rounds),
        algbw_gbps=algbw,
        busbw_gbps=busbw,
        pct_peak=100 * busbw / peak_gbps if peak_gbps else None,
        predicted=False,
        **told,
    )

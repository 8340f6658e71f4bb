"""One row of a benchmark, and what is computed from the times of its operations.

Units: microseconds and 10^9 bytes per second, as in nccl-tests. What is not known is None.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from weft.bench.collective import Case, bus_factor

__all__ = ["Row", "make_row", "percentile"]


@dataclass(frozen=True)
class Row:
    """A row of schema `weft.bench/1`."""

    impl: str
    collective: str
    algo: str
    dtype: str
    op: str
    bytes: int
    count: int
    root: int  # -1 where there is none
    ranks: int
    devices: list[str]
    in_place: bool
    mode: str
    clock: str  # "host" or "device": what measured the times
    cache: str | None  # "cold": every operation finds its data outside the L2; "hot"; not known
    iterations: int  # operations of one sample
    samples: int  # of all rounds
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
    wrong: int | None  # None: not checked (-c 0)
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


def make_row(
    case: Case,
    rounds: Sequence[Sequence[float]],
    *,
    peak_gbps: float | None = None,
    **told: Any,
) -> Row:
    """The row for `rounds`: for each round its samples, seconds of one operation (slowest rank).

    peak_gbps: what pct_peak refers to. told: the fields of Row that are not computed.
    """
    samples = [1e6 * seconds for one in rounds for seconds in one]
    medians = [1e6 * statistics.median(one) for one in rounds]
    time_us = statistics.median(samples)
    algbw = case.bytes / time_us / 1e3
    busbw = algbw * bus_factor(case.collective, case.ranks)
    return Row(
        collective=case.collective,
        dtype=case.dtype,
        op=case.op,
        bytes=case.bytes,
        count=case.count,
        root=case.root if case.kind.rooted else -1,
        ranks=case.ranks,
        in_place=case.in_place,
        samples=len(samples),
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

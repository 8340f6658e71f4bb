"""A sweep: every dtype, op and size, out of place and in place, over all implementations in turn.

Rounds of the implementations are interleaved, so that what slows the machine down for a while slows
all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from weft.bench.pattern import numpy_dtype
from weft.bench.row import Case, Row, make_row
from weft.bench.runner import Runner

__all__ = ["Plan", "available_memory", "cases", "largest_memory", "sweep"]


@dataclass(frozen=True)
class Plan:
    """What a sweep does. sizes: bytes of one rank's vector, rounded down to whole elements."""

    collective: str
    kinds: tuple[tuple[str, str], ...]  # dtype and op
    sizes: tuple[int, ...]
    iterations: int
    rounds: int


def cases(plan: Plan) -> list[Case]:
    """The configurations in order; those of one size, dtype and op stand side by side."""
    return [
        Case(plan.collective, dtype, op, size // item, item, in_place)
        for dtype, op in plan.kinds
        for item in [numpy_dtype(dtype).itemsize]
        for size in plan.sizes
        for in_place in (False, True)
    ]


def largest_memory(plan: Plan, ranks: int, implementations: int) -> int:
    """Bytes that the largest case needs: in and out for every rank, and vectors to check."""
    return max(plan.sizes) * (2 * ranks * implementations + 2)


def available_memory() -> int | None:
    """Bytes of host memory that can be had without swapping; None where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def sweep(plan: Plan, runners: Sequence[Runner], peak_gbps: float | None = None) -> Iterator[Row]:
    """Time every case with every runner and yield the rows, weft's first.

    peak_gbps: the rate of a link, one direction, that `pct_peak` of weft's rows refers to.
    """
    for case in cases(plan):
        for runner in runners:
            runner.prepare(case)
        times: list[list[list[float]]] = [[] for _ in runners]
        for _ in range(plan.rounds):
            for runner, rounds in zip(runners, times, strict=True):
                rounds.append(runner.round(plan.iterations))
        for runner, rounds in zip(runners, times, strict=True):
            wrong = runner.wrong()
            peak = peak_gbps if runner.impl == "weft" else None
            yield make_row(case, rounds, peak_gbps=peak, wrong=wrong, **runner.facts())

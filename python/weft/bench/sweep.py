"""A sweep: every dtype, op and size, out of place and in place, over all implementations in turn.

Rounds of the implementations are interleaved, so that what slows the machine down for a while slows
all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from weft.bench.collective import COLLECTIVES, Case, make_case
from weft.bench.load import Timing, make_load, measured_cache
from weft.bench.row import Row, make_row
from weft.bench.runner import Runner

__all__ = ["Plan", "available_memory", "cases", "largest_memory", "sweep"]


@dataclass(frozen=True)
class Plan:
    """What a sweep does. sizes: bytes of a rank's largest vector; see `make_case`."""

    collective: str
    kinds: tuple[tuple[str, str], ...]  # dtype and op
    sizes: tuple[int, ...]
    ranks: int
    rounds: int
    timing: Timing
    root: int = 0
    check: bool = True


def cases(plan: Plan) -> list[Case]:
    """The configurations in order; those of one size, dtype and op stand side by side."""
    places = (False, True) if COLLECTIVES[plan.collective].in_place else (False,)
    every = [
        make_case(plan.collective, dtype, op, size, plan.ranks, in_place=place, root=plan.root)
        for dtype, op in plan.kinds
        for size in plan.sizes
        for place in places
    ]
    return list(dict.fromkeys(every))  # sizes below one element a share become the same


def largest_memory(plan: Plan, implementations: int) -> int:
    """Bytes that the largest case needs: in and out for every rank, and vectors to check."""
    largest = max(cases(plan), key=lambda case: case.footprint)
    return largest.footprint * plan.ranks * implementations + 2 * largest.bytes


def available_memory() -> int | None:
    """Bytes of host memory that can be had without swapping; None where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def sweep(
    plan: Plan,
    runners: Sequence[Runner],
    peak: Callable[[Case], float | None] = lambda case: None,
) -> Iterator[Row]:
    """Time every case with every runner and yield the rows, weft's first.

    peak: the rate that `pct_peak` of a case refers to, 10^9 bytes per second; None: not known.
    """
    for case in cases(plan):
        load = make_load(case, plan.timing)
        for runner in runners:
            runner.prepare(case, load)
        times: list[list[list[float]]] = [[] for _ in runners]
        for turn in range(plan.rounds):
            # Whoever goes first finds the machine as the others left it: all get that place.
            for i in _rotated(len(runners), turn):
                times[i].append(runners[i].round())
        for runner, rounds in zip(runners, times, strict=True):
            wrong = runner.wrong() if plan.check else None
            facts = runner.facts()
            on_gpu = not str(facts["devices"][0]).startswith("cpu")
            yield make_row(
                case,
                rounds,
                peak_gbps=peak(case) if on_gpu else None,
                cache=measured_cache(plan.timing) if on_gpu else None,
                wrong=wrong,
                **facts,
            )


def _rotated(count: int, turn: int) -> list[int]:
    return [(i + turn) % count for i in range(count)]

"""Measures which algorithm is fastest for which calls, within a given time: `weft tune`.

Every algorithm that can serve a call is timed on the same buffers, in rounds that take turns. Sizes
go up by factors of 4; where the fastest changes from one to the next, what is left of the time goes
to sizes between them. Results are not checked here: that is what `weft bench` is for.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import weft
from weft import _weft
from weft.bench.collective import COLLECTIVES, Case, make_case
from weft.bench.crossover import Kind, Point, Timed, crossings, pick, rows_of
from weft.bench.load import Load, Timing, make_load
from weft.bench.record import machine
from weft.bench.sizes import size_text
from weft.bench.weft_runner import WeftRunner

__all__ = ["Budget", "Tuned", "Tuner", "kinds_of", "sizes_of"]

SMALLEST, LARGEST, FACTOR = 1 << 10, 256 << 20, 4
_NEAR = 1.5  # nearer sizes are not told apart
_ROUNDS = 3
_HOPELESS = 2.0  # times the fastest: what is slower in the first round has no other
_LATENCY = 1 << 20  # bytes below which a larger size takes hardly longer
_WARMUP = 2


class Budget:
    """So many seconds from now on.

    >>> Budget(0.0).left() <= 0
    True
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def left(self) -> float:
        """Seconds; 0 or less: it is spent."""
        return self._end - self._clock()

    def now(self) -> float:
        """The clock that it goes by."""
        return self._clock()


class OutOfTimeError(Exception):
    """The budget was spent in the midst of a size."""


@dataclass
class Tuned:
    """What was found out. left_out: sizes that the time did not suffice for."""

    points: dict[Kind, list[Point]] = field(default_factory=dict)
    left_out: dict[Kind, list[int]] = field(default_factory=dict)
    alone: list[Kind] = field(default_factory=list)  # one algorithm serves: nothing to choose

    def tables(self, fabric: Any) -> list[dict[str, Any]]:
        """As `weft.tuning.store` takes them: one for each collective."""
        found: dict[str, list[dict[str, Any]]] = {}
        for kind, points in self.points.items():
            found.setdefault(kind.collective, []).extend(rows_of(kind, points))
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        here = machine() | {"gpus": list(fabric._native.gpu_names)}
        return [
            {
                "collective": collective,
                "backend": fabric.backend,
                "ranks": fabric.size,
                "devices": list(fabric.devices),
                "machine": here,
                "date": now,
                "weft": weft.__version__,
                "rows": rows,
            }
            for collective, rows in found.items()
        ]

    def unmeasured(self) -> list[str]:
        """One line for each kind that has sizes left out."""
        return [
            f"{kind.words}: {', '.join(size_text(size) for size in sizes)}"
            for kind, sizes in self.left_out.items()
        ]


def kinds_of(collectives: Sequence[str], backend: str) -> list[Kind]:
    """The kinds of calls that are told apart.

    Only all_reduce has algorithms that some dtypes, or calls in place, cannot have. Captured calls
    and others are told apart on CUDA, where a replay spares what a call costs.

    >>> [kind.words for kind in kinds_of(["all_gather"], "cuda")]
    ['all_gather graph', 'all_gather eager']
    """
    modes = [("eager", None)] if backend == "sim" else [("graph", True), ("eager", False)]
    dtypes = [("float32", "floating"), ("int32", "integral")]
    kinds = []
    for collective in collectives:
        for mode, captured in modes:
            if collective != "all_reduce":
                kinds.append(Kind(collective, "float32", "any", mode, captured, False, None))
                continue
            for place in (True, False):
                for dtype, dtype_class in dtypes:
                    kinds.append(Kind(collective, dtype, dtype_class, mode, captured, place, place))
    return kinds


def sizes_of(largest: int = LARGEST) -> list[int]:
    """The sizes that are measured first.

    >>> sizes_of(20000)
    [1024, 4096, 16384]
    """
    sizes = [SMALLEST]
    while sizes[-1] * FACTOR <= largest:
        sizes.append(sizes[-1] * FACTOR)
    return sizes


class Tuner:
    """Measures on `fabric`, whose table in force names the incumbents, until `budget` is spent.

    runner: of all calls. l2_bytes: the largest L2 of the devices, None where there is none.
    largest: bytes of a rank's largest vector.
    """

    def __init__(
        self,
        fabric: Any,
        runner: WeftRunner,
        budget: Budget,
        *,
        l2_bytes: int | None = None,
        largest: int = LARGEST,
    ) -> None:
        self._fabric = fabric
        self._runner = runner
        self._budget = budget
        self._l2_bytes = l2_bytes
        self._sizes = sizes_of(largest)
        self._took: dict[Kind, tuple[int, float]] = {}  # the last size, and seconds for it
        self._tuned = Tuned()

    def plan(self, kinds: Sequence[Kind]) -> list[tuple[Kind, int]]:
        """What is measured first, in order: all kinds at one size, then all at the next."""
        return [(kind, size) for size in self._sizes for kind in kinds]

    def run(self, kinds: Sequence[Kind], advance: Callable[[int, str], None]) -> Tuned:
        """Measure. advance: called with 1 after each entry of the plan, with words before any."""
        tuned = self._tuned
        for kind, size in self.plan(kinds):
            advance(0, f"{kind.words} {size_text(size)}")
            if kind not in tuned.alone and not self._measure(kind, size):
                tuned.left_out.setdefault(kind, []).append(size)
            advance(1, "")
        for kind, size in self._between(kinds):
            advance(0, f"{kind.words} {size_text(size)}")
            self._measure(kind, size)
        self._runner.close()
        tuned.left_out = {kind: tuned.left_out[kind] for kind in kinds if kind in tuned.left_out}
        return tuned

    def _between(self, kinds: Sequence[Kind]) -> Iterator[tuple[Kind, int]]:
        """Sizes around the crossovers, nearer and nearer, each once."""
        seen: set[tuple[Kind, int]] = set()
        while True:
            new = [
                (kind, size)
                for kind in kinds
                for size in crossings(self._tuned.points.get(kind, []), _NEAR)
                if (kind, size) not in seen
            ]
            if not new:
                return
            seen.update(new)
            yield from new

    def _measure(self, kind: Kind, size: int) -> bool:
        """Whether there was time for it."""
        if self._budget.left() <= self._estimate(kind, size):
            return False
        begin = self._budget.now()
        case = make_case(
            kind.collective,
            kind.dtype,
            "sum" if COLLECTIVES[kind.collective].reduces else COLLECTIVES[kind.collective].ops[0],
            size,
            self._fabric.size,
            in_place=kind.place,
        )
        try:
            times = self._times(case, self._load(kind, case))
        except OutOfTimeError:
            return False
        self._took[kind] = (size, self._budget.now() - begin)
        if len(times) < 2:
            self._tuned.alone.append(kind)
            return True
        self._tuned.points.setdefault(kind, []).append(self._point(kind, case, times))
        return True

    def _estimate(self, kind: Kind, size: int) -> float:
        """Seconds that it may take, from the last size of its kind."""
        last, seconds = self._took.get(kind, (size, 0.0))
        return seconds * max(1.0, size / max(last, _LATENCY))

    def _load(self, kind: Kind, case: Case) -> Load:
        simulated = self._fabric.backend == "sim"
        few = 10 if case.bytes <= _LATENCY else 3
        timing = Timing(
            mode=kind.mode,
            iterations=few if simulated else (40 if kind.mode == "eager" else None),
            samples=None if simulated else 3,
            warmup=_WARMUP,
            l2_bytes=self._l2_bytes,
            blocking=simulated,
        )
        return make_load(case, timing)

    def _times(self, case: Case, load: Load) -> dict[str, Timed]:
        """Of every algorithm that can serve; those without a chance have one round."""
        self._runner.make_room(case, load)
        runners: dict[str, WeftRunner] = {}
        for name in _weft.algorithms():
            self._check_time()
            with suppress(weft.InvalidArgument, weft.CoResidencyError):  # it cannot serve this call
                runners[name] = self._runner.beside(algorithm=name)
        if len(runners) < 2:
            return {name: Timed(0.0, 0.0) for name in runners}
        medians: dict[str, list[float]] = {name: [] for name in runners}
        for turn in range(_ROUNDS):
            names = list(runners)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                self._check_time()
                medians[name].append(1e6 * statistics.median(runners[name].round()))
            best = min(statistics.median(medians[name]) for name in runners)
            for name in names:
                if statistics.median(medians[name]) > _HOPELESS * best:
                    del runners[name]
        return {
            name: Timed(statistics.median(rounds), max(rounds) - min(rounds))
            for name, rounds in medians.items()
        }

    def _point(self, kind: Kind, case: Case, times: dict[str, Timed]) -> Point:
        size = case.input_elements * case.item_bytes
        incumbent = self._preferred(kind, size, times, shipped=False)
        shipped = self._preferred(kind, size, times, shipped=True)
        return Point(case.bytes, size, times, pick(times, incumbent), shipped)

    def _preferred(
        self, kind: Kind, size: int, times: dict[str, Timed], *, shipped: bool
    ) -> str | None:
        """What "auto" takes: the first that it prefers of those that can serve."""
        order = self._fabric._native.preference(
            kind.collective, kind.dtype, size, bool(kind.captured), kind.place, shipped
        )
        return next((name for name in order if name in times), None)

    def _check_time(self) -> None:
        if self._budget.left() <= 0:
            raise OutOfTimeError

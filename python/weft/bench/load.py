"""How a case is timed: how many operations, on how many sets of buffers, how the L2 stays cold."""

from __future__ import annotations

from dataclasses import dataclass

from weft.bench.collective import Case

__all__ = ["Load", "Timing", "make_load", "measured_cache"]

_MIB = 1 << 20
_LARGE = 128 * _MIB  # above it an operation outlasts what disturbs it: fewer will do
_ROUND_BYTES = 32 << 30  # enough for a round
_LEAD_BYTES = 64 * _MIB  # a sample above it takes far longer than its launches


@dataclass(frozen=True)
class Timing:
    """What the user asked for, for all cases. None: as fits the size."""

    mode: str  # "graph" or "eager"
    iterations: int | None = None  # operations of one sample
    samples: int | None = None  # of one round
    warmup: int = 5
    hot: bool = False  # one set of buffers, used again and again
    l2_bytes: int | None = None  # the largest L2 of the devices; None: not known, or none
    blocking: bool = False  # a call returns when the result is there (simulated devices)


@dataclass(frozen=True)
class Load:
    """How one case is timed."""

    mode: str
    iterations: int  # operations of one sample, back to back, set after set
    samples: int  # of one round
    warmup: int
    sets: int  # of buffers, taken in turn
    flush_bytes: int  # overwritten on each device before a sample, where the sets fit the L2
    lead: bool  # whether a replay goes ahead of each timed one, so that launches are not timed

    def check_iterations(self, case: Case) -> int:
        """Operations of the sample that is checked: all, where each result is then known.

        A sum into its own input grows with every repetition: then one operation for each set.
        """
        grows = case.in_place and case.op in ("sum", "prod", "avg")
        return self.sets if grows else self.iterations


def make_load(case: Case, timing: Timing) -> Load:
    """The load for `case`.

    >>> from weft.bench.collective import make_case
    >>> case = make_case("all_reduce", "float32", "sum", 1 << 20, 2)
    >>> load = make_load(case, Timing("graph", l2_bytes=50 << 20))
    >>> load.iterations, load.samples, load.sets, load.flush_bytes >> 20, load.lead
    (20, 20, 20, 100, True)
    """
    size = max(case.bytes, 1)
    # Eager calls are timed to the last result: many of them, so that its wait is shared.
    most = 200 if timing.mode == "eager" else 20
    iterations = timing.iterations or min(most, max(5, (20 * _LARGE) // size))
    samples = timing.samples or min(20, max(5, _ROUND_BYTES // (size * iterations)))
    if timing.blocking and timing.mode == "eager":
        # Each call is timed by itself: no launch can hide behind the one before.
        iterations, samples = 1, iterations * (timing.samples or 1)
    sets, flush = 1, 0
    if timing.l2_bytes and not timing.hot:
        past = 2 * timing.l2_bytes
        sets = min(iterations, -(-past // max(case.footprint, 1)))
        flush = past if sets * case.footprint < past else 0
    return Load(
        mode=timing.mode,
        iterations=iterations,
        samples=samples,
        warmup=timing.warmup,
        sets=sets,
        flush_bytes=flush,
        lead=timing.mode == "graph" and not timing.blocking and size * iterations < _LEAD_BYTES,
    )


def measured_cache(timing: Timing) -> str | None:
    """ "cold", "hot" or, without an L2 that is known, None: the field `cache` of rows."""
    if timing.l2_bytes is None:
        return None
    return "hot" if timing.hot else "cold"

"""How weft is asked for each collective, and what `weft.Graph` is asked for.

The only place of the benchmark that knows these signatures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import weft
from weft.bench.collective import Case

__all__ = ["CapturedGraph", "method_of", "prepared"]


def method_of(collective: str) -> str:
    """The method of `Fabric` that `collective` needs.

    >>> method_of("p2p"), method_of("all_reduce")
    ('send_recv', 'all_reduce')
    """
    return "send_recv" if collective == "p2p" else collective


def prepared(
    fabric: Any, case: Case, inputs: Sequence[Any], out: Sequence[Any], **more: Any
) -> Callable[..., Any]:
    """One operation of `case`, all ranks at once, to be called: what a user would have written.

    more: algorithm=, timeout=, async_op=, ...; the function that comes back takes them too.
    """
    method = method_of(case.collective)
    given = list(inputs)
    if not case.in_place:
        more["out"] = [vector if case.expected(rank) else None for rank, vector in enumerate(out)]
    if case.kind.reduces:
        more["op"] = case.op
    if case.kind.rooted:
        more["root"] = case.root
    if method == "send_recv":
        targets = dict(case.pairs)
        more["to"] = [targets.get(rank) for rank in range(case.ranks)]
        given = [
            None if target is None else vector
            for vector, target in zip(given, more["to"], strict=True)
        ]

    def operation(**now: Any) -> Any:
        return getattr(fabric, method)(given, **more, **now)

    return operation


class CapturedGraph:
    """What `record` asks of the fabric, recorded once, run as often as wanted."""

    def __init__(self, fabric: Any, record: Callable[[], None]) -> None:
        self._graph = weft.Graph()
        with self._graph.capture(fabric):
            record()

    def info(self) -> dict[str, Any]:
        """What was chosen for it: algorithm, blocks, ..."""
        return dict(self._graph.info)

    def launch(self) -> None:
        """Run it; stream-ordered on CUDA, blocking on simulated devices."""
        self._graph.replay()

    def timed(self) -> float:
        """Run it and wait: seconds from start to end, of the slowest device."""
        return 1e-6 * float(self._graph.replay(timing=True))

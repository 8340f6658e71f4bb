"""Measuring this machine with a progress bar."""

from __future__ import annotations

from weft.cli.progress import progress
from weft.topology import Topology, probe

__all__ = ["measured_machine"]

_PARTS = 1000


def measured_machine() -> Topology:
    """`probe(measure=True)`, with a bar on stderr where that is a terminal."""
    shown = 0
    with progress("measuring", _PARTS) as advance:

        def show(done: float, following: str) -> None:
            nonlocal shown
            reached = round(_PARTS * done)
            advance(reached - shown, following)
            shown = reached

        return probe(measure=True, progress=show)

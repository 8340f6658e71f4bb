"""What the programs in bench/ share: a limit on their time, medians, records in files."""

from __future__ import annotations

import faulthandler
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

__all__ = ["end_after", "limit", "middle", "wait_until", "write_record"]

_NAP = 2e-4  # seconds between two looks


def end_after(seconds: float) -> None:
    """End the process with exit code 1, and its stacks on stderr, unless it ends before.

    The last resort against what has no deadline of its own: it does not depend on Python running.
    """
    faulthandler.dump_traceback_later(seconds, exit=True)


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """The same for a block: what comes after it may take longer."""
    end_after(seconds)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def wait_until(done: Callable[[], bool], seconds: float, what: str) -> None:
    """Return once `done()`. TimeoutError, which names `what`, after `seconds`.

    >>> wait_until(lambda: True, 1.0, "nothing")
    """
    deadline = monotonic() + seconds
    while not done():
        if monotonic() > deadline:
            raise TimeoutError(f"{what} has not ended after {seconds:g} s")
        sleep(_NAP)


def middle(name: str, values: Sequence[float]) -> dict[str, float]:
    """The median of one value a round, as `name`, and how far apart the rounds are.

    >>> middle("open_ms", [3.0, 1.0, 2.0])
    {'open_ms': 2.0, 'open_ms_spread': 2.0}
    """
    return {name: statistics.median(values), f"{name}_spread": max(values) - min(values)}


def write_record(path: str | None, record: dict[str, Any]) -> None:
    """`record` as JSON in the file `path`; None: nowhere."""
    if path is not None:
        Path(path).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

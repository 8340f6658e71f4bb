"""`Work`, the handle of an operation under way, and the list that keeps its tensors alive.

Thread safety: everything here may be used from any thread.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from weft import _weft
from weft._errors import seconds_or_default

__all__ = ["InFlight", "Work"]


class Work:
    """An operation that was started with `async_op=True`.

    >>> import numpy as np, weft
    >>> with weft.Fabric("sim:2") as fab:
    ...     work = fab.all_reduce([np.ones(3), np.ones(3)], async_op=True)
    ...     work.wait()
    ...     work.done(), work.info["algorithm"], work.outputs[1].tolist()
    (True, 'ring', [2.0, 2.0, 2.0])
    """

    __slots__ = ("_operation", "outputs")

    def __init__(self, operation: _weft.Operation, outputs: Sequence[Any]) -> None:
        self._operation = operation
        #: The outputs, one a rank; their contents are there once the work is done.
        self.outputs = list(outputs)

    def wait(self, timeout: float | None = None) -> None:
        """Block the calling thread until the operation has ended on every rank.

        timeout: seconds to wait at most, then CollectiveTimeout; None: until the operation has
        ended, which its own timeout bounds. Ctrl-C aborts the operation.
        Raises what the operation ended with, the same on every rank.
        """
        self._operation.wait(None if timeout is None else seconds_or_default(timeout, 0.0))

    def done(self) -> bool:
        """Whether it has ended, with or without an error. Does not block."""
        return bool(self._operation.done())

    def exception(self) -> BaseException | None:
        """The error it ended with; None if it ended well or has not ended. Does not block."""
        error = self._operation.exception() if self._operation.done() else None
        return error if isinstance(error, BaseException) else None

    @property
    def info(self) -> dict[str, Any]:
        """algorithm, protocol, bytes (of one rank), blocks, path, predicted_seconds (or None)."""
        return dict(self._operation.info)

    def __repr__(self) -> str:
        state = "done" if self.done() else "under way"
        return f"<weft.Work {self.info.get('algorithm')} {state}>"


class InFlight:
    """Holds references to the tensors of operations under way, which the extension only borrows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: deque[tuple[_weft.Operation, object]] = deque()

    def hold(self, operation: _weft.Operation, tensors: object) -> None:
        """Keep `tensors` until `operation` has ended; let go of those of which that is known.

        Nothing is asked of a device: the fabric finds out at its next launches, a few at a time.
        """
        ended = []
        with self._lock:
            while self._held and self._held[0][0].decided:
                ended.append(self._held.popleft())
            self._held.append((operation, tensors))
        del ended  # without the lock: what is let go of may call back

    def settle(self, timeout: float | None = None) -> None:
        """Wait for every operation that is held, whatever it ends with, and let go of it.

        timeout: seconds for each; None: until it has ended.
        """
        with self._lock:
            held, self._held = self._held, deque()
        for operation, _ in held:
            try:
                operation.wait(timeout)
            except _weft.Error:
                continue  # its own caller gets it

    def __del__(self) -> None:
        # Who drops a fabric without closing it drops its tensors with it: not before they are free.
        self.settle()

"""`Work`, the handle of an operation under way, and the list that keeps its tensors alive.

Thread safety: everything here may be used from any thread.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from weft import _weft
from weft._errors import seconds_or_default

__all__ = ["InFlight", "Work"]

_LEAVE_SECONDS = 10.0  # that ranks have after an abort

# What operations that never ended may still be using, when their fabric is gone.
_lost: list[object] = []


class Work:
    """An operation that was started with `async_op=True`.

    >>> import numpy as np, weft
    >>> with weft.Fabric("sim:2") as fab:
    ...     work = fab.all_reduce([np.ones(3), np.ones(3)], async_op=True)
    ...     work.wait()
    ...     work.done(), work.info["algorithm"], work.outputs[1].tolist()
    (True, 'two_shot', [2.0, 2.0, 2.0])
    """

    __slots__ = ("_operation", "outputs")

    def __init__(self, operation: _weft.Operation, outputs: Sequence[Any]) -> None:
        self._operation = operation
        #: The outputs, one a rank; their contents are there once the work is done.
        self.outputs = list(outputs)

    def wait(self, timeout: float | None = None) -> None:
        """Block the calling thread until the operation has ended on every rank.

        timeout: seconds to wait at most, then CollectiveTimeout that names the ranks whose work has
        not ended; the operation goes on. None: until it has ended. Each of its own waits, from its
        start on, is bounded by the operation's timeout; once one of them has failed, or the fabric
        was aborted, its ranks have 10 s to leave, then this raises CollectiveTimeout. What the
        caller has put on his own CUDA streams before it is not bounded: where that may never end,
        give a timeout.
        Ctrl-C aborts the operation, also while it waits for nothing but the caller's own work.
        Raises what the operation ended with, the same on every rank; FabricClosed in the child of
        a fork().
        """
        self._operation.wait(None if timeout is None else seconds_or_default(timeout, 0.0))

    def done(self) -> bool:
        """Whether it has ended, with or without an error. Does not block.

        FabricClosed in the child of a fork(), unless it had ended before.
        """
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
        try:
            state = "done" if self.done() else "under way"
        except _weft.FabricClosed:
            state = "of another process"
        return f"<weft.Work {self.info.get('algorithm')} {state}>"


class InFlight:
    """Holds references to the tensors of operations under way, which the extension only borrows."""

    def __init__(self, native: _weft.Fabric, timeout: float) -> None:
        self._native = native
        self._timeout = timeout
        self._process = os.getpid()
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

    def settle(self, timeout: float | None = None) -> bool:
        """Wait for every operation that is held, whatever it ends with, and let go of those that
        have ended; whether all have.

        timeout: seconds for all of them together; None: as `Work.wait` does for each. Does nothing
        in the child of a fork(), where a thread that is not there may hold the lock.
        """
        if os.getpid() != self._process:
            return True
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            held = list(self._held)
        for operation, _ in held:
            left = None if deadline is None else max(deadline - time.monotonic(), 1e-3)
            try:
                operation.wait(left)
            except _weft.Error:
                continue  # its own caller gets it
        with self._lock:
            ended = [entry for entry in self._held if entry[0].decided]
            self._held = deque(entry for entry in self._held if not entry[0].decided)
            all_ended = not self._held
        del held, ended  # without the lock, as above
        return all_ended

    def __del__(self) -> None:
        # Who drops a fabric without closing it drops its tensors with it: not before they are free.
        if self.settle(self._timeout):
            return
        self._native.abort()
        if not self.settle(_LEAVE_SECONDS):
            _lost.append(self._held)

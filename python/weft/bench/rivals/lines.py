"""A child process that answers JSON requests, one a line. Every reply has a deadline.

Past it CollectiveTimeout is raised; a child that ends raises RivalUnavailableError with the end of
what it wrote to stderr. Not thread-safe.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

from weft import _weft
from weft._errors import named
from weft.bench.runner import RivalUnavailableError

__all__ = ["LineProcess"]


class LineProcess:
    """`command`, fed by `send` and read by `receive`.

    >>> import sys
    >>> echo = LineProcess("echo", [sys.executable, "-c", "print(input())"], timeout=30)
    >>> echo.send({"do": "hello"}); echo.receive()
    {'do': 'hello'}
    >>> echo.close()
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        timeout: float,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._name = name
        self._timeout = timeout
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._unread = b""
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )

    def send(self, request: dict[str, Any]) -> None:
        """Send one request. RivalUnavailableError if the process has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._ended() from error

    def receive(self) -> dict[str, Any]:
        """The next reply. A reply {"error": ...} raises RivalUnavailableError."""
        reply = json.loads(self._line())
        assert isinstance(reply, dict)
        if "error" in reply:
            raise RivalUnavailableError(f"{self._name}: {reply['error']}")
        return reply

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """`send`, then `receive`."""
        self.send(request)
        return self.receive()

    def close(self) -> None:
        """End the process; it gets two seconds to leave by itself."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        for end in (self._process.terminate, self._process.kill, None):
            try:
                self._process.wait(2.0)
                break
            except subprocess.TimeoutExpired:
                if end is not None:
                    end()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline = time.monotonic() + self._timeout
        while b"\n" not in self._unread:
            ready, _, _ = select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))
            if not ready:
                late = _weft.CollectiveTimeout(
                    f"no reply from {self._name} within {self._timeout} s"
                )
                raise named(late, "collective_timeout")
            data = os.read(descriptor, 1 << 16)
            if not data:
                raise self._ended()
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _ended(self) -> RivalUnavailableError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._errors.seek(0)
        tail = self._errors.read().decode(errors="replace")[-2000:].strip() or "no message"
        return RivalUnavailableError(f"{self._name} ended: {tail}")

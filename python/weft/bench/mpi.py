"""MPI.Allreduce on this machine, for comparison: processes started by `mpiexec`, fed line by line.

The processes sleep between commands, so that they do not disturb what is timed in between. Every
reply has a deadline; past it the processes are ended and CollectiveTimeout is raised.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from weft import _weft
from weft._errors import named

if TYPE_CHECKING:
    from weft.bench.row import Case

__all__ = ["DTYPES", "MpiRunner", "MpiUnavailableError", "find_mpiexec"]

#: What MPI reduces; it has no avg and no narrow floats.
DTYPES = ("uint8", "int8", "int16", "int32", "int64", "float32", "float64")


class MpiUnavailableError(Exception):
    """mpi4py or mpiexec is missing."""


def find_mpiexec() -> str:
    """The path of mpiexec: beside this Python, else on PATH. MpiUnavailableError if none."""
    beside = Path(sys.executable).parent / "mpiexec"
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None or importlib.util.find_spec("mpi4py") is None:
        raise MpiUnavailableError("MPI needs mpi4py and mpiexec: pip install mpi4py mpich")
    return found


class MpiRunner:
    """`MPI.Allreduce` between `ranks` processes, on vectors in host memory."""

    impl = "mpi"

    def __init__(self, ranks: int, *, warmup: int, timeout: float) -> None:
        self._ranks = ranks
        self._warmup = warmup
        self._timeout = timeout
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._unread = b""
        self._process = subprocess.Popen(
            [find_mpiexec(), "-n", str(ranks), sys.executable, "-m", "weft.bench.mpi_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
        )
        self._ask({"do": "hello"})

    def prepare(self, case: Case) -> None:
        self._ask(
            {
                "do": "prepare",
                "dtype": case.dtype,
                "op": case.op,
                "count": case.count,
                "in_place": case.in_place,
                "iterations": self._warmup,
            }
        )

    def round(self, iterations: int) -> list[float]:
        reply = self._ask({"do": "round", "iterations": iterations})
        return [float(seconds) for seconds in reply["seconds"]]

    def wrong(self) -> int:
        return int(self._ask({"do": "check"})["wrong"])

    def facts(self) -> dict[str, Any]:
        return {
            "impl": self.impl,
            "algo": "mpi",
            "ranks": self._ranks,
            "devices": ["cpu"] * self._ranks,
            "mode": "eager",
            "clock": "host",
            "blocks": None,
            "scratch_bytes": None,
            "predicted_us": None,
        }

    def close(self) -> None:
        """End the processes; they get two seconds to leave by themselves."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            try:
                self._process.wait(2.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            reply = json.loads(self._line())
        except (OSError, EOFError) as error:
            raise MpiUnavailableError(f"mpiexec ended: {self._error_tail()}") from error
        assert isinstance(reply, dict)
        return reply

    def _line(self) -> bytes:
        """The next line of the first process. EOFError at the end, CollectiveTimeout when late."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline = time.monotonic() + self._timeout
        while b"\n" not in self._unread:
            ready, _, _ = select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))
            if not ready:
                late = _weft.CollectiveTimeout(f"no reply from MPI within {self._timeout} s")
                raise named(late, "collective_timeout")
            data = os.read(descriptor, 1 << 16)
            if not data:
                raise EOFError
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _error_tail(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-2000:].strip() or "no message"

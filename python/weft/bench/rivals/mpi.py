"""MPI on this machine, for comparison: processes started by `mpiexec`, fed line by line.

The processes sleep between commands, so that they do not disturb what is timed in between.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft.bench.rivals.lines import LineProcess
from weft.bench.runner import RivalUnavailableError

if TYPE_CHECKING:
    from weft.bench.collective import Case
    from weft.bench.load import Load

__all__ = ["DTYPES", "MpiRunner", "find_mpiexec", "refuse"]

#: What MPI reduces; it has no avg and no narrow floats.
DTYPES = ("uint8", "int8", "int16", "int32", "int64", "float32", "float64")


def find_mpiexec() -> str:
    """The path of mpiexec: beside this Python, else on PATH. RivalUnavailableError if none."""
    beside = Path(sys.executable).parent / "mpiexec"
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None or importlib.util.find_spec("mpi4py") is None:
        raise RivalUnavailableError("MPI needs mpi4py and mpiexec: pip install mpi4py mpich")
    return found


def refuse(dtype: str, op: str) -> None:
    """RivalUnavailableError where MPI has no such reduction, or cannot move the type."""
    if op == "avg" or dtype not in DTYPES:
        raise RivalUnavailableError(f"MPI has no {op} of {dtype}; compare without it")


class MpiRunner:
    """MPI between `ranks` processes, on vectors in host memory."""

    impl = "mpi"

    def __init__(self, ranks: int, *, timeout: float) -> None:
        command = [find_mpiexec(), "-n", str(ranks), sys.executable, "-m"]
        self._ranks = ranks
        self._process = LineProcess(
            "mpiexec", [*command, "weft.bench.rivals.mpi_worker"], timeout=timeout
        )
        self._process.ask({"do": "hello"})

    def prepare(self, case: Case, load: Load) -> None:
        self._load = load
        self._process.ask({"do": "prepare", "case": asdict(case), "iterations": load.warmup})

    def round(self) -> list[float]:
        load = self._load
        reply = self._process.ask(
            {"do": "round", "iterations": load.iterations, "samples": load.samples}
        )
        return [float(seconds) for seconds in reply["seconds"]]

    def wrong(self) -> int:
        return int(self._process.ask({"do": "check"})["wrong"])

    def facts(self) -> dict[str, Any]:
        return {
            "impl": self.impl,
            "algo": "mpi",
            "devices": ["cpu"] * self._ranks,
            "mode": "eager",
            "clock": "host",
            "iterations": self._load.iterations,
            "blocks": None,
            "scratch_bytes": None,
            "predicted_us": None,
        }

    def close(self) -> None:
        """End the processes; they get two seconds to leave by themselves."""
        self._process.close()

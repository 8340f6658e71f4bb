"""PyTorch for comparison: symmetric memory's all-reduce, or torch.distributed over NCCL.

One process a device, told by a pipe when to run each round; the devices are idle otherwise.
Multimem and NVLink multicast are off.
"""

from __future__ import annotations

import importlib.util
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from weft.bench.rivals.lines import LineProcess
from weft.bench.runner import RivalUnavailableError

if TYPE_CHECKING:
    from weft.bench.collective import Case
    from weft.bench.load import Load

__all__ = ["DTYPES", "TorchRunner", "refuse"]

#: The program of each process.
WORKER = [sys.executable, "-m", "weft.bench.rivals.torch_worker"]
#: What symmetric memory reduces, and only by sum.
DTYPES = ("float32", "bfloat16")


def refuse(impl: str, collective: str, dtype: str, op: str) -> None:
    """RivalUnavailableError where PyTorch is missing or has no such collective."""
    if importlib.util.find_spec("torch") is None:
        raise RivalUnavailableError(f"--vs {impl} needs PyTorch with CUDA: pip install torch")
    if collective != "all_reduce":
        raise RivalUnavailableError(f"{impl} has no {collective} here, only all_reduce")
    if impl == "torch" and (dtype not in DTYPES or op != "sum"):
        raise RivalUnavailableError(
            f"torch's symmetric memory has no {op} of {dtype}, only sum of {', '.join(DTYPES)}"
        )
    without = dtype in ("bool", "int16") or dtype.startswith("float8") or op == "avg"
    if impl == "torch-nccl" and without:
        raise RivalUnavailableError(f"{impl} has no {op} of {dtype} here; compare without it")


class TorchRunner:
    """`impl`: "torch" (the better of one- and two-shot, by a trial) or "torch-nccl"."""

    def __init__(
        self, impl: str, ordinals: Sequence[int], *, capacity: int, timeout: float
    ) -> None:
        self.impl = impl
        self._ordinals = list(ordinals)
        self._algo = ""
        self._processes: list[LineProcess] = []
        port = _free_port()
        try:
            for rank in range(len(ordinals)):
                self._processes.append(self._start(rank, port, timeout))
            self.versions = self._ask({"do": "hello", "impl": impl, "capacity": capacity})[0]
        except BaseException:
            self.close()
            raise

    def _start(self, rank: int, port: int, timeout: float) -> LineProcess:
        environment = {
            "RANK": str(rank),
            "LOCAL_RANK": str(self._ordinals[rank]),
            "WORLD_SIZE": str(len(self._ordinals)),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "NCCL_NVLS_ENABLE": "0",
            "TORCH_SYMM_MEM_DISABLE_MULTICAST": "1",
        }
        return LineProcess(
            f"{self.impl}, rank {rank}", WORKER, timeout=timeout, environment=environment
        )

    def prepare(self, case: Case, load: Load) -> None:
        self._load = load
        self._algo = self._ask({"do": "prepare", "case": asdict(case), "load": asdict(load)})[0][
            "algo"
        ]

    def round(self) -> list[float]:
        replies = self._ask({"do": "round"})
        return [max(times) for times in zip(*(r["seconds"] for r in replies), strict=True)]

    def wrong(self) -> int:
        return sum(int(reply["wrong"]) for reply in self._ask({"do": "check"}))

    def facts(self) -> dict[str, Any]:
        return {
            "impl": self.impl,
            "algo": self._algo,
            "devices": [f"cuda:{ordinal}" for ordinal in self._ordinals],
            "mode": self._load.mode,
            "clock": "device" if self._load.mode == "graph" else "host",
            "iterations": self._load.iterations,
            "blocks": None,
            "scratch_bytes": None,
            "predicted_us": None,
        }

    def close(self) -> None:
        """End the processes; they get two seconds to leave by themselves."""
        for process in self._processes:
            process.close()

    def _ask(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """The replies of all processes to one request, which they serve together."""
        for process in self._processes:
            process.send(request)
        return [process.receive() for process in self._processes]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])

"""One MPI process of a comparison: `mpiexec -n N python -m weft.bench.mpi_worker`.

The first process reads one JSON request a line from stdin and writes one JSON reply a line to
stdout; all processes take part. They sleep while they wait, and leave at the end of stdin.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
from mpi4py import MPI

from weft.bench.pattern import Array, Pattern

__all__ = ["main"]

_OPS = {"sum": MPI.SUM, "prod": MPI.PROD, "min": MPI.MIN, "max": MPI.MAX}
_IDLE_SECONDS = 0.0005


class Worker:
    """The buffers of one process and what is done with them."""

    def __init__(self, comm: Any) -> None:
        self._comm = comm
        self._input: Array = np.zeros(0)
        self._output: Array | None = None

    def prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make the buffers and warm up."""
        self._op = _OPS[request["op"]]
        self._pattern = Pattern(request["dtype"], request["op"], self._comm.size)
        self._input = self._pattern.values(self._comm.rank, request["count"])
        self._output = None if request["in_place"] else np.zeros_like(self._input)
        return self.round(request)

    def round(self, request: dict[str, Any]) -> dict[str, Any]:
        """Time the iterations; the reply has the slowest process's seconds of each."""
        self._comm.Barrier()
        mine = np.zeros(request["iterations"])
        for i in range(len(mine)):
            begin = time.perf_counter()
            self._once()
            mine[i] = time.perf_counter() - begin
        slowest = np.zeros_like(mine)
        self._comm.Allreduce(mine, slowest, MPI.MAX)
        return {"seconds": slowest.tolist()}

    def check(self, request: dict[str, Any]) -> dict[str, Any]:
        """One more operation on fresh data; the reply has the wrong elements of all processes."""
        self._pattern.fill(self._comm.rank, self._input)
        self._once()
        result = self._input if self._output is None else self._output
        return {"wrong": int(self._comm.allreduce(self._pattern.wrong(result)))}

    def hello(self, request: dict[str, Any]) -> dict[str, Any]:
        """Say who is there."""
        return {"ranks": self._comm.size}

    def _once(self) -> None:
        if self._output is None:
            self._comm.Allreduce(MPI.IN_PLACE, self._input, self._op)
        else:
            self._comm.Allreduce(self._input, self._output, self._op)


def next_request(comm: Any) -> dict[str, Any]:
    """The next request, the same in every process; the last one is {"do": "leave"}."""
    size = np.zeros(1, np.int64)
    line = b""
    if comm.rank == 0:
        line = sys.stdin.buffer.readline().strip() or b'{"do": "leave"}'
        size[0] = len(line)
    _sleep_until_there(comm.Ibcast(size))
    text = np.frombuffer(line, np.uint8).copy() if line else np.zeros(int(size[0]), np.uint8)
    comm.Bcast(text)
    request = json.loads(text.tobytes())
    assert isinstance(request, dict)
    return request


def _sleep_until_there(request: Any) -> None:
    while not request.Test():
        time.sleep(_IDLE_SECONDS)


def main() -> None:
    """Serve requests until there are no more."""
    comm = MPI.COMM_WORLD
    worker = Worker(comm)
    actions = {
        "hello": worker.hello,
        "prepare": worker.prepare,
        "round": worker.round,
        "check": worker.check,
    }
    while (request := next_request(comm))["do"] != "leave":
        reply = actions[request["do"]](request)
        if comm.rank == 0:
            print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()

"""One MPI process of a comparison: `mpiexec -n N python -m weft.bench.rivals.mpi_worker`.

The first process reads one JSON request a line from stdin and writes one JSON reply a line to
stdout; all processes take part. They sleep while they wait, and leave at the end of stdin.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from mpi4py import MPI

from weft.bench.buffers import HostMemory
from weft.bench.collective import Case
from weft.bench.pattern import Array, Pattern

__all__ = ["main"]

_OPS = {"sum": MPI.SUM, "prod": MPI.PROD, "min": MPI.MIN, "max": MPI.MAX}
_IDLE_SECONDS = 0.0005


class Worker:
    """The buffers of one process and what is done with them."""

    def __init__(self, comm: Any) -> None:
        self._comm = comm
        self._memory = HostMemory()

    def prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make the buffers and warm up."""
        case = self._case = Case(**request["case"])
        self._pattern = Pattern(case.dtype, case.op, case.ranks)
        self._input = self._pattern.values(self._comm.rank, case.input_elements)
        self._output = self._input
        if not case.in_place:
            self._output = np.zeros(case.output_elements, self._input.dtype)
        self._once = _operation(self._comm, case, self._input, self._output)
        return self.round({"iterations": 1, "samples": request["iterations"]})

    def round(self, request: dict[str, Any]) -> dict[str, Any]:
        """Time the samples; the reply has the slowest process's seconds of an operation of each."""
        self._comm.Barrier()
        mine = np.zeros(request["samples"])
        for i in range(len(mine)):
            begin = time.perf_counter()
            for _ in range(request["iterations"]):
                self._once()
            mine[i] = (time.perf_counter() - begin) / request["iterations"]
        slowest = np.zeros_like(mine)
        self._comm.Allreduce(mine, slowest, MPI.MAX)
        return {"seconds": slowest.tolist()}

    def check(self, request: dict[str, Any]) -> dict[str, Any]:
        """One more operation on fresh data; the reply has the wrong elements of all processes."""
        self._memory.fill(self._input, self._pattern, self._comm.rank)
        if self._output is not self._input:
            self._memory.clear(self._output)
        self._once()
        wrong = place = 0
        for segment in self._case.expected(self._comm.rank):
            part = self._output[place : place + segment.count]
            wrong += self._pattern.wrong(part, segment.source, segment.start)
            place += segment.count
        return {"wrong": int(self._comm.allreduce(wrong))}

    def hello(self, request: dict[str, Any]) -> dict[str, Any]:
        """Say who is there."""
        return {"ranks": self._comm.size}


def _operation(comm: Any, case: Case, given: Array, out: Array) -> Callable[[], None]:
    """What one operation of `case` is in this process."""
    source = MPI.IN_PLACE if case.in_place else given
    op, root = _OPS.get(case.op), case.root
    is_root = comm.rank == root

    def broadcast() -> None:
        if not case.in_place and is_root:
            out[:] = given
        comm.Bcast(out, root)

    def reduce() -> None:
        if is_root:
            comm.Reduce(source, out, op, root)
        else:
            comm.Reduce(given, None, op, root)

    def exchange() -> None:
        requests = [comm.Irecv(out, s) for s, t in case.pairs if t == comm.rank]
        requests += [comm.Isend(given, t) for s, t in case.pairs if s == comm.rank]
        MPI.Request.Waitall(requests)

    return {
        "all_reduce": lambda: comm.Allreduce(source, out, op),
        "reduce_scatter": lambda: comm.Reduce_scatter_block(given, out, op),
        "all_gather": lambda: comm.Allgather(given, out),
        "broadcast": broadcast,
        "reduce": reduce,
        "all_to_all": lambda: comm.Alltoall(given, out),
        "scatter": lambda: comm.Scatter(given if is_root else None, out, root),
        "gather": lambda: comm.Gather(given, out if is_root else None, root),
        "send_recv": exchange,
        "p2p": exchange,
    }[case.collective]


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

"""One PyTorch process of a comparison: `python -m weft.bench.rivals.torch_worker`.

Reads one JSON request a line from stdin and writes one JSON reply a line to stdout; the rank and
its device come from RANK and LOCAL_RANK. All processes get the same requests. It leaves at the end
of stdin. PyTorch is imported by `main` only.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from weft.bench.buffers import places
from weft.bench.collective import Case
from weft.bench.load import Load
from weft.bench.pattern import Pattern

__all__ = ["main"]

_TRIALS = 5

#: One operation: in and out, both slices of symmetric memory.
Operation = Callable[[Any, Any], None]


class Worker:
    """The buffers and graphs of one process."""

    def __init__(self, torch: Any, group: str) -> None:
        self._torch, self._group = torch, group
        self._rank = int(os.environ["RANK"])
        self._device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        self._graphs: list[Any] = []
        self._algo = ""
        self._scratch = torch.empty(0, dtype=torch.uint8, device=self._device)

    def hello(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make the symmetric memory that all cases share."""
        torch = self._torch
        self._impl = request["impl"]
        capacity = request["capacity"]
        if self._impl == "torch":
            from torch.distributed import _symmetric_memory as symmetric

            self._arena = symmetric.empty(capacity, dtype=torch.uint8, device=self._device)
            self._handle = symmetric.rendezvous(self._arena, self._group)
        else:
            self._arena = torch.empty(capacity, dtype=torch.uint8, device=self._device)
        nccl = ".".join(str(part) for part in torch.cuda.nccl.version())
        return {"torch": torch.__version__, "torch-nccl": nccl}

    def prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make the buffers, choose the better algorithm by a trial, warm up and capture."""
        self._case, self._load = Case(**request["case"]), Load(**request["load"])
        self._pattern = Pattern(self._case.dtype, self._case.op, self._case.ranks)
        self._graphs.clear()
        self._cut(self._load.sets + 1)
        self._fill()
        best, algo, why = float("inf"), "", []
        for name, operation in self._operations().items():
            try:
                operation(*self._buffers[0])
                self._torch.cuda.synchronize()
            except (RuntimeError, AttributeError, TypeError) as error:
                why.append(f"{name}: {str(error).splitlines()[0][:200]}")
                continue
            self._set(operation)
            mine = statistics.median(self._sample() for _ in range(_TRIALS))
            slowest = self._slowest(mine)
            if slowest < best:
                best, algo, chosen = slowest, name, operation
        if not algo:
            return {"error": "no all-reduce for this case; " + "; ".join(why)}
        self._algo = algo
        self._set(chosen)
        for _ in range(self._load.warmup):
            chosen(*self._buffers[0])
        self._sample()
        return {"algo": algo}

    def round(self, request: dict[str, Any]) -> dict[str, Any]:
        """Seconds of one operation of this rank, for each sample."""
        return {"seconds": [self._sample() for _ in range(self._load.samples)]}

    def check(self, request: dict[str, Any]) -> dict[str, Any]:
        """One more sample on fresh data; the reply has this rank's wrong elements."""
        count = self._load.check_iterations(self._case)
        if self._algo == "two_shot":
            count = self._load.sets  # it reduces into its input, wherever the result goes
        graph = self._graphs[0] if self._graphs else None
        if graph is not None and count != self._load.iterations:
            graph = self._capture(count, self._buffers[:-1])
        self._fill()
        self._barrier()
        if graph is None:
            self._run(count, self._buffers[:-1])
        else:
            graph.replay()
        self._torch.cuda.synchronize()
        torch = self._torch
        right = self._tiled(None)
        wrong = sum(int(torch.count_nonzero(out != right)) for _, out in self._buffers[:-1])
        self._barrier()  # nobody goes on while another still reads
        return {"wrong": wrong}

    def _operations(self) -> dict[str, Operation]:
        """The ways to do it, by name."""
        torch, group, op = self._torch, self._group, self._case.op
        if self._impl != "torch":
            from torch import distributed

            kind = {"sum": "SUM", "prod": "PRODUCT", "min": "MIN", "max": "MAX"}[op]
            reduce_op = getattr(distributed.ReduceOp, kind)

            def nccl(given: Any, out: Any) -> None:
                if out is not given:
                    out.copy_(given)  # it has no other way
                distributed.all_reduce(out, reduce_op)

            return {"nccl": nccl}
        symm = torch.ops.symm_mem
        if self._case.in_place:
            # One shot cannot overwrite what others read: it copies to other symmetric memory first.
            staging = self._staging
            return {
                "one_shot": lambda given, out: symm.one_shot_all_reduce_copy_out(
                    staging, given, op, group, out
                ),
                "two_shot": lambda given, out: symm.two_shot_all_reduce_(given, op, group),
            }
        return {
            "one_shot": lambda given, out: symm.one_shot_all_reduce_out(given, op, group, out),
            "two_shot": lambda given, out: symm.two_shot_all_reduce_out(given, op, group, out),
        }

    def _cut(self, sets: int) -> None:
        """Cut in and out of each set from the arena; the last set is for what runs ahead."""
        case, torch = self._case, self._torch
        whole = self._arena.view(getattr(torch, case.dtype))
        counts = [case.input_elements] * (1 if case.in_place else 2) * sets
        begins = places(case.dtype, [*counts, case.input_elements])
        parts = [whole[b : b + case.input_elements] for b in begins[:-1]]
        self._staging = parts.pop()
        step = 1 if case.in_place else 2
        self._buffers = [(parts[i], parts[i + step - 1]) for i in range(0, len(parts), step)]

    def _tiled(self, source: int | None) -> Any:
        """The input of rank `source`, or the result, on the device."""
        period = self._pattern.period(source)
        # By way of float64, exact for these values: NumPy's bfloat16 is unknown to PyTorch.
        one = self._torch.tensor(period.astype("float64"), device=self._device)
        one = one.to(getattr(self._torch, self._case.dtype))
        count = self._case.input_elements
        return one.repeat(-(-count // len(one)))[:count]

    def _fill(self) -> None:
        mine = self._tiled(self._rank)
        for given, out in self._buffers:
            if out is not given:
                out.fill_(77)
            given.copy_(mine)
        self._torch.cuda.synchronize()
        self._barrier()

    def _set(self, operation: Operation) -> None:
        """Time `operation` from now on."""
        self._operation = operation
        self._graphs.clear()
        if self._load.mode == "graph":
            self._graphs.append(self._capture(self._load.iterations, self._buffers[:-1]))
            if self._load.lead:
                self._graphs.append(self._capture(self._load.iterations, self._buffers[-1:]))

    def _capture(self, count: int, buffers: Sequence[Any]) -> Any:
        graph = self._torch.cuda.CUDAGraph()
        self._run(1, buffers)
        self._torch.cuda.synchronize()
        with self._torch.cuda.graph(graph):
            self._run(count, buffers)
        self._barrier()
        return graph

    def _run(self, count: int, buffers: Sequence[Any]) -> None:
        for i in range(count):
            self._operation(*buffers[i % len(buffers)])

    def _sample(self) -> float:
        """Seconds of one operation of this rank."""
        torch, count = self._torch, self._load.iterations
        if self._load.flush_bytes:
            if len(self._scratch) < self._load.flush_bytes:
                self._scratch = torch.empty(
                    self._load.flush_bytes, dtype=torch.uint8, device=self._device
                )
            self._scratch.fill_(1)
        self._barrier()
        if not self._graphs:
            begin = time.perf_counter()
            self._run(count, self._buffers[:-1])
            torch.cuda.synchronize()
            return (time.perf_counter() - begin) / count
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        # The ranks start together on the device, however late the host of one of them is.
        self._align()
        if self._load.lead:
            self._graphs[1].replay()
        start.record()
        self._graphs[0].replay()
        end.record()
        end.synchronize()
        return 1e-3 * float(start.elapsed_time(end)) / count

    def _align(self) -> None:
        if self._impl == "torch":
            self._handle.barrier()

    def _barrier(self) -> None:
        """All ranks are here, and their devices idle."""
        from torch import distributed

        distributed.barrier()
        self._torch.cuda.synchronize()

    def _slowest(self, seconds: float) -> float:
        """The largest of all ranks' numbers."""
        from torch import distributed

        number = self._torch.tensor([seconds], dtype=self._torch.float64, device=self._device)
        distributed.all_reduce(number, distributed.ReduceOp.MAX)
        return float(number.item())


@contextmanager
def _stdout_for_replies() -> Iterator[Any]:
    """A file on stdout as it was; what libraries print goes to stderr."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as replies:
        os.dup2(2, 1)
        yield replies


def main() -> None:
    """Serve requests until there are no more."""
    with _stdout_for_replies() as replies:

        def reply(answer: dict[str, Any]) -> None:
            replies.write(json.dumps(answer) + "\n")
            replies.flush()

        try:
            import torch
            from torch import distributed

            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
            distributed.init_process_group("nccl", device_id=device)
            worker = Worker(torch, distributed.group.WORLD.group_name)
            for line in sys.stdin:
                request = json.loads(line)
                reply(getattr(worker, request["do"])(request))
            distributed.destroy_process_group()
        except Exception as error:
            reply({"error": f"{type(error).__name__}: {str(error)[:1000]}"})
            raise


if __name__ == "__main__":
    main()

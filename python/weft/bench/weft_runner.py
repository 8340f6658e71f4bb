"""weft itself, all ranks from one thread.

A sample is a replayed graph of operations, timed on the devices, or operations asked for one after
the other and timed on the host until the last has ended.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from weft.bench.buffers import BufferSets, HostMemory, Memory, WeftMemory
from weft.bench.calls import CapturedGraph, prepared

if TYPE_CHECKING:
    from weft.bench.collective import Case
    from weft.bench.load import Load
    from weft.fabric import Fabric

__all__ = ["WeftRunner"]

Call = Callable[..., Any]


def _nothing(size: int = 0) -> None:
    """For devices without an L2, and memory that is there at once."""


class WeftRunner:
    """Times weft on `fabric`.

    flush: overwrites so many bytes on each device and waits. synchronize: waits for all devices.
    memory: where the vectors are; None: weft's own tensors, NumPy arrays on simulated devices.
    arguments: passed with each operation (algorithm=, timeout=, max_blocks=).
    """

    impl = "weft"

    def __init__(
        self,
        fabric: Fabric,
        *,
        flush: Callable[[int], None] = _nothing,
        synchronize: Callable[[], None] = _nothing,
        memory: Memory | None = None,
        **arguments: Any,
    ) -> None:
        self._fabric: Any = fabric
        self._simulated = fabric.backend == "sim"
        self._flush = flush
        own: Memory = HostMemory() if self._simulated else WeftMemory(fabric.devices, synchronize)
        self._memory = memory or own
        self._arguments = {name: value for name, value in arguments.items() if value is not None}
        self._info: dict[str, Any] = {}
        self._forget()

    def _forget(self) -> None:
        self._buffers: BufferSets | None = None
        self._calls: list[Call] = []
        self._graph: CapturedGraph | None = None
        self._lead: CapturedGraph | None = None
        self._ahead: BufferSets | None = None

    def prepare(self, case: Case, load: Load) -> None:
        self.make_room(case, load)
        self._begin()

    def make_room(self, case: Case, load: Load) -> None:
        """The first half of `prepare`: the buffers, with nothing run on them yet."""
        self.close()  # the memory of the case before goes first
        self._case, self._load = case, load
        self._buffers = BufferSets(self._memory, case, load.sets)
        self._buffers.fill()
        self._ahead = BufferSets(self._memory, case, 1) if load.lead else None

    def beside(self, **arguments: Any) -> WeftRunner:
        """A runner on the same buffers, prepared, whose operations take other arguments.

        It needs no closing. Raises what its first operation raises, before anything else is done.
        """
        other = copy.copy(self)
        other._arguments = arguments
        other._begin()
        return other

    def _begin(self) -> None:
        assert self._buffers is not None
        load = self._load
        self._calls = self._calls_on(self._buffers)
        work = self._calls[0](async_op=True)
        work.wait()
        self._info = work.info
        for _ in range(load.warmup):
            self._operations(1)
        if load.mode == "graph":
            self._graph = self._capture(self._calls, load.iterations)
            self._info |= self._graph.info()
            if self._ahead is not None:
                self._lead = self._capture(self._calls_on(self._ahead), load.iterations)
            self._sample()

    def round(self) -> list[float]:
        return [self._sample() for _ in range(self._load.samples)]

    def wrong(self) -> int:
        assert self._buffers is not None
        count = self._load.check_iterations(self._case)
        graph = self._graph
        if graph is not None and count != self._load.iterations:
            graph = self._capture(self._calls, count)
        self._buffers.fill()
        if graph is None:
            self._operations(count)
        else:
            graph.timed()
        return self._buffers.wrong()

    def facts(self) -> dict[str, Any]:
        predicted = self._info.get("predicted_seconds")
        return {
            "impl": self.impl,
            "algo": self._info.get("algorithm", ""),
            "devices": list(self._fabric.devices),
            "mode": self._load.mode,
            "clock": "device" if self._graph is not None and not self._simulated else "host",
            "iterations": self._load.iterations,
            "blocks": self._info.get("blocks"),
            "scratch_bytes": self._info.get("scratch_bytes"),
            "predicted_us": None if predicted is None else 1e6 * predicted,
        }

    def close(self) -> None:
        self._forget()
        self._memory.free()

    def _sample(self) -> float:
        """Seconds of one operation, the mean of a sample's."""
        if self._load.flush_bytes:
            self._flush(self._load.flush_bytes)
        if self._graph is None:
            begin = time.perf_counter()
            self._operations(self._load.iterations)
            return (time.perf_counter() - begin) / self._load.iterations
        if self._lead is not None:
            self._lead.launch()
        return self._graph.timed() / self._load.iterations

    def _operations(self, count: int) -> None:
        """From the first call to the last result; a call itself blocks on simulated devices."""
        calls, sets = self._calls, len(self._calls)
        last = count if self._simulated else count - 1
        for i in range(last):
            calls[i % sets]()
        if last < count:
            calls[last % sets](async_op=True).wait()

    def _capture(self, calls: list[Call], count: int) -> CapturedGraph:
        def record() -> None:
            for i in range(count):
                calls[i % len(calls)]()

        return CapturedGraph(self._fabric, record)

    def _calls_on(self, buffers: BufferSets) -> list[Call]:
        """An operation on each set: nothing but the call itself is left to be timed."""
        return [
            prepared(self._fabric, self._case, inputs, outputs, **self._arguments)
            for inputs, outputs in zip(buffers.inputs, buffers.outputs, strict=True)
        ]

"""NCCL in this process: one communicator a device, grouped calls, plain or symmetric memory.

In graph mode the calls are captured into one CUDA graph a device and replayed, as weft's are.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from ctypes import byref, c_size_t, c_void_p
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from weft._errors import invalid
from weft.bench.buffers import BufferSets, places
from weft.bench.cuda_driver import Driver, Lane, LaneGraph
from weft.bench.pattern import PERIOD, Array, Pattern, numpy_dtype
from weft.bench.rivals.nccl_library import Call, Nccl
from weft.bench.runner import RivalUnavailableError

if TYPE_CHECKING:
    from weft.bench.collective import Case
    from weft.bench.load import Load

__all__ = ["DriverMemory", "NcclRunner"]

_HEAD = 64 * PERIOD  # elements that are uploaded; the rest is copied from them on the device


@dataclass(frozen=True)
class Span:
    """A vector on a device."""

    ordinal: int
    address: int
    count: int
    dtype: np.dtype[Any]


class DriverMemory:
    """One arena of `size` bytes a rank, at `addresses`; vectors are cut from it in order."""

    def __init__(
        self, driver: Driver, ordinals: Sequence[int], addresses: Sequence[int], size: int
    ) -> None:
        self._driver = driver
        self._ordinals = list(ordinals)
        self._addresses = list(addresses)
        self._size = size
        self._used = [0] * len(addresses)

    def vectors(self, rank: int, dtype: str, counts: Sequence[int]) -> list[Span]:
        kind = numpy_dtype(dtype)
        begins = [self._used[rank] + begin * kind.itemsize for begin in places(dtype, counts)]
        if begins[-1] > self._size:
            raise invalid(f"an arena of {self._size} bytes, and {begins[-1]} are needed")
        self._used[rank] = begins[-1]
        base = self._addresses[rank]
        return [
            Span(self._ordinals[rank], base + begin, count, kind)
            for begin, count in zip(begins, counts, strict=False)
        ]

    def fill(self, vector: Span, pattern: Pattern, source: int) -> None:
        done = min(vector.count, _HEAD)
        self._driver.upload(vector.ordinal, vector.address, pattern.values(source, done))
        item = vector.dtype.itemsize
        while done < vector.count:  # whole periods, doubled on the device
            more = min(done, vector.count - done)
            target = vector.address + done * item
            self._driver.copy(vector.ordinal, target, vector.address, more * item)
            done += more

    def clear(self, vector: Span) -> None:
        size = vector.count * vector.dtype.itemsize
        self._driver.set_bytes(vector.ordinal, vector.address, 0x5A, size)

    def read(self, vector: Span, begin: int, end: int) -> Array:
        part = np.empty(end - begin, vector.dtype)
        self._driver.download(vector.ordinal, vector.address + begin * part.itemsize, part)
        return part

    def settle(self) -> None:
        self._driver.synchronize(self._ordinals)

    def free(self) -> None:
        self._used = [0] * len(self._used)


class NcclRunner:
    """Times NCCL on the devices `ordinals`, one rank each.

    symmetric: buffers from ncclMemAlloc in windows of NCCL_WIN_COLL_SYMMETRIC ("nccl-sym").
    capacity: bytes of a rank's arena.
    """

    def __init__(
        self,
        nccl: Nccl,
        driver: Driver,
        ordinals: Sequence[int],
        *,
        capacity: int,
        symmetric: bool = False,
    ) -> None:
        self.impl = "nccl-sym" if symmetric else "nccl"
        self._nccl, self._driver, self._symmetric = nccl, driver, symmetric
        self._ordinals = list(ordinals)
        self._windows: list[c_void_p] = []
        self._addresses: list[int] = []
        self._forget()
        if symmetric and not nccl.has("ncclCommWindowRegister"):
            raise RivalUnavailableError(
                f"nccl-sym needs NCCL 2.27 or newer for its windows; this is {nccl.version()}"
            )
        self._communicators = nccl.communicators(ordinals, driver.timeout)
        self._lanes = [Lane(driver, ordinal) for ordinal in ordinals]
        for ordinal in ordinals:
            self._addresses.append(self._allocate(ordinal, capacity))
        if symmetric:
            self._windows = nccl.register(self._communicators, self._addresses, capacity)
        self._memory = DriverMemory(driver, ordinals, self._addresses, capacity)

    def _allocate(self, ordinal: int, size: int) -> int:
        if not self._symmetric:
            return self._driver.allocate(ordinal, size)
        address = c_void_p()
        with self._driver.on(ordinal):
            self._nccl.call("ncclMemAlloc", byref(address), c_size_t(size))
        assert address.value is not None
        return address.value

    def _forget(self) -> None:
        self._graphs: list[LaneGraph] = []
        self._buffers: BufferSets | None = None

    def prepare(self, case: Case, load: Load) -> None:
        self._release()
        self._case, self._load = case, load
        self._buffers = BufferSets(self._memory, case, load.sets)
        self._buffers.fill()
        self._operations = [self._operation(self._buffers, i) for i in range(load.sets)]
        for _ in range(max(load.warmup, 1)):  # once at least: a capture must find all loaded
            self._enqueue(self._operations, 1)
        self._wait()
        if load.mode == "graph":
            self._graphs.append(self._capture(self._operations, load.iterations))
            if load.lead:
                ahead = [self._operation(BufferSets(self._memory, case, 1), 0)]
                self._graphs.append(self._capture(ahead, load.iterations))
            self._sample()

    def round(self) -> list[float]:
        return [self._sample() for _ in range(self._load.samples)]

    def wrong(self) -> int:
        assert self._buffers is not None
        count = self._load.check_iterations(self._case)
        if self._graphs and count != self._load.iterations:
            self._graphs.append(self._capture(self._operations, count))
            checked: LaneGraph | None = self._graphs[-1]
        else:
            checked = self._graphs[0] if self._graphs else None
        self._buffers.fill()
        if checked is None:
            self._enqueue(self._operations, count)
        else:
            checked.launch()
        self._wait()
        return self._buffers.wrong()

    def facts(self) -> dict[str, Any]:
        return {
            "impl": self.impl,
            "algo": "nccl",
            "devices": [f"cuda:{ordinal}" for ordinal in self._ordinals],
            "mode": self._load.mode,
            "clock": "device" if self._graphs else "host",
            "iterations": self._load.iterations,
            "blocks": None,
            "scratch_bytes": None,
            "predicted_us": None,
        }

    def close(self) -> None:
        self._release()
        for comm, window in zip(self._communicators, self._windows, strict=False):
            self._nccl.call("ncclCommWindowDeregister", comm, window)
        for ordinal, address in zip(self._ordinals, self._addresses, strict=True):
            with self._driver.on(ordinal):
                if self._symmetric:
                    self._nccl.call("ncclMemFree", c_void_p(address))
                else:
                    self._driver.free(ordinal, address)
        for lane in self._lanes:
            lane.close()
        self._nccl.call("ncclGroupStart")
        for comm in self._communicators:
            self._nccl.call("ncclCommDestroy", comm)
        self._nccl.call("ncclGroupEnd")

    def _release(self) -> None:
        """The graphs and vectors of the case before."""
        for graph in self._graphs:
            graph.close()
        self._forget()
        self._memory.free()

    def _operation(self, buffers: BufferSets, i: int) -> list[Call]:
        return [
            call
            for rank, (comm, lane) in enumerate(zip(self._communicators, self._lanes, strict=True))
            for call in self._nccl.calls(
                self._case,
                rank,
                comm,
                lane.stream,
                buffers.inputs[i][rank].address,
                buffers.outputs[i][rank].address,
            )
        ]

    def _enqueue(self, operations: Sequence[list[Call]], count: int) -> None:
        start, end = self._nccl.group_start, self._nccl.group_end
        for i in range(count):
            status = start()
            for function, arguments in operations[i % len(operations)]:
                status = status or function(*arguments)
            self._nccl.check(status or end(), self._case.collective)

    def _capture(self, operations: Sequence[list[Call]], count: int) -> LaneGraph:
        return LaneGraph(self._driver, self._lanes, lambda: self._enqueue(operations, count))

    def _sample(self) -> float:
        if self._load.flush_bytes:
            self._driver.flush(self._ordinals, self._load.flush_bytes)
        count = self._load.iterations
        if not self._graphs:
            begin = time.perf_counter()
            self._enqueue(self._operations, count)
            self._wait()
            return (time.perf_counter() - begin) / count
        if self._load.lead:
            self._graphs[1].launch()
        return self._graphs[0].timed() / count

    def _wait(self) -> None:
        for lane in self._lanes:
            lane.wait()

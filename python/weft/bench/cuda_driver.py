"""The CUDA driver by ctypes: what the benchmark needs beside weft, and other libraries need at all.

Works on the primary contexts of the devices, so that memory and streams are shared with everything
else in the process. Every wait has a deadline. Device ordinals are those of "cuda:N".
Thread safety: none; one thread at a time.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from typing import Any

from weft import _weft
from weft._errors import named
from weft.bench.pattern import Array

__all__ = ["Driver", "Lane", "LaneGraph", "open_driver"]

_NOT_READY = 600
_L2_CACHE_SIZE = 38  # CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL


def open_driver() -> Driver:
    """The driver of this machine. CudaError without one."""
    try:
        return Driver(ctypes.CDLL("libcuda.so.1"))
    except OSError as error:
        raise named(_weft.CudaError(f"no CUDA driver: {error}"), "cuda_error") from error


class Driver:
    """`library`: libcuda as ctypes loads it, or a stand-in. timeout: seconds a wait may take."""

    def __init__(self, library: Any, timeout: float = 60.0) -> None:
        self._library = library
        self.timeout = timeout
        self._contexts: dict[int, c_void_p] = {}
        self._scratch: dict[int, tuple[int, int]] = {}
        self.call("cuInit", c_uint(0))

    def call(self, name: str, *arguments: Any) -> None:
        """`name`(*arguments). CudaError, with the driver's words, unless it returns 0."""
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            raise self._error(name, status)

    def _error(self, what: str, status: int) -> _weft.CudaError:
        words = c_char_p()
        self._library.cuGetErrorString(c_int(status), byref(words))
        said = words.value.decode() if words.value else "unknown error"
        return named(_weft.CudaError(f"{what}: {said} (CUDA error {status})"), "cuda_error")

    def version(self) -> str:
        """The newest CUDA version that the driver has, e.g. "13.0"."""
        number = c_int()
        self.call("cuDriverGetVersion", byref(number))
        return f"{number.value // 1000}.{number.value % 1000 // 10}"

    def l2_bytes(self, ordinal: int) -> int:
        """Bytes of the device's L2 cache."""
        device, size = c_int(), c_int()
        self.call("cuDeviceGet", byref(device), c_int(ordinal))
        self.call("cuDeviceGetAttribute", byref(size), c_int(_L2_CACHE_SIZE), device)
        return size.value

    @contextmanager
    def on(self, ordinal: int) -> Iterator[None]:
        """The device's primary context is the calling thread's."""
        if ordinal not in self._contexts:
            device, context = c_int(), c_void_p()
            self.call("cuDeviceGet", byref(device), c_int(ordinal))
            # Never released: it lives as long as the process, as it does for the runtime.
            self.call("cuDevicePrimaryCtxRetain", byref(context), device)
            self._contexts[ordinal] = context
        self.call("cuCtxPushCurrent_v2", self._contexts[ordinal])
        try:
            yield
        finally:
            self.call("cuCtxPopCurrent_v2", byref(c_void_p()))

    # Memory

    def allocate(self, ordinal: int, size: int) -> int:
        """The address of `size` bytes on the device."""
        address = c_ulonglong()
        with self.on(ordinal):
            self.call("cuMemAlloc_v2", byref(address), c_size_t(size))
        return address.value

    def free(self, ordinal: int, address: int) -> None:
        """Give back what `allocate` gave."""
        with self.on(ordinal):
            self.call("cuMemFree_v2", c_ulonglong(address))

    def upload(self, ordinal: int, address: int, values: Array) -> None:
        """Copy contiguous `values` to `address`."""
        with self.on(ordinal):
            source = c_void_p(values.ctypes.data)
            self.call("cuMemcpyHtoD_v2", c_ulonglong(address), source, c_size_t(values.nbytes))

    def download(self, ordinal: int, address: int, into: Array) -> None:
        """Fill contiguous `into` from `address`. Blocks."""
        with self.on(ordinal):
            target = c_void_p(into.ctypes.data)
            self.call("cuMemcpyDtoH_v2", target, c_ulonglong(address), c_size_t(into.nbytes))

    def copy(self, ordinal: int, target: int, source: int, size: int) -> None:
        """Copy within one device."""
        with self.on(ordinal):
            self.call("cuMemcpyDtoD_v2", c_ulonglong(target), c_ulonglong(source), c_size_t(size))

    def set_bytes(self, ordinal: int, address: int, value: int, size: int) -> None:
        """Set each of `size` bytes."""
        with self.on(ordinal):
            self.call("cuMemsetD8_v2", c_ulonglong(address), c_uint(value), c_size_t(size))

    def synchronize(self, ordinals: Sequence[int]) -> None:
        """Wait for all work of these devices."""
        for ordinal in dict.fromkeys(ordinals):
            with self.on(ordinal):
                self.call("cuCtxSynchronize")

    def flush(self, ordinals: Sequence[int], size: int) -> None:
        """Overwrite `size` bytes of scratch on each device, so that its L2 holds nothing else."""
        for ordinal in dict.fromkeys(ordinals):
            address, there = self._scratch.get(ordinal, (0, 0))
            if there < size:
                if address:
                    self.free(ordinal, address)
                address = self.allocate(ordinal, size)
                self._scratch[ordinal] = (address, size)
            self.set_bytes(ordinal, address, 1, size)
        self.synchronize(ordinals)

    def close(self) -> None:
        """Give the scratch back."""
        for ordinal, (address, _) in self._scratch.items():
            self.free(ordinal, address)
        self._scratch.clear()


class Lane:
    """A stream on one device, and two events to time what is on it."""

    def __init__(self, driver: Driver, ordinal: int) -> None:
        self._driver = driver
        self.ordinal = ordinal
        self.stream, self.start, self.end = c_void_p(), c_void_p(), c_void_p()
        with driver.on(ordinal):
            driver.call("cuStreamCreate", byref(self.stream), c_uint(_NON_BLOCKING))
            for event in (self.start, self.end):
                driver.call("cuEventCreate", byref(event), c_uint(0))

    def mark(self, event: c_void_p) -> None:
        """Record `event`, one of this lane's, on the stream."""
        with self._driver.on(self.ordinal):
            self._driver.call("cuEventRecord", event, self.stream)

    def wait(self) -> None:
        """Until the stream is empty. CollectiveTimeout after the driver's timeout."""
        query = self._driver._library.cuStreamQuery
        deadline = time.monotonic() + self._driver.timeout
        with self._driver.on(self.ordinal):
            while (status := query(self.stream)) == _NOT_READY:
                if time.monotonic() > deadline:
                    words = f"cuda:{self.ordinal} not done within {self._driver.timeout} s"
                    raise named(_weft.CollectiveTimeout(words), "collective_timeout")
            if status != 0:
                raise self._driver._error("cuStreamQuery", status)

    def seconds(self) -> float:
        """From `start` to `end`, once both have passed."""
        elapsed = c_float()
        with self._driver.on(self.ordinal):
            self._driver.call("cuEventElapsedTime", byref(elapsed), self.start, self.end)
        return 1e-3 * elapsed.value

    def close(self) -> None:
        """Destroy the stream and the events."""
        with self._driver.on(self.ordinal):
            self._driver.call("cuStreamDestroy_v2", self.stream)
            for event in (self.start, self.end):
                self._driver.call("cuEventDestroy_v2", event)


class LaneGraph:
    """What `record` puts on the lanes, captured as one graph for each (thread-local capture)."""

    def __init__(self, driver: Driver, lanes: Sequence[Lane], record: Any) -> None:
        self._driver = driver
        self._lanes = list(lanes)
        self._graphs: list[tuple[c_void_p, c_void_p]] = []
        captured: list[tuple[Lane, c_void_p]] = []
        begun: list[Lane] = []
        try:
            for lane in lanes:
                with driver.on(lane.ordinal):
                    driver.call("cuStreamBeginCapture_v2", lane.stream, c_int(_THREAD_LOCAL))
                begun.append(lane)
            record()
        finally:  # while a stream is capturing nothing else is permitted
            for lane in begun:
                graph = c_void_p()
                with driver.on(lane.ordinal):
                    driver.call("cuStreamEndCapture", lane.stream, byref(graph))
                captured.append((lane, graph))
        for lane, graph in captured:
            executable = c_void_p()
            with driver.on(lane.ordinal):
                driver.call("cuGraphInstantiateWithFlags", byref(executable), graph, c_ulonglong(0))
                driver.call("cuGraphUpload", executable, lane.stream)
            self._graphs.append((graph, executable))

    def launch(self) -> None:
        """Put it on the lanes; does not wait."""
        for lane, (_, executable) in zip(self._lanes, self._graphs, strict=True):
            with self._driver.on(lane.ordinal):
                self._driver.call("cuGraphLaunch", executable, lane.stream)

    def timed(self) -> float:
        """Run it and wait: seconds from start to end, of the slowest device."""
        for lane in self._lanes:
            lane.mark(lane.start)
        self.launch()
        for lane in self._lanes:
            lane.mark(lane.end)
        for lane in self._lanes:
            lane.wait()
        return max(lane.seconds() for lane in self._lanes)

    def close(self) -> None:
        """Destroy the graphs."""
        for graph, executable in self._graphs:
            self._driver.call("cuGraphExecDestroy", executable)
            self._driver.call("cuGraphDestroy", graph)
        self._graphs.clear()

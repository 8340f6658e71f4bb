"""What times one implementation: the interface, and weft's own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

import weft
from weft.bench.pattern import Array, Pattern, numpy_dtype

if TYPE_CHECKING:
    from weft.bench.row import Case
    from weft.fabric import Fabric
    from weft.work import Work

__all__ = ["Runner", "WeftRunner"]


class Runner(Protocol):
    """Times rounds of one case at a time, then checks the same buffers, timed as they were."""

    impl: str

    def prepare(self, case: Case) -> None:
        """Make room for `case` and warm up."""

    def round(self, iterations: int) -> list[float]:
        """Seconds of each of `iterations`, of the slowest rank."""

    def wrong(self) -> int:
        """Wrong elements, over all ranks, of one more operation in the timed configuration."""

    def facts(self) -> dict[str, Any]:
        """The fields of a row that only the implementation knows."""

    def close(self) -> None:
        """Give everything back."""


class WeftRunner:
    """weft, all ranks from one thread; on CUDA each iteration is waited for."""

    impl = "weft"

    def __init__(
        self, fabric: Fabric, *, algorithm: str, warmup: int, timeout: float | None
    ) -> None:
        self._fabric = fabric
        self._warmup = warmup
        self._arguments: dict[str, Any] = {"algorithm": algorithm, "timeout": timeout}
        self._work: Work | None = None  # of the operation that was checked
        self._inputs: list[Any] = []
        self._outputs: list[Any] | None = None

    def prepare(self, case: Case) -> None:
        self._case = case
        self._pattern = Pattern(case.dtype, case.op, self._fabric.size)
        dtype = numpy_dtype(case.dtype)
        self.close()  # the memory of the case before goes first
        self._inputs = [
            self._on_device(self._pattern.values(rank, case.count), rank)
            for rank in range(self._fabric.size)
        ]
        if not case.in_place:
            self._outputs = [
                self._on_device(np.zeros(case.count, dtype), rank)
                for rank in range(self._fabric.size)
            ]
        self.round(self._warmup)

    def round(self, iterations: int) -> list[float]:
        seconds = []
        for _ in range(iterations):
            begin = time.perf_counter()
            self._once()
            seconds.append(time.perf_counter() - begin)
        return seconds

    def _once(self) -> None:
        """One operation from call to result: the call itself blocks on simulated devices."""
        if self._fabric.backend == "sim":
            self._fabric.all_reduce(
                self._inputs, self._case.op, out=self._outputs, **self._arguments
            )
        else:
            self._start().wait()

    def _start(self) -> Work:
        return self._fabric.all_reduce(
            self._inputs, self._case.op, out=self._outputs, async_op=True, **self._arguments
        )

    def wrong(self) -> int:
        count = self._case.count
        dtype = numpy_dtype(self._case.dtype)
        for rank in range(self._fabric.size):
            self._store(self._inputs[rank], self._pattern.values(rank, count), rank)
            if self._outputs is not None:
                self._store(self._outputs[rank], np.full(count, 77).astype(dtype), rank)
        self._work = self._start()
        self._work.wait()
        results = self._inputs if self._outputs is None else self._outputs
        return sum(self._pattern.wrong(self._on_host(result)) for result in results)

    def facts(self) -> dict[str, Any]:
        info = {} if self._work is None else self._work.info
        predicted = info.get("predicted_seconds")
        return {
            "impl": self.impl,
            "algo": info.get("algorithm", ""),
            "ranks": self._fabric.size,
            "devices": self._fabric.devices,
            "mode": "eager",
            "clock": "host",
            "blocks": info.get("blocks"),
            "scratch_bytes": None,
            "predicted_us": None if predicted is None else 1e6 * predicted,
        }

    def close(self) -> None:
        self._inputs, self._outputs, self._work = [], None, None

    def _on_device(self, values: Array, rank: int) -> Any:
        if self._fabric.backend == "sim":
            return values
        return weft.from_numpy(values).to(self._fabric.devices[rank])

    def _store(self, into: Any, values: Array, rank: int) -> None:
        if self._fabric.backend == "sim":
            into[:] = values
        else:
            into.copy_(weft.from_numpy(values))

    def _on_host(self, result: Any) -> Array:
        return result if isinstance(result, np.ndarray) else np.asarray(result.numpy())

"""Vectors of the benchmark that are torch's tensors, for weft to be timed on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from weft.bench.buffers import places
from weft.bench.pattern import PERIOD, Array, Pattern, numpy_dtype

__all__ = ["TorchMemory"]

_HEAD = 64 * PERIOD  # elements that are uploaded; the rest is copied from them on the device


class TorchMemory:
    """Slices of one tensor of torch's a rank. ImportError without torch.

    devices: torch's names, one a rank: "cuda:0", or "cpu" for simulated ranks.
    synchronize: waits for all of them.
    """

    def __init__(self, devices: Sequence[str], synchronize: Callable[[], None]) -> None:
        import torch

        self._torch: Any = torch
        self._devices = list(devices)
        self._synchronize = synchronize

    def vectors(self, rank: int, dtype: str, counts: Sequence[int]) -> list[Any]:
        begins = places(dtype, counts)
        kind = getattr(self._torch, dtype)
        arena = self._torch.empty(begins[-1], dtype=kind, device=self._devices[rank])
        return [arena[begin : begin + count] for begin, count in zip(begins, counts, strict=False)]

    def fill(self, vector: Any, pattern: Pattern, source: int) -> None:
        count = len(vector)
        done = min(count, _HEAD)
        # As bytes: NumPy's bfloat16 is none of torch's.
        head = self._torch.from_numpy(pattern.values(source, done).view(np.uint8))
        self._bytes_of(vector[:done]).copy_(head)
        while done < count:  # whole periods, doubled on the device
            more = min(done, count - done)
            vector[done : done + more].copy_(vector[:more])
            done += more

    def clear(self, vector: Any) -> None:
        vector.fill_(77)

    def read(self, vector: Any, begin: int, end: int) -> Array:
        kind = numpy_dtype(str(vector.dtype).removeprefix("torch."))
        return np.asarray(self._bytes_of(vector[begin:end]).cpu().numpy()).view(kind)

    def settle(self) -> None:
        self._synchronize()

    def free(self) -> None:
        """Tensors go with their last reference."""

    def _bytes_of(self, vector: Any) -> Any:
        return vector.view(self._torch.uint8)

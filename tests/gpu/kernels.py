"""Data made and checked on the device by kernels of cuda.core, in stream order with collectives.

A value depends on the element, the rank that brings it, the operation's number and, in a graph, on
how often the graph has run: what is left of another operation does not pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpu.support import torch

core: Any = pytest.importorskip("cuda.core", reason="kernels are compiled by cuda.core")

CODE = r"""
__device__ unsigned value(unsigned number, unsigned i, unsigned rank) {
  unsigned h = i * 2654435761u ^ number * 2246822519u ^ (rank + 1) * 3266489917u;
  h = (h ^ h >> 15) * 2654435761u;
  return (h ^ h >> 13) & 0xfffffu;  // sums of 16 are exact in float32
}
__device__ unsigned stored(unsigned v, int is_float) {
  return is_float ? __float_as_uint((float)v) : v;
}
extern "C" __global__ void produce(unsigned* x, int count, int rank, unsigned number,
                                   const unsigned* runs, int is_float) {
  number += *runs * 65537u;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
    x[i] = stored(value(number, i, rank), is_float);
}
// Element i of y is the sum of elements `from` + i of ranks `first` to `last`.
extern "C" __global__ void check(const unsigned* y, int count, int from, int first, int last,
                                 unsigned number, const unsigned* runs, int is_float,
                                 unsigned* wrong) {
  number += *runs * 65537u;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
    unsigned sum = 0;
    for (int r = first; r <= last; ++r) sum += value(number, from + i, r);
    if (y[i] != stored(sum, is_float)) atomicAdd(wrong, 1u);
  }
}
extern "C" __global__ void advance(unsigned* runs) { ++*runs; }
"""


class Kernels:
    """The kernels on one rank's stream."""

    def __init__(self, rank: int, device: str, stream: Any) -> None:
        self.rank, self.device, self.stream = rank, device, stream
        with torch.cuda.device(device):
            here = core.Device(torch.cuda.current_device())
            here.set_current()
            self._stream = here.create_stream(stream)
            arch = "".join(map(str, here.compute_capability))
            options = core.ProgramOptions(arch=f"sm_{arch}", std="c++17")
            made = core.Program(CODE, code_type="c++", options=options).compile("cubin")
            self._kernels = {
                name: made.get_kernel(name) for name in ("produce", "check", "advance")
            }
            self._here = here
        self.runs = torch.zeros(1, dtype=torch.int32, device=device)
        self.wrong = torch.zeros(1, dtype=torch.int32, device=device)

    def _launch(self, name: str, count: int, *arguments: Any) -> None:
        self._here.set_current()
        config = core.LaunchConfig(grid=max(1, min(132, -(-count // 2048))), block=256)
        core.launch(self._stream, config, self._kernels[name], *arguments)

    def produce(self, x: Any, number: int) -> None:
        """Write this rank's values of operation `number` into x (float32 or int32)."""
        self._launch(
            "produce", x.numel(), x.data_ptr(), np.int32(x.numel()), np.int32(self.rank),
            np.uint32(number), self.runs.data_ptr(), np.int32(x.is_floating_point()),
        )  # fmt: skip

    def check(self, y: Any, number: int, ranks: tuple[int, int], start: int = 0) -> None:
        """Count elements of y that are not the sum of the ranks' (first, last) from `start` on."""
        self._launch(
            "check", y.numel(), y.data_ptr(), np.int32(y.numel()), np.int32(start),
            np.int32(ranks[0]), np.int32(ranks[1]), np.uint32(number), self.runs.data_ptr(),
            np.int32(y.is_floating_point()), self.wrong.data_ptr(),
        )  # fmt: skip

    def advance(self) -> None:
        """The graph has run once more."""
        self._launch("advance", 1, self.runs.data_ptr())

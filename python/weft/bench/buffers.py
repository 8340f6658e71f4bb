"""Sets of input and output vectors of all ranks, and the check of what they hold.

Vectors lie in a `Memory`: NumPy arrays for simulated ranks, weft tensors on devices, bare device
memory for other libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

import weft
from weft.bench.collective import Case
from weft.bench.pattern import PERIOD, Array, Pattern, numpy_dtype

__all__ = ["ALIGNMENT", "BufferSets", "HostMemory", "Memory", "WeftMemory", "arena_bytes", "places"]

_CHUNK = 4 << 20  # elements that are checked at once
_HEAD = 64 * PERIOD  # elements that are uploaded; the rest is copied from them on the device
#: Vectors of one arena begin at multiples of it.
ALIGNMENT = 4096


def places(dtype: str, counts: Sequence[int]) -> list[int]:
    """Where vectors of so many elements begin in one arena, in elements; last, where it ends.

    >>> places("float32", [1, 1025])
    [0, 1024, 3072]
    """
    step = ALIGNMENT // numpy_dtype(dtype).itemsize
    begins = [0]
    for count in counts:
        begins.append(begins[-1] + -(-max(count, 1) // step) * step)
    return begins


def arena_bytes(case: Case, sets: int) -> int:
    """Bytes of an arena for `sets` of input and output of one rank."""
    counts = [case.input_elements] + ([] if case.in_place else [case.output_elements])
    return places(case.dtype, counts)[-1] * sets * case.item_bytes


class Memory(Protocol):
    """Where the vectors of all ranks are."""

    def vectors(self, rank: int, dtype: str, counts: Sequence[int]) -> list[Any]:
        """New vectors of so many elements on `rank`; they stay until `free`."""

    def fill(self, vector: Any, pattern: Pattern, source: int) -> None:
        """Write rank `source`'s input into `vector`."""

    def clear(self, vector: Any) -> None:
        """Write into `vector` what is no result."""

    def read(self, vector: Any, begin: int, end: int) -> Array:
        """Elements begin to end of `vector`, on the host."""

    def settle(self) -> None:
        """Wait until what was written is there."""

    def free(self) -> None:
        """Give all vectors back."""


class BufferSets:
    """`sets` times the inputs and outputs of all ranks for `case`.

    >>> from weft.bench.collective import make_case
    >>> case = make_case("all_gather", "int32", "none", 64, 2)
    >>> buffers = BufferSets(HostMemory(), case, sets=1)
    >>> buffers.fill()
    >>> for out in buffers.outputs[0]: out[:] = np.concatenate(buffers.inputs[0])
    >>> buffers.wrong()
    0
    """

    def __init__(self, memory: Memory, case: Case, sets: int) -> None:
        self._memory = memory
        self._case = case
        self._pattern = Pattern(case.dtype, case.op, case.ranks)
        counts = [case.input_elements] + ([] if case.in_place else [case.output_elements])
        by_rank = [memory.vectors(rank, case.dtype, counts * sets) for rank in range(case.ranks)]
        step = len(counts)
        #: inputs[set][rank]
        self.inputs = [[mine[i * step] for mine in by_rank] for i in range(sets)]
        #: outputs[set][rank]; the inputs themselves in place
        self.outputs = [[mine[i * step + step - 1] for mine in by_rank] for i in range(sets)]

    def fill(self) -> None:
        """Set every input, and no output that could pass for a result."""
        for inputs, outputs in zip(self.inputs, self.outputs, strict=True):
            for rank, (source, target) in enumerate(zip(inputs, outputs, strict=True)):
                self._memory.fill(source, self._pattern, rank)
                if not self._case.in_place:
                    self._memory.clear(target)
        self._memory.settle()

    def wrong(self) -> int:
        """Wrong elements of all outputs of all ranks and sets."""
        return sum(
            self._wrong_of(vector, rank)
            for outputs in self.outputs
            for rank, vector in enumerate(outputs)
        )

    def _wrong_of(self, vector: Any, rank: int) -> int:
        wrong = place = 0
        for segment in self._case.expected(rank):
            for begin in range(0, segment.count, _CHUNK):
                end = min(begin + _CHUNK, segment.count)
                part = self._memory.read(vector, place + begin, place + end)
                wrong += self._pattern.wrong(part, segment.source, segment.start + begin)
            place += segment.count
        return wrong


class HostMemory:
    """NumPy arrays, lent to simulated ranks."""

    def vectors(self, rank: int, dtype: str, counts: Sequence[int]) -> list[Array]:
        return [np.zeros(count, numpy_dtype(dtype)) for count in counts]

    def fill(self, vector: Array, pattern: Pattern, source: int) -> None:
        pattern.fill(source, vector)

    def clear(self, vector: Array) -> None:
        vector[:] = np.full(1, 77).astype(vector.dtype)

    def read(self, vector: Array, begin: int, end: int) -> Array:
        return vector[begin:end]

    def settle(self) -> None:
        """Nothing is under way."""

    def free(self) -> None:
        """Arrays go with their last reference."""


class WeftMemory:
    """weft tensors on the ranks' devices: slices of one tensor a rank."""

    def __init__(self, devices: Sequence[str], synchronize: Callable[[], None]) -> None:
        self._devices = list(devices)
        self._synchronize = synchronize

    def vectors(self, rank: int, dtype: str, counts: Sequence[int]) -> list[Any]:
        begins = places(dtype, counts)
        arena = weft.empty(begins[-1], dtype=dtype, device=self._devices[rank])
        return [arena[begin : begin + count] for begin, count in zip(begins, counts, strict=False)]

    def fill(self, vector: Any, pattern: Pattern, source: int) -> None:
        count = len(vector)
        done = min(count, _HEAD)
        vector[:done].copy_(weft.from_numpy(pattern.values(source, done)))
        while done < count:  # whole periods, doubled on the device
            more = min(done, count - done)
            vector[done : done + more].copy_(vector[:more])
            done += more

    def clear(self, vector: Any) -> None:
        vector.fill_(77)

    def read(self, vector: Any, begin: int, end: int) -> Array:
        return np.asarray(vector[begin:end].numpy())

    def settle(self) -> None:
        self._synchronize()

    def free(self) -> None:
        """Tensors go with their last reference."""

"""What the links between the devices give: copies by their copy engines, timed in the run itself.

Every device copies to the next one in the order of the ranks, and, for one direction, the first
device alone to the second. Of several devices the slowest counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from ctypes import c_size_t, c_ulonglong
from dataclasses import dataclass
from typing import Any

from weft.bench.collective import Case
from weft.bench.cuda_driver import Driver, Lane

__all__ = ["LinkRates", "measure_fabric", "measure_link", "ordinals_of", "peak_gbps"]

_BYTES = 256 << 20
_COPIES, _ROUNDS = 4, 7


@dataclass(frozen=True)
class LinkRates:
    """10^9 bytes per second and direction; None: not measured."""

    copy_engine_bidir_gbps: float | None = None
    copy_engine_gbps: float | None = None


def ordinals_of(devices: Sequence[str]) -> list[int]:
    """The ordinals of CUDA devices.

    >>> ordinals_of(["cuda:1", "cuda:0"])
    [1, 0]
    """
    return [int(name.partition(":")[2]) for name in devices]


def peak_gbps(link: LinkRates, case: Case) -> float | None:
    """The measured rate that limits `case`: one direction, or both at once."""
    one_way = case.kind.one_way or case.op == "one_way"
    return link.copy_engine_gbps if one_way else link.copy_engine_bidir_gbps


def measure_link(driver: Driver, vectors: Sequence[tuple[int, int, int]]) -> LinkRates:
    """The rates between devices; nothing for a single device.

    vectors: for each device its ordinal and the addresses of two vectors of `_BYTES` there, which
    the other devices can reach.
    """
    if len(vectors) < 2:
        return LinkRates()
    lanes = [Lane(driver, ordinal) for ordinal, _, _ in vectors]
    following = [*vectors[1:], vectors[0]]
    routes = [
        (lane, source, target)
        for lane, (_, source, _), (_, _, target) in zip(lanes, vectors, following, strict=True)
    ]
    try:
        return LinkRates(_rate(driver, routes), _rate(driver, routes[:1]))
    finally:
        for lane in lanes:
            lane.close()


def _rate(driver: Driver, routes: Sequence[tuple[Lane, int, int]]) -> float:
    """Bytes per second of each route while all are busy, 10^9; the median of rounds."""
    seconds = []
    for turn in range(1 + _ROUNDS):
        for lane, source, target in routes:
            _copy(driver, lane, source, target)  # keeps the link busy until all are under way
            lane.mark(lane.start)
            for _ in range(_COPIES):
                _copy(driver, lane, source, target)
            lane.mark(lane.end)
        for lane, _, _ in routes:
            lane.wait()
        if turn > 0:  # the first warms up
            seconds.append(max(lane.seconds() for lane, _, _ in routes))
    return 1e-9 * _BYTES * _COPIES / statistics.median(seconds)


def _copy(driver: Driver, lane: Lane, source: int, target: int) -> None:
    with driver.on(lane.ordinal):
        driver.call(
            "cuMemcpyAsync",
            c_ulonglong(target),
            c_ulonglong(source),
            c_size_t(_BYTES),
            lane.stream,
        )


def measure_fabric(driver: Driver, fabric: Any) -> LinkRates:
    """The rates between the devices of a CUDA fabric, on weft's own tensors; one has none."""
    import weft

    names = list(dict.fromkeys(fabric.devices))
    if len(names) < 2:
        return LinkRates()
    tensors = [weft.empty(2 * _BYTES, dtype="uint8", device=name) for name in names]
    begins = [tensor.data_ptr() for tensor in tensors]
    vectors = [
        (ordinal, begin, begin + _BYTES)
        for ordinal, begin in zip(ordinals_of(names), begins, strict=True)
    ]
    return measure_link(driver, vectors)

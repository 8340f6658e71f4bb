"""What recording events costs: calls of a fabric that does, and of one that does not, in turn.

  python bench/events.py --devices cuda:0,1 --json events.json

A pair is one all_reduce on each of two fabrics of the same devices, timed on the host from the call
until the operation has ended on every rank; which of the two comes first changes with every pair.
Each size has --pairs pairs, but no more than take --seconds. CUDA devices need torch.

The record (--json), schema weft.events-cost/1: schema, command, date, weft, versions and machine as
in weft.bench/1, devices, and rows, one a size, in microseconds:
  bytes       of a rank's float32 vector
  pairs       how many there were
  off_us      median of the fabric without events
  cost_us     median of the differences in a pair: with events less without
  cost_us_low, cost_us_high
              the 95 % confidence interval of that median, by order statistics (sign test)
  bound_us    what is allowed: 1 % of off_us, or 0.1 us, whichever is more
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from time import perf_counter, perf_counter_ns
from typing import Any

SIZES = (1 << 10, 1 << 14, 1 << 18, 1 << 20, 1 << 22, 1 << 26, 1 << 30)
Row = dict[str, float]


def options_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--devices", default="cuda:0,1")
    parser.add_argument("--pairs", type=int, default=10_000, help="of each size")
    parser.add_argument("--seconds", type=float, default=60, help="that a size may take")
    parser.add_argument("--most", type=int, default=SIZES[-1], help="bytes of the largest vector")
    parser.add_argument("--limit", type=float, default=580, help="seconds for all of it")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(arguments)
    if options.pairs < 10 or min(options.seconds, options.limit) <= 0 or options.most < SIZES[0]:
        parser.error("--pairs is at least 10, --most 1024, --seconds and --limit are above 0")
    return options


def vectors(devices: list[str], size: int) -> list[Any]:
    """One of zeros a rank, whose sums stay zeros."""
    if devices[0].startswith("sim"):
        import numpy

        return [numpy.zeros(size // 4, numpy.float32) for _ in devices]
    import torch  # type: ignore[import-not-found,unused-ignore]

    made = [torch.zeros(size // 4, device=device) for device in devices]
    for device in devices:
        torch.cuda.synchronize(device)
    return made


def one_call(fabric: Any, tensors: list[Any]) -> int:
    """Nanoseconds of an all_reduce, until it has ended on every rank."""
    begin = perf_counter_ns()
    fabric.all_reduce(tensors)
    fabric.settle()
    return perf_counter_ns() - begin


def time_pairs(on: Any, off: Any, tensors: list[Any], options: Any) -> list[tuple[int, int]]:
    """Times with events and without, of one pair after the other."""
    for fabric in (on, off) * 5:
        one_call(fabric, tensors)
    pairs: list[tuple[int, int]] = []
    end = perf_counter() + options.seconds
    while len(pairs) < options.pairs and (len(pairs) < 10 or perf_counter() < end):
        if len(pairs) % 2:
            with_events = one_call(on, tensors)
            pairs.append((with_events, one_call(off, tensors)))
        else:
            without = one_call(off, tensors)
            pairs.append((one_call(on, tensors), without))
    return pairs


def interval(values: list[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the median, by order statistics.

    >>> interval([float(x) for x in range(100)])
    (40.0, 59.0)
    """
    ordered = sorted(values)
    half = 0.98 * math.sqrt(len(ordered))
    low = max(0, math.floor(len(ordered) / 2 - half))
    high = min(len(ordered) - 1, math.ceil(len(ordered) / 2 + half) - 1)
    return ordered[low], ordered[high]


def row_of(size: int, pairs: list[tuple[int, int]]) -> Row:
    differences = [(with_events - without) / 1e3 for with_events, without in pairs]
    low, high = interval(differences)
    off = statistics.median(without for _, without in pairs) / 1e3
    return {
        "bytes": size, "pairs": len(pairs), "off_us": off,
        "cost_us": statistics.median(differences), "cost_us_low": low, "cost_us_high": high,
        "bound_us": max(0.01 * off, 0.1),
    }  # fmt: skip


def line(row: Row) -> str:
    verdict = "within" if row["cost_us_high"] <= row["bound_us"] else "ABOVE"
    return (
        f"{row['bytes']:>11} bytes {row['pairs']:>6} pairs: {row['off_us']:.2f} us, events cost "
        f"{row['cost_us']:+.3f} us ({row['cost_us_low']:+.3f} to {row['cost_us_high']:+.3f}), "
        f"{verdict} {row['bound_us']:.2f}"
    )


def main(arguments: list[str]) -> int:
    options = options_of(arguments)
    import weft
    from weft.bench.cuda_driver import open_driver
    from weft.bench.record import heading
    from weft.bench.script import limit, write_record

    rows: list[Row] = []
    with (
        limit(options.limit),
        weft.Fabric(options.devices, events=True) as on,
        weft.Fabric(options.devices, events=False) as off,
    ):
        devices = list(on.devices)
        for size in SIZES:
            if size <= options.most:
                rows.append(row_of(size, time_pairs(on, off, vectors(devices, size), options)))
                print(line(rows[-1]), flush=True)
        recorded, silent = len(on.events()), len(off.events())
    on_gpus = devices[0].startswith("cuda")
    cuda = open_driver().version() if on_gpus else None
    record = heading("weft.events-cost/1", ["python", "bench/events.py", *arguments], cuda=cuda)
    write_record(options.json, record | {"devices": devices, "rows": rows})
    return 0 if recorded and not silent else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

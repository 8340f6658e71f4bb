"""What a large all_reduce takes from what runs beside it: few blocks, and a GEMM at the same time.

  python bench/overlap.py --devices cuda:0,1 --json overlap.json

1. The ring alone, at max_blocks 1, 2, 4, 8, 16 and its default, as replayed graphs.
2. bfloat16 products of matrices, one after the other on a stream of each GPU, while weft's
   all_reduce runs, call after call, on other streams of high priority: by "ring" with 8 blocks, by
   "copy_engine", and by "auto". Times are of the devices' clocks, of the slowest device. A product
   counts as beside the collective only if calls begin before it and end after it; a call counts as
   beside the products where it lies within them.

The record (--json), schema weft.overlap/1: schema, command, date, weft, versions and machine as in
weft.bench/1, and
  sms    multiprocessors of a GPU
  ring   rows of weft.bench/1, each with max_blocks (null: the default)
  gemm   a row for each algorithm: algorithm and max_blocks, as asked for; chosen, protocol and
         blocks, as work.info tells; bytes; size (rows and columns of a matrix); rounds; products
         and calls (beside them) of a round; wrong (elements); and, each the median of the rounds
         with `_spread`, how far apart they are: gemm_alone_us, gemm_beside_us (of one product),
         call_alone_us, call_beside_us, slowdown (of the products: beside / alone - 1); sm_share
         (blocks / sms, at most 1); excess (slowdown - sm_share)
  incomplete  why there is no gemm, if there is none
work.info tells 1 block of "copy_engine", which adds with many more for part of the time: its share
of the SMs does not count them, so that its excess does. In the table GB/s are bytes / time, and
rates are relative to the default's. Needs torch and two GPUs.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Streams that share one of the queues to a device would wait for each other.
os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")

import torch  # type: ignore[import-not-found,unused-ignore]

import weft
from weft.bench.cuda_driver import Driver, open_driver
from weft.bench.link import ordinals_of
from weft.bench.load import Timing
from weft.bench.record import heading
from weft.bench.script import end_after, middle, wait_until, write_record
from weft.bench.sweep import Plan, sweep
from weft.bench.weft_runner import WeftRunner

BLOCKS = (1, 2, 4, 8, 16, None)
KINDS = (("ring", 8), ("copy_engine", None), ("auto", None))
LEAD = 3  # products, and calls, that go ahead of those that count
COVER = 1.6  # how much longer than the products the calls are meant to last
TRIES = 4
Row = dict[str, Any]
Kind = tuple[str, int | None]  # algorithm and max_blocks, as asked for


class UncoveredError(Exception):
    """The collective ended before the products that should have run beside it."""


@dataclass
class Times:
    """Seconds of one product and of one call, both of the slowest device; None: not known."""

    product: float
    call: float | None


class Gpu:
    """One device: its matrices, a stream for products, one of high priority for the collective."""

    def __init__(self, device: str, size: int) -> None:
        self.device = device
        self.products_on = torch.cuda.Stream(device=device)
        self.calls_on = torch.cuda.Stream(device=device, priority=-1)
        kind = torch.bfloat16
        self._a = torch.randn(size, size, device=device, dtype=kind)
        self._b = torch.randn(size, size, device=device, dtype=kind)
        self._c = torch.empty(size, size, device=device, dtype=kind)
        self.begin, self.end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.marks: list[Any] = []

    def products(self, count: int) -> None:
        with torch.cuda.stream(self.products_on):
            for _ in range(count):
                torch.mm(self._a, self._b, out=self._c)

    def timed_products(self, count: int) -> None:
        """So many that count, between `begin` and `end`, after some that do not."""
        self.products(LEAD)
        self.begin.record(self.products_on)
        self.products(count)
        self.end.record(self.products_on)

    def mark(self) -> None:
        """Where the stream of the collective is now."""
        event = torch.cuda.Event(enable_timing=True)
        event.record(self.calls_on)
        self.marks.append(event)

    def product_seconds(self, count: int) -> float:
        return 1e-3 * float(self.begin.elapsed_time(self.end)) / count

    def marks_seconds(self) -> list[float]:
        """When the marks were passed, since the first."""
        return [1e-3 * float(self.marks[0].elapsed_time(mark)) for mark in self.marks]

    def window(self) -> tuple[float, float]:
        """When the products that count began and ended, since the first mark."""
        begin, end = (self.marks[0].elapsed_time(event) for event in (self.begin, self.end))
        return 1e-3 * float(begin), 1e-3 * float(end)


def within(marks: Sequence[float], begin: float, end: float) -> float | None:
    """Seconds of one call, of those that lie within; None where fewer than two do.

    marks: the first call's begin, then the ends of all, in order. UncoveredError unless they begin
    before `begin` and end after `end`.
    """
    if marks[0] > begin or marks[-1] < end:
        raise UncoveredError(f"calls for {marks[-1]:.3f} s, products until {end:.3f} s")
    inside = [mark for mark in marks[1:] if begin <= mark <= end]
    return None if len(inside) < 3 else (inside[-1] - inside[0]) / (len(inside) - 1)


def slowest(times: Sequence[float | None]) -> float | None:
    """The longest; None unless all are known."""
    known = [time for time in times if time is not None]
    return max(known) if len(known) == len(times) else None


class Overlap:
    """The fabric's all_reduce and products on its devices."""

    def __init__(self, fabric: weft.Fabric, options: Any) -> None:
        self._fabric, self._timeout = fabric, options.timeout
        self.count = options.products
        self.gpus = [Gpu(device, options.size) for device in fabric.devices]
        elements = options.bytes // 4
        # Whole numbers: their sums are exact.
        self._inputs = [
            torch.randint(0, 100, (elements,), device=d).to(torch.float32) for d in fabric.devices
        ]
        self._outputs = [torch.empty_like(x) for x in self._inputs]
        for device in fabric.devices:
            torch.cuda.synchronize(device)

    def call(self, kind: Kind, *, async_op: bool = False) -> Any:
        algorithm, max_blocks = kind
        return self._fabric.all_reduce(
            self._inputs, "sum", out=self._outputs, algorithm=algorithm, max_blocks=max_blocks,
            streams=[gpu.calls_on for gpu in self.gpus], timeout=self._timeout, async_op=async_op,
        )  # fmt: skip

    def info(self, kind: Kind) -> dict[str, Any]:
        """What is told of a call, which it waits for; outputs hold nothing right before."""
        for gpu, output in zip(self.gpus, self._outputs, strict=True):
            output.fill_(-1)
            torch.cuda.synchronize(gpu.device)
        work = self.call(kind, async_op=True)
        work.wait(self._timeout)
        return dict(work.info)

    def wrong(self) -> int:
        """Elements of all outputs that the last call got wrong."""
        total = sum(x.to(self._inputs[0].device) for x in self._inputs)
        return sum(int((y.to(total.device) != total).sum()) for y in self._outputs)

    def alone(self) -> float:
        """Seconds of a product with nothing beside it."""
        for gpu in self.gpus:
            gpu.timed_products(self.count)
        self._wait([gpu.end for gpu in self.gpus], "a product")
        return max(gpu.product_seconds(self.count) for gpu in self.gpus)

    def calls_alone(self, kind: Kind, count: int) -> float:
        """Seconds of a call with nothing beside it."""
        self._start_calls(kind, LEAD + count)
        self._wait([gpu.marks[-1] for gpu in self.gpus], "an all_reduce")
        spans = [gpu.marks_seconds() for gpu in self.gpus]
        return max((marks[-1] - marks[LEAD]) / count for marks in spans)

    def beside(self, kind: Kind, calls: int) -> tuple[Times, int]:
        """Both at once, and how many calls that took: more where the products outlasted them."""
        for turn in range(TRIES):
            try:
                return self._beside(kind, calls), calls
            except UncoveredError as error:
                print(f"# {kind[0]}, {calls} calls: {error}; again with more", file=sys.stderr)
                if turn == TRIES - 1:
                    raise
                calls *= 2
        raise AssertionError("unreachable")

    def _beside(self, kind: Kind, calls: int) -> Times:
        self._start_calls(kind, LEAD)  # at work when the products come
        for gpu in self.gpus:
            gpu.timed_products(self.count)
        self._more_calls(kind, calls)
        ends = [event for gpu in self.gpus for event in (gpu.end, gpu.marks[-1])]
        self._wait(ends, "an all_reduce beside products")
        call = slowest([within(gpu.marks_seconds(), *gpu.window()) for gpu in self.gpus])
        return Times(max(gpu.product_seconds(self.count) for gpu in self.gpus), call)

    def _start_calls(self, kind: Kind, count: int) -> None:
        for gpu in self.gpus:
            gpu.marks.clear()
            gpu.mark()
        self._more_calls(kind, count)

    def _more_calls(self, kind: Kind, count: int) -> None:
        for _ in range(count):
            self.call(kind)
            for gpu in self.gpus:
                gpu.mark()

    def _wait(self, events: Sequence[Any], what: str) -> None:
        wait_until(lambda: all(event.query() for event in events), self._timeout, what)


def ring_rows(fabric: weft.Fabric, driver: Driver | None, options: Any) -> list[Row]:
    """The ring alone, by max_blocks."""
    waits: dict[str, Any] = {}
    if driver is not None:
        ordinals, there = ordinals_of(fabric.devices), driver
        waits = {
            "flush": lambda size: there.flush(ordinals, size),
            "synchronize": lambda: there.synchronize(ordinals),
        }
    runners = [
        WeftRunner(fabric, algorithm="ring", max_blocks=b, timeout=options.timeout, **waits)
        for b in BLOCKS
    ]
    timing = Timing(
        mode="graph",
        l2_bytes=None if driver is None else max(driver.l2_bytes(i) for i in ordinals),
        samples=options.samples,
        blocking=fabric.backend == "sim",
    )
    plan = Plan(
        "all_reduce", (("float32", "sum"),), (options.bytes,), fabric.size, options.rounds, timing
    )
    rows = [row.as_json() for row in sweep(plan, runners)]
    for runner in runners:
        runner.close()
    # For each place the runners in their order.
    return [{**row, "max_blocks": BLOCKS[i % len(BLOCKS)]} for i, row in enumerate(rows)]


def gemm_rows(fabric: weft.Fabric, options: Any, sms: int) -> list[Row]:
    """Products beside each algorithm; rounds take turns."""
    overlap = Overlap(fabric, options)
    infos, wrong, calls = {}, {}, {}
    for kind in KINDS:
        infos[kind] = overlap.info(kind)
        wrong[kind] = overlap.wrong()
    product = [overlap.alone() for _ in range(2)][-1]  # the first warms up
    for kind in KINDS:
        call = overlap.calls_alone(kind, options.calls)
        calls[kind] = LEAD + math.ceil(COVER * (LEAD + overlap.count) * product / call)
        _, calls[kind] = overlap.beside(kind, calls[kind])
    alone: list[float] = []
    call_alone: dict[Any, list[float]] = {kind: [] for kind in KINDS}
    beside: dict[Any, list[Times]] = {kind: [] for kind in KINDS}
    for _ in range(options.rounds):
        alone.append(overlap.alone())
        for kind in KINDS:
            call_alone[kind].append(overlap.calls_alone(kind, options.calls))
            times, calls[kind] = overlap.beside(kind, calls[kind])
            beside[kind].append(times)
    rows = []
    for kind in KINDS:
        row = described(kind, infos[kind], options, sms) | {"calls": calls[kind]}
        row |= compared(alone, beside[kind], call_alone[kind])
        rows.append(row | {"excess": row["slowdown"] - row["sm_share"], "wrong": wrong[kind]})
    return rows


def described(kind: Kind, info: Row, options: Any, sms: int) -> Row:
    return {
        "algorithm": kind[0],
        "max_blocks": kind[1],
        "chosen": info["algorithm"],
        "protocol": info["protocol"],
        "blocks": info["blocks"],
        "sm_share": min(info["blocks"] / sms, 1.0),
        "bytes": options.bytes,
        "size": options.size,
        "rounds": options.rounds,
        "products": options.products,
    }


def compared(alone: list[float], beside: list[Times], calls: list[float]) -> Row:
    """Medians over rounds; a round's slowdown is of its own two times."""
    products = [times.product for times in beside]
    seconds = [times.call for times in beside if times.call is not None]
    known = len(seconds) == len(beside)
    unknown = {"call_beside_us": None, "call_beside_us_spread": None}
    slowdown = [b / a - 1 for a, b in zip(alone, products, strict=True)]
    return {
        **middle("gemm_alone_us", [1e6 * t for t in alone]),
        **middle("gemm_beside_us", [1e6 * t for t in products]),
        **middle("call_alone_us", [1e6 * t for t in calls]),
        **(middle("call_beside_us", [1e6 * t for t in seconds]) if known else unknown),
        **middle("slowdown", slowdown),
    }


def table(rings: list[Row], gemms: list[Row]) -> list[str]:
    lines = [
        f"{'ring, max_blocks':>16} {'place':>5} {'blocks':>6} {'us':>9} {'GB/s':>6} {'rate':>6}"
    ]
    for row in rings:
        (full,) = (
            other["time_us"]
            for other in rings
            if other["max_blocks"] is None and other["in_place"] == row["in_place"]
        )
        asked = "default" if row["max_blocks"] is None else row["max_blocks"]
        place, rate = "in" if row["in_place"] else "out", full / row["time_us"]
        lines.append(
            f"{asked:>16} {place:>5} {row['blocks']:>6} {row['time_us']:>9.1f} "
            f"{row['algbw_gbps']:>6.1f} {100 * rate:>5.1f}%"
        )
    head = f"{'beside a GEMM':>13} {'chosen':>13} {'blocks':>6} {'GEMM us':>9} {'beside':>9}"
    lines.append(f"{head} {'slower':>7} {'SMs':>6} {'excess':>7} {'call us':>9} {'beside':>9}")
    for row in gemms:
        slower, share, excess = (100 * row[name] for name in ("slowdown", "sm_share", "excess"))
        beside = row["call_beside_us"]
        call = "-" if beside is None else f"{beside:.1f}"
        lines.append(
            f"{row['algorithm']:>13} {row['chosen']:>13} {row['blocks']:>6} "
            f"{row['gemm_alone_us']:>9.1f} {row['gemm_beside_us']:>9.1f} {slower:>6.1f}% "
            f"{share:>5.1f}% {excess:>6.1f}% {row['call_alone_us']:>9.1f} {call:>9}"
        )
    return lines


def options_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--devices", default="cuda:0,1")
    parser.add_argument("--bytes", type=int, default=256 << 20, help="of a rank's float32 vector")
    parser.add_argument("--size", type=int, default=8192, help="rows and columns of the matrices")
    parser.add_argument("--products", type=int, default=50, help="of a round")
    parser.add_argument("--calls", type=int, default=20, help="of a round, with nothing beside")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, help="of a round of the ring [as fits the size]")
    parser.add_argument("--timeout", type=float, default=30, help="seconds that a wait may take")
    parser.add_argument("--limit", type=float, default=420, help="seconds that all may take")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(arguments)
    numbers = ("bytes", "size", "products", "calls", "rounds", "timeout", "limit")
    given = [getattr(options, name) for name in numbers] + [options.samples]
    if any(number is not None and number <= 0 for number in given):
        parser.error("numbers are above 0")
    if options.bytes % 4:
        parser.error("--bytes is a multiple of 4: the vectors are of float32")
    return options


def measured(fabric: weft.Fabric, options: Any) -> Row:
    """What the record has beside its heading."""
    if len(set(fabric.devices)) != fabric.size or fabric.size < 2:
        raise SystemExit("overlap.py: each rank needs a device of its own, and two are the least")
    driver = open_driver()
    (sms, *_) = {
        torch.cuda.get_device_properties(device).multi_processor_count for device in fabric.devices
    }
    found: Row = {"cuda": driver.version(), "sms": sms, "gemm": []}
    found["ring"] = ring_rows(fabric, driver, options)
    try:
        found["gemm"] = gemm_rows(fabric, options, sms)
    except UncoveredError as error:
        found["incomplete"] = str(error)
    driver.close()
    print("\n".join(table(found["ring"], found["gemm"])))
    return found


def main(arguments: list[str]) -> int:
    options = options_of(arguments)
    end_after(options.limit)
    with weft.Fabric(options.devices) as fabric:
        try:
            found = measured(fabric, options)
        except TimeoutError as late:
            fabric.abort()
            print(f"overlap.py: {late}", file=sys.stderr)
            return 5
    versions = {"torch": torch.__version__}
    versions |= {"CUDA_DEVICE_MAX_CONNECTIONS": os.environ["CUDA_DEVICE_MAX_CONNECTIONS"]}
    record = heading(
        "weft.overlap/1", ["python", "bench/overlap.py", *arguments], cuda=found.pop("cuda"),
        versions=versions,
    )  # fmt: skip
    write_record(options.json, {**record, **found})
    wrong = sum(row["wrong"] for row in (*found["ring"], *found["gemm"]))
    print(f"{wrong} wrong elements")
    if "incomplete" in found:
        print(f"overlap.py: incomplete: {found['incomplete']}", file=sys.stderr)
    return 1 if wrong or "incomplete" in found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

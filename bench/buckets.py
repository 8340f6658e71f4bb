"""Times all_reduce of buckets (many tensors a rank) beside NCCL's grouped calls, in one run.

  python bench/buckets.py --devices cuda:0,1 --json bench/results/h200x2-buckets.json

A row's `tensors` is how many there are a rank, its `bytes` those of all of them; one operation is
the whole bucket: one weft.Fabric.all_reduce, or ncclGroupStart, an ncclAllReduce for each tensor
and rank, ncclGroupEnd. Both are called from Python: weft with lists of torch tensors, NCCL with
arguments that are made beforehand. Eager rows are on the host's clock, from the first call until
all devices are idle, over `iterations`; graph rows on the devices' clocks, as many operations in
weft's graph as in NCCL's. weft's rows of mode "eager" come in two kinds: `fresh` false, the same
tensors every time; true, tensors that the fabric has not seen lately. Needs torch, NCCL and a GPU
for each rank.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import torch  # type: ignore[import-not-found,unused-ignore]

import weft
from weft.bench.collective import make_case
from weft.bench.cuda_driver import Driver, Lane, LaneGraph, open_driver
from weft.bench.link import measure_fabric, ordinals_of, peak_gbps
from weft.bench.record import make_record
from weft.bench.rivals import nccl_library
from weft.bench.row import Row, make_row
from weft.bench.script import end_after, write_record

#: (tensors, bytes of each)
SIZES = ((10, 4 << 10), (100, 4 << 10), (1000, 4 << 10), (1000, 64 << 10), (100, 1 << 20),
         (4, 64 << 20))  # fmt: skip
GRAPHED = 5  # operations in a graph
FRESH = 12  # sets of tensors in turn: more than a fabric remembers
Lists = list[list[Any]]


def lists_of(devices: list[str], tensors: int, size: int) -> Lists:
    return [[torch.zeros(size // 4, device=d) for _ in range(tensors)] for d in devices]


def synchronize(devices: list[str]) -> None:
    for device in devices:
        torch.cuda.synchronize(device)


class Eager:
    """Calls, timed on the host's clock."""

    def __init__(self, call: Callable[[int], None], devices: list[str], iterations: int) -> None:
        self._call, self._devices, self.iterations = call, devices, iterations

    def sample(self) -> float:
        synchronize(self._devices)
        begin = time.perf_counter()
        for i in range(self.iterations):
            self._call(i)
        synchronize(self._devices)
        return (time.perf_counter() - begin) / self.iterations

    def close(self) -> None:
        pass


class WeftGraph:
    """A recorded bucket, timed by the devices."""

    def __init__(self, fabric: weft.Fabric, lists: Lists, iterations: int) -> None:
        self.iterations = iterations
        self._graph = weft.Graph()
        with self._graph.capture(fabric):
            for _ in range(iterations):
                fabric.all_reduce(lists, "sum")

    def sample(self) -> float:
        return 1e-6 * self._graph.replay(timing=True) / self.iterations

    def close(self) -> None:
        pass


class NcclGraph:
    """Captured grouped calls, timed by the devices."""

    def __init__(
        self, driver: Driver, lanes: list[Lane], call: Callable[[int], None], iterations: int
    ) -> None:
        self.iterations = iterations

        def record() -> None:
            for i in range(iterations):
                call(i)

        self._graph = LaneGraph(driver, lanes, record)

    def sample(self) -> float:
        return self._graph.timed() / self.iterations

    def close(self) -> None:
        self._graph.close()


class Nccl:
    """NCCL on the devices, a communicator each."""

    def __init__(self, driver: Driver, ordinals: list[int], path: str | None) -> None:
        self.library = nccl_library.load(nccl_library.find(path))
        self.lanes = [Lane(driver, ordinal) for ordinal in ordinals]
        self._communicators = self.library.communicators(ordinals, driver.timeout)

    def call_of(self, lists: Lists, op: str) -> Callable[[int], None]:
        """One grouped all_reduce, in place."""
        case = make_case("all_reduce", "float32", op, lists[0][0].nbytes, len(lists), in_place=True)
        calls = [
            call
            for rank, given in enumerate(lists)
            for x in given
            for call in self.library.calls(
                case, rank, self._communicators[rank], self.lanes[rank].stream,
                x.data_ptr(), x.data_ptr(),
            )
        ]  # fmt: skip

        def call(_: int) -> None:
            status = self.library.group_start()
            for function, arguments in calls:
                status = status or function(*arguments)
            self.library.check(status or self.library.group_end(), "ncclGroupEnd")

        return call


def wrong_elements(devices: list[str], call: Callable[[Lists], None], lists: Lists) -> int:
    """Elements that a sum gets wrong."""
    for rank, given in enumerate(lists):
        for k, x in enumerate(given):
            x.copy_(torch.arange(x.numel(), device=x.device).remainder_(127).add_(rank + k % 89))
    synchronize(devices)
    call(lists)
    synchronize(devices)
    n, wrong = len(lists), 0
    for given in lists:
        for k, x in enumerate(given):
            want = torch.arange(x.numel(), device=x.device).remainder_(127).add_(k % 89)
            wrong += int((x != want.mul_(n).add_(n * (n - 1) // 2)).sum())
    return wrong


class Bench:
    """Everything that takes its turn at one size."""

    def __init__(self, fabric: weft.Fabric, driver: Driver, nccl: Nccl, options: Any) -> None:
        self._fabric, self._driver, self._nccl, self._options = fabric, driver, nccl, options
        self._link = measure_fabric(driver, fabric)
        self.link = self._link

    def rows(self, tensors: int, size: int) -> list[dict[str, Any]]:
        fabric, devices = self._fabric, list(self._fabric.devices)
        total = tensors * size
        iterations = 20 if total <= 64 << 20 else 5
        lists = lists_of(devices, tensors, size)
        sets = [lists_of(devices, tensors, size) for _ in range(FRESH if total <= 64 << 20 else 0)]
        grouped = self._nccl.call_of(lists, "sum")
        work = fabric.all_reduce(lists, "sum", async_op=True)
        work.wait()
        info = work.info

        def ours(i: int) -> None:
            fabric.all_reduce(lists, "sum")

        def fresh(i: int) -> None:
            fabric.all_reduce(sets[i % FRESH], "sum")

        turns: list[tuple[str, str, bool, Any]] = [
            ("weft", "eager", False, Eager(ours, devices, iterations)),
            ("nccl", "eager", False, Eager(grouped, devices, iterations)),
            ("weft", "graph", False, WeftGraph(fabric, lists, GRAPHED)),
        ]
        if sets:
            turns.insert(1, ("weft", "eager", True, Eager(fresh, devices, iterations)))
        for _, _, _, turn in turns:
            turn.sample()
        turns.append(
            ("nccl", "graph", False, NcclGraph(self._driver, self._nccl.lanes, grouped, GRAPHED))
        )
        times: list[list[list[float]]] = [[] for _ in turns]
        turns[-1][3].sample()
        for _ in range(self._options.rounds):
            for taken, (_, _, _, turn) in zip(times, turns, strict=True):
                taken.append([turn.sample() for _ in range(self._options.samples)])
        wrong = {
            "weft": wrong_elements(devices, lambda x: fabric.all_reduce(x) and None, lists),
            "nccl": wrong_elements(devices, lambda x: self._nccl.call_of(x, "sum")(0), lists),
        }
        made = []
        for (impl, mode, is_fresh, turn), taken in zip(turns, times, strict=True):
            row = self._row(impl, mode, turn.iterations, total, taken, info, wrong[impl])
            made.append({**row.as_json(), "tensors": tensors, "fresh": is_fresh})
            turn.close()
        return made

    def _row(
        self, impl: str, mode: str, iterations: int, total: int, taken: list[list[float]],
        info: dict[str, Any], wrong: int,
    ) -> Row:  # fmt: skip
        ours = impl == "weft"
        case = make_case("all_reduce", "float32", "sum", total, self._fabric.size, in_place=True)
        return make_row(
            case,
            taken,
            peak_gbps=peak_gbps(self._link, case),
            impl=impl,
            algo=info["algorithm"] if ours else "nccl",
            devices=list(self._fabric.devices),
            mode=mode,
            clock="device" if mode == "graph" else "host",
            cache="hot",
            iterations=iterations,
            blocks=info["blocks"] if ours else None,
            scratch_bytes=info["scratch_bytes"] if ours else None,
            wrong=wrong,
            predicted_us=None,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--devices", default="cuda:0,1")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--nccl", metavar="PATH")
    parser.add_argument("--limit", type=float, default=420, help="seconds that all may take")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    if min(options.rounds, options.samples, options.limit) <= 0:
        parser.error("--rounds, --samples and --limit are above 0")
    end_after(options.limit)
    driver = open_driver()
    rows: list[dict[str, Any]] = []
    with weft.Fabric(options.devices) as fabric:
        if fabric.backend != "cuda" or len(set(fabric.devices)) != fabric.size:
            parser.error(f"--devices {options.devices}: NCCL needs a GPU for each rank")
        nccl = Nccl(driver, ordinals_of(fabric.devices), options.nccl)
        bench = Bench(fabric, driver, nccl, options)
        print(
            f"{'tensors':>8} {'of bytes':>10} {'mode':>12} {'weft us':>9} {'NCCL us':>9} {'x':>6}"
        )
        for tensors, size in SIZES:
            made = bench.rows(tensors, size)
            rows += made
            against = {row["mode"]: row["time_us"] for row in made if row["impl"] == "nccl"}
            for row in made:
                if row["impl"] != "weft":
                    continue
                mode = row["mode"] + (", fresh" if row["fresh"] else "")
                us, other = row["time_us"], against[row["mode"]]
                times = f"{us:>9.1f} {other:>9.1f} {other / us:>6.1f}"
                print(f"{tensors:>8} {size:>10} {mode:>12} {times}", flush=True)
        record = make_record(
            ["python", *sys.argv], [], link=bench.link, cuda=driver.version(),
            versions={"nccl": nccl.library.version(), "torch": torch.__version__,
                      "NCCL_NVLS_ENABLE": "0"},
        )  # fmt: skip
    record["rows"] = rows
    write_record(options.json, record)
    wrong = sum(row["wrong"] for row in rows)
    print(f"{wrong} wrong elements")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""How long it takes to open a Fabric, to make its first call, and to close it.

  python bench/open.py --devices cuda:0,1 --json open.json

Each time in a process of its own. There torch has made the devices' primary contexts and has done
something on each before the clock starts; weft is imported, and has done nothing. Simulated devices
(sim:2) need no torch.

The record (--json), schema weft.open/1: schema, command, date, weft, versions and machine as in
weft.bench/1, and
  devices  of the ranks
  bytes    of a rank's float32 vector
  runs     for each process: import_ms (of weft), open_ms, first_call_ms and second_call_ms (an
           all_reduce, until it has ended on every rank), close_ms
  row      of each of them the median and, with `_spread`, how far apart the processes are
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from time import perf_counter
from typing import Any

TIMES = ("import_ms", "open_ms", "first_call_ms", "second_call_ms", "close_ms")


def options_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--devices", default="cuda:0,1")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--bytes", type=int, default=1024, help="of a rank's float32 vector")
    parser.add_argument("--limit", type=float, default=60, help="seconds for each process")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if min(options.runs, options.bytes, options.limit) <= 0 or options.bytes % 4:
        parser.error("--runs, --bytes (a multiple of 4) and --limit are above 0")
    return options


def make_contexts() -> None:
    """Every GPU's primary context, and something done in each."""
    import torch  # type: ignore[import-not-found,unused-ignore]

    torch.cuda.init()
    for number in range(torch.cuda.device_count()):
        torch.ones(1, device=f"cuda:{number}").add_(1)
        torch.cuda.synchronize(number)


def vectors_on(devices: list[str], elements: int) -> list[Any]:
    """One of ones a rank: torch's, or NumPy's for simulated devices."""
    if devices[0].startswith("sim"):
        import numpy

        return [numpy.ones(elements, numpy.float32) for _ in devices]
    import torch  # type: ignore[import-not-found,unused-ignore]

    made = [torch.ones(elements, device=device) for device in devices]
    for device in devices:
        torch.cuda.synchronize(device)
    return made


def run_once(options: Any) -> dict[str, Any]:
    """The times of this process, which has done nothing yet; the devices; wrong elements."""
    if not options.devices.startswith("sim"):
        make_contexts()
    marks = [perf_counter()]
    import weft

    marks.append(perf_counter())
    from weft.bench.script import end_after

    end_after(options.limit)
    marks.append(perf_counter())
    fabric = weft.Fabric(options.devices)
    marks.append(perf_counter())
    vectors = vectors_on(fabric.devices, options.bytes // 4)
    for _ in range(2):
        marks.append(perf_counter())
        fabric.all_reduce(vectors, async_op=True).wait(options.limit)
        marks.append(perf_counter())
    marks.append(perf_counter())
    fabric.close()
    marks.append(perf_counter())
    spans = [1e3 * (marks[i + 1] - marks[i]) for i in range(0, len(marks), 2)]
    want = fabric.size**2  # sums of sums of ones
    wrong = sum(int((vector != want).sum()) for vector in vectors)
    times = dict(zip(TIMES, spans, strict=True))
    return {"times": times, "devices": fabric.devices, "wrong": wrong}


def run_children(options: Any) -> list[dict[str, Any]]:
    """What each process found. CalledProcessError, TimeoutExpired."""
    command = [sys.executable, __file__, "--child", "--devices", options.devices]
    command += ["--bytes", str(options.bytes), "--limit", str(options.limit)]
    found = []
    for _ in range(options.runs):
        # Somewhat longer, so that the child's own limit can say where it stood.
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, timeout=options.limit + 60, check=True
        )
        found.append(dict(json.loads(done.stdout.splitlines()[-1])))
    return found


def line(row: dict[str, float]) -> str:
    """All medians in one line."""
    texts = [
        f"{name.removesuffix('_ms')} {row[name]:.2f} ms ({row[name + '_spread']:.2f} apart)"
        for name in TIMES
    ]
    return ", ".join(texts)


def main(arguments: list[str]) -> int:
    options = options_of(arguments)
    if options.child:
        print(json.dumps(run_once(options)))
        return 0
    try:
        found = run_children(options)
    except subprocess.SubprocessError as error:
        print(f"open.py: {error}", file=sys.stderr)
        return 5 if isinstance(error, subprocess.TimeoutExpired) else 1
    from weft.bench.cuda_driver import open_driver
    from weft.bench.record import heading
    from weft.bench.script import middle, write_record

    runs = [child["times"] for child in found]
    row: dict[str, float] = {}
    for name in TIMES:
        row |= middle(name, [times[name] for times in runs])
    devices = found[0]["devices"]
    on_gpus = devices[0].startswith("cuda")
    record = heading(
        "weft.open/1", ["python", "bench/open.py", *arguments],
        cuda=open_driver().version() if on_gpus else None,
    )  # fmt: skip
    record |= {"devices": devices, "bytes": options.bytes, "runs": runs, "row": row}
    write_record(options.json, record)
    print(f"{' '.join(devices)}, median of {options.runs} processes: {line(row)}")
    wrong = sum(child["wrong"] for child in found)
    print(f"{wrong} wrong elements")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

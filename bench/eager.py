"""What an all_reduce costs that is asked for call after call: from C++ and Python, beside NCCL.

  python bench/eager.py --cpp build/cuda/bench/cuda/weft_bench_eager --json eager.json

Runs two programs, one after the other, and puts their rows in one record (schema weft.bench/1):

  weft_bench_eager                              weft and NCCL, both called from C++
  weft bench all_reduce --mode eager --tensors torch --vs nccl
                                                weft on torch's tensors, and NCCL by ctypes

In both, all calls come from one thread, nothing waits between them, the implementations take turns,
and a time is the host's from the first call until all devices are idle, over the number of calls.
Every size is timed out of place and in place, on the same vectors each time ("hot"). Each row says
its `language`, and of weft from Python whose `tensors` it was given.

NCCL called from Python pays for Python too: it is recorded as it is, but what weft is held against,
from C++ and from Python alike, is NCCL called from C++. The table shows both.

--cpp is a build with -DWEFT_CUDA=on -DWEFT_BENCH=ON. Where ranks share a device there is no NCCL.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from weft._spec import resolve
from weft.bench.record import heading
from weft.bench.rivals import nccl_library
from weft.bench.runner import RivalUnavailableError
from weft.bench.script import write_record

SIZES = tuple(1 << power for power in range(10, 21, 2))  # 1 KiB to 1 MiB
TIMEOUT = 5  # the exit code of what took too long
Row = dict[str, Any]


class ChildFailedError(Exception):
    """One of the two programs; `code` is its exit code."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name} ended with exit code {code}")
        self.code = code


def options_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cpp", metavar="PATH", help="weft_bench_eager; else without C++")
    parser.add_argument("--devices", default="cuda:0,1")
    parser.add_argument("--nccl", metavar="PATH", help="libnccl.so.2 [of nvidia-nccl]")
    parser.add_argument("--calls", type=int, default=400, help="of one sample")
    parser.add_argument("--samples", type=int, default=5, help="of one round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tensors", choices=("torch", "weft"), default="torch")
    parser.add_argument("--limit", type=float, default=240, help="seconds for each program")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(arguments)
    if options.cpp is not None and not os.access(options.cpp, os.X_OK):
        parser.error(f"--cpp {options.cpp}: no such program")
    if min(options.calls, options.samples, options.rounds) < 1 or options.limit <= 0:
        parser.error("--calls, --samples, --rounds and --limit are above 0")
    return options


def has_nccl(devices: list[str]) -> bool:
    """Whether NCCL can run on them: GPUs, one a rank."""
    return devices[0].startswith("cuda") and len(set(devices)) == len(devices)


def cpp_command(options: Any, devices: list[str], json_file: str) -> list[str]:
    command = [options.cpp, "--devices", ",".join(devices), "--json", json_file]
    command += ["--bytes", ",".join(str(size) for size in SIZES), "--calls", str(options.calls)]
    command += ["--rounds", str(options.rounds), "--samples", str(options.samples)]
    command += ["--limit", str(max(1, int(options.limit)))]
    return command + (["--nccl", nccl_library.find(options.nccl)] if has_nccl(devices) else [])


def python_command(options: Any, devices: list[str], json_file: str) -> list[str]:
    command = [sys.executable, "-m", "weft", "bench", "all_reduce", "--mode", "eager", "--hot-l2"]
    command += ["--devices", options.devices, "--tensors", options.tensors, "--json", json_file]
    command += ["-b", str(SIZES[0]), "-e", str(SIZES[-1]), "-f", str(SIZES[1] // SIZES[0])]
    command += ["-n", str(options.calls), "-G", str(options.samples)]
    command += ["--rounds", str(options.rounds)]
    if not has_nccl(devices):
        return command
    return [*command, "--vs", "nccl", *([] if options.nccl is None else ["--nccl", options.nccl])]


def run(name: str, command: list[str], json_file: str, limit: float) -> dict[str, Any]:
    """The record that the program writes; its own table goes to stderr."""
    print(f"# {' '.join(command)}", file=sys.stderr, flush=True)
    environment = {**os.environ, "NCCL_NVLS_ENABLE": "0"}
    try:
        done = subprocess.run(
            command, stdout=sys.stderr, env=environment, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired as late:
        raise ChildFailedError(f"{name}, not done within {limit:g} s,", TIMEOUT) from late
    if done.returncode not in (0, 1):  # 1: wrong elements, which the record tells
        raise ChildFailedError(name, done.returncode)
    try:
        return dict(json.loads(Path(json_file).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ChildFailedError(f"{name} without a record ({error})", done.returncode) from error


def measured(options: Any) -> tuple[list[Row], dict[str, Any], str | None]:
    """The rows of both programs, the versions they tell, and the driver's CUDA."""
    devices = resolve(options.devices)
    rows: list[Row] = []
    versions: dict[str, Any] = {}
    cuda = None
    with tempfile.TemporaryDirectory() as folder:
        for language, make in (("C++", cpp_command), ("Python", python_command)):
            if language == "C++" and options.cpp is None:
                print("# without --cpp: nothing is called from C++", file=sys.stderr)
                continue
            file = str(Path(folder) / f"{len(rows)}.json")
            record = run(language, make(options, devices, file), file, options.limit)
            for row in record["rows"]:
                ours = language == "Python" and row["impl"] == "weft"
                given = options.tensors if ours else None
                rows.append({**row, "language": language, "tensors": given})
            versions |= record["versions"]
            cuda = record["machine"]["cuda"] or cuda
    return rows, versions, cuda


def table(rows: list[Row]) -> list[str]:
    """One line for each size and place; "-" where something was not run."""
    times = {
        (row["bytes"], row["in_place"], row["language"], row["impl"]): row["time_us"]
        for row in rows
    }
    head = f"{'bytes':>8} {'place':>5} {'weft C++':>9} {'NCCL C++':>9} {'ratio':>6}"
    lines = [f"{head} {'weft Python':>12} {'NCCL ctypes':>12} {'/ NCCL C++':>11}"]
    for size, place in dict.fromkeys((row["bytes"], row["in_place"]) for row in rows):
        own, nccl, python, ctypes = (
            times.get((size, place, *key))
            for key in (("C++", "weft"), ("C++", "nccl"), ("Python", "weft"), ("Python", "nccl"))
        )
        cells = [f"{size:>8} {'in' if place else 'out':>5}", _cell(own, 9), _cell(nccl, 9)]
        cells += [_cell(_ratio(own, nccl), 6), _cell(python, 12), _cell(ctypes, 12)]
        lines.append(" ".join([*cells, _cell(_ratio(python, nccl), 11)]))
    return lines


def _ratio(time: float | None, other: float | None) -> float | None:
    return None if time is None or other is None else time / other


def _cell(value: float | None, width: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:>{width}.2f}"


def main(arguments: list[str]) -> int:
    options = options_of(arguments)
    try:
        rows, versions, cuda = measured(options)
    except ChildFailedError as error:
        print(f"eager.py: {error}", file=sys.stderr)
        return error.code or 1
    except RivalUnavailableError as missing:
        print(f"eager.py: {missing}", file=sys.stderr)
        return 2
    record = heading(
        "weft.bench/1", ["python", "bench/eager.py", *arguments], cuda=cuda, versions=versions
    )
    link = {"copy_engine_bidir_gbps": None, "copy_engine_gbps": None}
    write_record(options.json, {**record, "link": link, "rows": rows})
    print("us of one call, eager, back to back; median of the samples of all rounds")
    print("\n".join(table(rows)))
    wrong = sum(row["wrong"] or 0 for row in rows)
    print(f"{wrong} wrong elements")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

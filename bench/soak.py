"""Very many runs of a soak program, range by range, added up in one record.

  python bench/soak.py build/soak/tests/weft_soak --seeds 0:10000 --json bench/results/soak.json

A program takes FIRST and COUNT of seeds, and prints as its last line a JSON object of counts. Each
step of `--step` seeds is written into the record as it ends: what was interrupted goes on with the
same command, as seeds that the record has are left out. An exit code other than 0, which says that
something was wrong, ends the run; its counts are recorded first.

The record (--json), schema weft.soak/1:
  schema  and program, its name
  runs    one a stretch of seeds that ran in one go: command, date, weft, versions and machine as in
          weft.bench/1; first, count; and all that the program counted
  totals  sums over the runs of what is counted, the greatest of what begins with `most_`
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Counts = dict[str, Any]


def options_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("program")
    parser.add_argument("--seeds", required=True, metavar="FIRST:END", type=seeds_of)
    parser.add_argument("--step", type=int, default=100, help="seeds that are run in one go")
    parser.add_argument("--limit", type=float, default=3600, help="seconds for each step")
    parser.add_argument("--json", metavar="FILE", required=True)
    options = parser.parse_args(arguments)
    if options.step < 1 or options.limit <= 0:
        parser.error("--step and --limit are above 0")
    return options


def seeds_of(text: str) -> range:
    """The seeds FIRST to END - 1.

    >>> seeds_of("3:7")
    range(3, 7)
    """
    first, _, end = text.partition(":")
    seeds = range(int(first), int(end))
    if not seeds or seeds.start < 0:
        raise argparse.ArgumentTypeError(f"no seeds in {text}")
    return seeds


def add(sum_of: Counts, more: Counts) -> Counts:
    """Both counted together: numbers add up, those named most_... do not.

    >>> add({"done": 1, "most_ms": 5.0, "kinds": {"a": 1}}, {"done": 2, "most_ms": 4.0,
    ...     "kinds": {"a": 1, "b": 1}})
    {'done': 3, 'most_ms': 5.0, 'kinds': {'a': 2, 'b': 1}}
    """
    total = dict(sum_of)
    for name, value in more.items():
        if name not in total:
            total[name] = value
        elif isinstance(value, dict):
            total[name] = add(total[name], value)
        elif name.startswith("most_"):
            total[name] = max(total[name], value)
        else:
            total[name] = round(total[name] + value, 3)
    return total


def missing(record: Counts, seeds: range, step: int) -> Iterator[range]:
    """Stretches of up to `step` of the seeds that the record does not have.

    >>> list(missing({"runs": [{"first": 2, "count": 2}]}, range(0, 8), 3))
    [range(0, 2), range(4, 7), range(7, 8)]
    """
    had = [range(run["first"], run["first"] + run["count"]) for run in record["runs"]]
    at = seeds.start
    while at < seeds.stop:
        inside = next((one for one in had if at in one), None)
        if inside is not None:
            at = inside.stop
            continue
        end = min([at + step, seeds.stop, *(one.start for one in had if one.start > at)])
        yield range(at, end)
        at = end


def append(record: Counts, heading: Counts, found: Counts) -> None:
    """One step more. What begins where a run of the same command and date ended continues it."""
    runs = record["runs"]
    for i, run in enumerate(runs):
        same = (run["command"], run["date"]) == (heading["command"], heading["date"])
        if same and run["first"] + run["count"] == found["first"]:
            runs[i] = heading | add(
                {name: run[name] for name in found}, found | {"first": 0}
            )  # fmt: skip
            return
    runs.append(heading | found)
    runs.sort(key=lambda run: run["first"])


def totals(record: Counts) -> Counts:
    sum_of: Counts = {}
    about = {"first", "command", "date", "weft", "versions", "machine"}
    for run in record["runs"]:
        sum_of = add(sum_of, {name: value for name, value in run.items() if name not in about})
    return {"seeds" if name == "count" else name: value for name, value in sum_of.items()}


def main(arguments: list[str]) -> int:
    options = options_of(arguments)
    from weft.bench.record import heading

    path, name = Path(options.json), Path(options.program).name
    record: Counts = {"schema": "weft.soak/1", "program": name, "runs": [], "totals": {}}
    if path.exists():
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.get("schema") != "weft.soak/1" or record.get("program") != name:
            print(f"soak.py: {path} is not a record of {name}", file=sys.stderr)
            return 2
    head = heading("", ["python", "bench/soak.py", *arguments])
    del head["schema"]
    status = 0
    for seeds in list(missing(record, options.seeds, options.step)):
        done = subprocess.run(
            [options.program, str(seeds.start), str(len(seeds))],
            stdout=subprocess.PIPE, text=True, timeout=options.limit,
        )  # fmt: skip
        lines = done.stdout.splitlines()
        if not lines:
            print(f"soak.py: {name} ended with {done.returncode}", file=sys.stderr)
            return 1
        append(record, head, json.loads(lines[-1]))
        record["totals"] = totals(record)
        written = path.with_suffix(".part")
        written.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        written.replace(path)
        status = done.returncode
        if status:
            break
    print(json.dumps(record["totals"]))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The tables of results in README.md, made from the records in bench/results/.

  python bench/readme_table.py            writes them
  python bench/readme_table.py --check    exits with 1 if README.md is not current

A table stands between `<!-- results: RECORD [in-place | out-of-place] -->` and `<!-- /results -->`,
where RECORD is a path from the root. Needs nothing but Python.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(
    r"<!-- results: (?P<record>\S+)(?: (?P<place>in-place|out-of-place))? -->\n"
    r".*?<!-- /results -->",
    re.DOTALL,
)
_ORDER = ("weft", "nccl", "nccl-sym", "torch", "torch-nccl", "mpi")
_NAMES = {
    "nccl": "NCCL",
    "nccl-sym": "NCCL, symmetric windows",
    "torch": "PyTorch symmetric memory",
    "torch-nccl": "PyTorch, NCCL",
    "mpi": "MPI",
}

Row = dict[str, Any]


def renewed(text: str, root: Path = ROOT) -> str:
    """`text` with every table made anew. ValueError where a record cannot be shown."""

    def table(match: re.Match[str]) -> str:
        record = json.loads((root / match["record"]).read_text(encoding="utf-8"))
        head = match[0].partition("\n")[0]
        return f"{head}\n{tables(record, match['record'], match['place'])}<!-- /results -->"

    return _BLOCK.sub(table, text)


def tables(record: dict[str, Any], name: str, place: str | None = None) -> str:
    """One table for each collective, dtype, op and place, after what machine it was run on."""
    if record.get("schema") != "weft.bench/1":
        raise ValueError(f"{name} is no record of a benchmark")
    if record.get("incomplete"):
        raise ValueError(f"{name} is incomplete: {record['incomplete']}")
    wrong = [row for row in record["rows"] if row["wrong"] != 0]
    if wrong:
        raise ValueError(f"{name}: {len(wrong)} rows with wrong or unchecked elements")
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in record["rows"]:
        if place is None or row["in_place"] == (place == "in-place"):
            key = tuple(row[k] for k in ("collective", "dtype", "op", "in_place", "ranks"))
            groups.setdefault(key, []).append(row)
    if not groups:
        raise ValueError(f"{name} has no rows {place}")
    return "".join(_table(record, name, rows) for rows in groups.values())


def _table(record: dict[str, Any], name: str, rows: list[Row]) -> str:
    impls = [impl for impl in _ORDER if any(row["impl"] == impl for row in rows)]
    others = impls[1:]
    heads = ["bytes", "weft, us", "GB/s"]
    with_peak = any(row["pct_peak"] is not None for row in rows if row["impl"] == "weft")
    heads += ["% of the link"] if with_peak else []
    heads += [f"{_NAMES[impl]}, us" for impl in others]
    heads += ["weft against the fastest other"] if others else []
    lines = [_caption(record, name, rows), "", _line(heads), _line(["---"] * len(heads))]
    for size in sorted({row["bytes"] for row in rows}):
        of_size = {row["impl"]: row for row in rows if row["bytes"] == size}
        own = of_size["weft"]
        cells = [_size(size), _number(own["time_us"]), _number(own["busbw_gbps"])]
        cells += [f"{own['pct_peak']:.0f}"] if with_peak else []
        cells += [_number(of_size[impl]["time_us"]) if impl in of_size else "-" for impl in others]
        times = [of_size[impl]["time_us"] for impl in others if impl in of_size]
        if others:
            cells.append(f"{min(times) / own['time_us']:.2f}x" if times else "-")
        lines.append(_line(cells))
    return "\n".join([*lines, "", ""])


def _caption(record: dict[str, Any], name: str, rows: list[Row]) -> str:
    """What was run, where and how, in one paragraph; each word of it from the record."""
    first, machine = rows[0], record["machine"]
    what = f"{first['collective']}, {first['dtype']} {first['op']}, "
    what += "in place" if first["in_place"] else "out of place"
    gpus = machine["gpus"]
    on_gpus = first["devices"][0].startswith("cuda")
    where = f"{first['ranks']} ranks on {len(set(first['devices']))} x {gpus[0]}" if on_gpus else ""
    where = where or f"{first['ranks']} simulated ranks on {machine['cpu'] or 'a CPU'}"
    facts = [f"**{what}**", where]
    facts += [f"driver {machine['driver']}"] if on_gpus and machine.get("driver") else []
    facts += [f"CUDA {machine['cuda']}"] if on_gpus and machine.get("cuda") else []
    versions = record.get("versions") or {}
    facts += [f"{k} {v}" for k, v in versions.items() if k in ("nccl", "torch")]
    facts.append({"graph": "CUDA-graph replay", "eager": "eager calls"}[first["mode"]])
    facts += [f"L2 {first['cache']}"] if first.get("cache") else []
    facts.append(f"median of {first['rounds']} rounds taking turns")
    if (record["link"] or {}).get("copy_engine_bidir_gbps"):
        rate = record["link"]["copy_engine_bidir_gbps"]
        facts.append(f"copy engines, both directions: {rate:.0f} GB/s")
    clock = "times predicted" if any(row["predicted"] for row in rows) else "times measured"
    facts += [clock, f"weft {record['weft']}", record["date"][:10]]
    return f"{'; '.join(facts)} ([record]({name}))."


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _size(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count % size == 0:
            return f"{count // size} {unit}"
    return f"{count} B"


def main(arguments: list[str]) -> int:
    """The program: 0, or 1 where --check finds README.md out of date."""
    readme = ROOT / "README.md"
    before = readme.read_text(encoding="utf-8")
    after = renewed(before)
    if "--check" in arguments:
        if before != after:
            print("README.md is not current: make docs", file=sys.stderr)
        return int(before != after)
    readme.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

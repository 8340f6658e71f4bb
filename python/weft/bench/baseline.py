"""`--baseline FILE`: weft's rows against those of an earlier record (schema `weft.bench/1`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from weft.bench.collective import Case
from weft.bench.row import Row

__all__ = ["Baseline"]

_CASE = ("collective", "dtype", "op", "bytes", "ranks", "in_place")


class Baseline:
    """The times of weft in a record. ValueError, saying why, for a file that is none."""

    def __init__(self, path: str) -> None:
        try:
            record = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ValueError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise ValueError(f"{path} is not JSON: {error}") from error
        if not isinstance(record, dict) or record.get("schema") != "weft.bench/1":
            raise ValueError(f"{path} is no record of a benchmark (schema weft.bench/1)")
        if record.get("incomplete"):
            raise ValueError(f"{path} is incomplete: {record['incomplete']}")
        self._times: dict[tuple[Any, ...], float] = {
            _key(row, row["mode"], row["devices"]): float(row["time_us"])
            for row in record["rows"]
            if row["impl"] == "weft"
        }

    def covers(self, cases: Iterable[Case], mode: str, devices: Sequence[str]) -> int:
        """How many of `cases` it has."""
        every = (_key({**asdict(c), "bytes": c.bytes}, mode, devices) for c in cases)
        return sum(key in self._times for key in every)

    def slower(self, rows: Sequence[Row], tolerance: float) -> list[str]:
        """One line for each of weft's rows that took more than `tolerance` per cent longer."""
        found = []
        for row in rows:
            known = self._times.get(_key(row.as_json(), row.mode, row.devices))
            if row.impl != "weft" or known is None or known <= 0:
                continue
            more = 100 * (row.time_us / known - 1)
            if more > tolerance:
                place = "in place" if row.in_place else "out of place"
                found.append(
                    f"{row.collective} {row.bytes} B {row.dtype} {row.op}, {place}: "
                    f"{row.time_us:.2f} us, {more:.0f} % above {known:.2f} us"
                )
        return found


def _key(row: dict[str, Any], mode: str, devices: Sequence[str]) -> tuple[Any, ...]:
    return (*(row[name] for name in _CASE), mode, devices[0].partition(":")[0], len(set(devices)))

"""Tables of algorithms that were measured on this machine: the file of `weft tune`.

A file (schema `weft.tuning/1`) holds tables, one for each collective, number of ranks and kind of
devices. A fabric goes by those that are for it, and by the table that weft is shipped with for the
rest. A row is for calls whose rank's input has `from_bytes` to `up_to_bytes` bytes (None: no end),
of `dtypes` "floating", "integral" or "any", that are `captured` by a graph or not (None: either),
and `in_place` or not.

Thread safety: everything here may be used from any thread.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weft import _weft
from weft._config import setting
from weft._errors import invalid, named, whole_number

__all__ = ["OFF", "SCHEMA", "InForce", "Place", "default_path", "place", "read", "store"]

SCHEMA = "weft.tuning/1"
#: What WEFT_TUNING and `Fabric(tuning=)` say for the shipped table alone.
OFF = "off"

Table = dict[str, Any]

_TABLE = ("collective", "backend", "ranks", "machine", "date", "rows")
_ROW = ("dtypes", "captured", "in_place", "from_bytes", "up_to_bytes", "algorithm", "blocks")
_CLASSES = ("any", "floating", "integral")


@dataclass(frozen=True)
class Place:
    """Where tables are kept. path: None where they are off."""

    path: Path | None
    named_by: str | None  # who named it: "WEFT_TUNING", "tuning="; None: it is the default

    def tables(self) -> list[Table]:
        """The tables that are there.

        A file that was named and cannot be used is a ConfigError (WEFT_TUNING) or InvalidArgument
        that names it; at the default place it is a RuntimeWarning, and none at all is none.
        """
        if self.path is None:
            return []
        # Path.exists() would raise for a folder that may not be entered, which is none here.
        if self.named_by is None and not os.path.exists(self.path):
            return []
        try:
            return read(self.path)
        except ValueError as error:
            if self.named_by == "WEFT_TUNING":
                message = f"WEFT_TUNING is '{self.path}': {error}"
                raise named(_weft.ConfigError(message), "config") from error
            if self.named_by is not None:
                raise invalid(f"{self.named_by}: {error}") from error
            warnings.warn(
                f"{error}; the shipped table is used (weft tune writes another)",
                RuntimeWarning,
                stacklevel=3,
            )
            return []


def default_path() -> Path:
    """`weft/tuning.json` in $XDG_CACHE_HOME, or in ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # The specification of XDG_CACHE_HOME: a relative path counts as not set.
    root = Path(cache) if os.path.isabs(cache) else Path(os.path.expanduser("~")) / ".cache"
    return root / "weft" / "tuning.json"


def place(given: str | os.PathLike[str] | None = None) -> Place:
    """Where the tables are: what `Fabric(tuning=)` says, else WEFT_TUNING, else the default.

    >>> place("off").path is None, place("there.json").path.name
    (True, 'there.json')
    """
    if given is not None:
        if not isinstance(given, (str, os.PathLike)) or not os.fspath(given):
            raise invalid(f'tuning must be a path, "off" or None, not {given!r}')
        return Place(None if given == OFF else Path(given), "tuning=")
    configured = str(setting("WEFT_TUNING"))
    if not configured:
        return Place(default_path(), None)
    return Place(None if configured == OFF else Path(configured), "WEFT_TUNING")


def read(path: Path) -> list[Table]:
    """The tables in a file. ValueError, which names the file, for one that holds none.

    What is in it is checked here, so that nothing is found out in the midst of a call.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise ValueError(f"{path} is no table of weft tune (schema {SCHEMA})")
    tables = record.get("tables")
    if not isinstance(tables, list):
        raise ValueError(f"{path}: tables is no list")
    for i, table in enumerate(tables):
        _check_table(table, f"{path}: table {i}")
    return tables


def store(path: Path, tables: Sequence[Table]) -> None:
    """Write `tables` into the file at `path`, beside those there that are for something else.

    A file there that holds no tables is replaced. OSError where it cannot be written; then the old
    one stays.
    """
    kept: list[Table] = []
    with suppress(ValueError):
        kept = read(path)
    new = {_key(table) for table in tables}
    kept = [table for table in kept if _key(table) not in new]
    text = json.dumps({"schema": SCHEMA, "tables": [*kept, *tables]}, indent=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        part.write_text(text + "\n", encoding="utf-8")
        os.replace(part, path)  # readers see the old file or the new one, never half of one
    finally:
        part.unlink(missing_ok=True)


class InForce:
    """The table that "auto" goes by in one fabric. Tables for others are left out."""

    def __init__(self, native: _weft.Fabric, tables: Iterable[Table], path: Path | None) -> None:
        self._native = native
        self._gpus = list(native.gpu_names)
        #: The row and its table, in the order of the native table's measured rows.
        self._measured = [
            (row, table)
            for table in tables
            if _key(table)[1:] == (native.backend, native.size, *sorted(self._gpus))
            for row in table["rows"]
        ]
        self._path = path
        native.set_tuning(
            [row | {"collective": table["collective"]} for row, table in self._measured]
        )

    def rows(self) -> list[dict[str, Any]]:
        """See `Fabric.tuning`."""
        found = []
        for i, row in enumerate(self._native.tuning()):
            known = self._measured[i] if row.pop("measured") else None
            source = self._shipped() if known is None else f"{self._path}, {known[1]['date']}"
            measured = None if known is None else known[0].get("measured")
            found.append(row | {"source": source, "measured": measured})
        return found

    def _shipped(self) -> str:
        if self._native.backend == "sim":
            return "shipped"
        there = self._native.size == 2 and self._gpus == ["NVIDIA H200"] * 2
        return f"shipped, {'from measurements on' if there else 'predicted from'} 2 x NVIDIA H200"


def _key(table: Table) -> tuple[Any, ...]:
    """What a table is for: the collective, the backend, the ranks, the GPUs."""
    gpus = sorted(table["machine"]["gpus"])
    return (table["collective"], table["backend"], table["ranks"], *gpus)


def _check_table(table: object, where: str) -> None:
    if not isinstance(table, dict) or any(name not in table for name in _TABLE):
        raise ValueError(f"{where} does not have all of: {', '.join(_TABLE)}")
    machine = table["machine"]
    gpus = machine.get("gpus") if isinstance(machine, dict) else None
    if not isinstance(gpus, list) or not all(isinstance(name, str) for name in gpus):
        raise ValueError(f"{where}: machine.gpus is no list of names")
    if not isinstance(table["rows"], list):
        raise ValueError(f"{where}: rows is no list")
    if table["collective"] not in _weft.collectives():
        raise ValueError(f"{where}: no collective is called {table['collective']!r}")
    for i, row in enumerate(table["rows"]):
        _check_row(row, f"{where}, row {i}")


def _check_row(row: object, where: str) -> None:
    if not isinstance(row, dict) or any(name not in row for name in _ROW):
        raise ValueError(f"{where} does not have all of: {', '.join(_ROW)}")
    if row["algorithm"] not in _weft.algorithms():
        raise ValueError(f"{where}: no algorithm is called {row['algorithm']!r}")
    if row["dtypes"] not in _CLASSES:
        raise ValueError(f"{where}: dtypes is one of {', '.join(_CLASSES)}, not {row['dtypes']!r}")
    for name in ("captured", "in_place"):
        if row[name] is not None and not isinstance(row[name], bool):
            raise ValueError(f"{where}: {name} is true, false or null, not {row[name]!r}")
    begin, end = whole_number(row["from_bytes"]), row["up_to_bytes"]
    last = 1 << 62 if end is None else whole_number(end)
    if begin is None or last is None or not 0 <= begin <= last <= 1 << 62:
        raise ValueError(
            f"{where} is for sizes from 0 bytes on, not {row['from_bytes']!r} to {end!r}"
        )
    blocks = whole_number(row["blocks"])
    if blocks is None or not 0 <= blocks <= 1 << 20:
        raise ValueError(f"{where}: blocks is a whole number from 0 on, not {row['blocks']!r}")

"""What other processes published of their fabrics' statistics (`Fabric(stats=)`, WEFT_STATS).

Files are taken for what anybody may have put there: no more than LONGEST bytes of one are read,
only ordinary files are, and whatever is not what weft writes is a `Problem` that names it.

Thread safety: everything here may be used from any thread.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["SCHEMA", "STALE_SECONDS", "Problem", "Process", "read"]

SCHEMA = "weft.stats/1"
#: A process that has not written for so long counts as ended, whatever its number says.
STALE_SECONDS = 10.0
LONGEST = 16 << 20  # bytes of a file

_NAME = re.compile(r"weft-([1-9][0-9]{0,9})\.json")
_LINK = re.compile(r"[0-9]{1,4}->[0-9]{1,4}")
_MOST = 1 << 63


@dataclass(frozen=True)
class Process:
    """The last that a process published."""

    file: Path
    document: dict[str, Any]  # schema weft.stats/1
    age_seconds: float
    ended: bool

    @property
    def number(self) -> int:
        """The number of the process."""
        return int(self.document["process"])

    @property
    def fabrics(self) -> list[dict[str, Any]]:
        """A row of each fabric: fabric, backend, devices, poisoned, cause, stats."""
        return list(self.document["fabrics"])


@dataclass(frozen=True)
class Problem:
    """A file that is not what it should be."""

    file: Path
    reason: str


def read(
    folder: str | os.PathLike[str], now: datetime.datetime | None = None
) -> tuple[list[Process], list[Problem]]:
    """The processes that publish into `folder`, by number, and the files that are no use.

    now: what ages are counted from; None: now. OSError where the folder cannot be read.
    """
    now = now or datetime.datetime.now(datetime.timezone.utc)
    found: list[Process] = []
    problems: list[Problem] = []
    for name in sorted(os.listdir(folder)):
        if not (name.startswith("weft-") and name.endswith(".json")):
            continue
        file = Path(folder) / name
        try:
            found.append(_process(file, now))
        except FileNotFoundError:
            continue  # the process has ended meanwhile
        except OSError as error:
            problems.append(Problem(file, f"cannot be read: {error.strerror}"))
        except ValueError as error:
            problems.append(Problem(file, str(error)))
    return sorted(found, key=lambda process: process.number), problems


def _process(file: Path, now: datetime.datetime) -> Process:
    name = _NAME.fullmatch(file.name)
    if name is None:
        raise ValueError("the name is not weft-PROCESS.json")
    document = _document(_load(file))
    if document["process"] != int(name[1]):
        raise ValueError("it is of another process than its name says")
    age = (now - datetime.datetime.fromisoformat(document["time"])).total_seconds()
    here = document["host"] == os.uname().nodename
    ended = age > STALE_SECONDS or (here and not _lives(document["process"]))
    return Process(file, document, max(age, 0.0), ended)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        pass
    return True


def _load(file: Path) -> Any:
    # A pipe would be waited for, and a link may lead anywhere.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is no ordinary file")
        data = opened.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST} bytes")
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from None


# What a value must be; each raises ValueError that says where it is not.


def _document(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        raise ValueError(f"it holds no statistics of weft's (schema {SCHEMA})")
    _fields(value, "", {
        "time": _time, "process": _count, "host": _text, "weft": _text,
        "command": _list_of(_text), "interval_seconds": _number, "fabrics": _list_of(_fabric),
    })  # fmt: skip
    return value


def _fabric(value: Any, where: str) -> None:
    _fields(value, where, {
        "fabric": _count, "backend": _text, "devices": _list_of(_text), "poisoned": _flag,
        "cause": _or_none(_text), "stats": _stats,
    })  # fmt: skip


def _stats(value: Any, where: str) -> None:
    counts = ("operations", "empty", "failed", "bytes", "in_flight", "peak_in_flight",
              "events_recorded", "events_dropped")  # fmt: skip
    _fields(value, where, {key: _count for key in counts} | {
        "seconds": _number, "host_seconds": _number, "predicted": _flag,
        "ranks": _list_of(_count), "staged": _staged, "links": _counts(_LINK.fullmatch),
        "kinds": _list_of(_kind), "errors": _counts(str.isidentifier),
    })  # fmt: skip


def _staged(value: Any, where: str) -> None:
    _fields(value, where, {"tensors": _count, "bytes": _count})


def _kind(value: Any, where: str) -> None:
    _fields(value, where, {
        "kind": _text, "algorithm": _text, "operations": _count, "failed": _count,
        "bytes": _count, "host_seconds": _number, "p50_us": _or_none(_number),
        "p99_us": _or_none(_number),
    })  # fmt: skip


_Check = Callable[[Any, str], None]


def _fields(value: Any, where: str, checks: dict[str, _Check]) -> None:
    """What else there is, of a later version, is left alone."""
    if not isinstance(value, dict):
        raise ValueError(f"{where} is no object")
    for key, check in checks.items():
        if key not in value:
            raise ValueError(f"{where + '.' if where else ''}{key} is missing")
        check(value[key], f"{where + '.' if where else ''}{key}")


def _list_of(check: _Check) -> _Check:
    def checked(value: Any, where: str) -> None:
        if not isinstance(value, list):
            raise ValueError(f"{where} is no list")
        for i, one in enumerate(value):
            check(one, f"{where}[{i}]")

    return checked


def _counts(is_key: Callable[[str], object]) -> _Check:
    def checked(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{where} is no object")
        for key, count in value.items():
            if not is_key(key):
                raise ValueError(f"{where} has a key that is none: {key!r:.40}")
            _count(count, f"{where}.{key:.40}")

    return checked


def _or_none(check: _Check) -> _Check:
    return lambda value, where: None if value is None else check(value, where)


def _text(value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{where} is no text")
    if any("\ud800" <= c <= "\udfff" for c in value):
        raise ValueError(f"{where} has a lone surrogate, which is no character")


def _flag(value: Any, where: str) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{where} is neither true nor false")


def _count(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MOST:
        raise ValueError(f"{where} is no count")


def _number(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{where} is no number")
    if not 0 <= value < _MOST:  # no NaN either
        raise ValueError(f"{where} is out of range")


def _time(value: Any, where: str) -> None:
    _text(value, where)
    try:
        time = datetime.datetime.fromisoformat(value)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ValueError(f"{where} is no time with its zone")

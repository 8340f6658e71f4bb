"""Files of traces, read one event at a time.

Invariants:
1. At most LONGEST bytes and MOST_EVENTS events are ever held, whatever a path leads to; only what
   `_rows` names is kept of an event.
2. Whatever is wrong with a file is an InvalidArgument "FILE:LINE: reason". A trace of another tool
   is called so, whatever else is wrong with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from json.decoder import JSONDecodeError
from typing import IO, NoReturn

from weft import _weft
from weft._errors import invalid
from weft.tracing import _document
from weft.tracing._check import Fault
from weft.tracing._document import Foreign, Position
from weft.tracing._rows import Trace

__all__ = ["LONGEST", "MOST_EVENTS", "parse", "read", "read_open"]

LONGEST = 256 << 20  # bytes; a million events of a trace have about as many
MOST_EVENTS = 1_000_000

#: Called now and then with how many characters of how many have been read.
Progress = Callable[[int, int], None]


def read(path: str | os.PathLike[str], progress: Progress | None = None) -> Trace:
    """The trace in a file of `Fabric.trace`, `Events.to_perfetto` or `Events.to_jsonl`.

    Raises InvalidArgument, with the file's name, the line and the reason, for one that cannot be
    read, that is something else, or that holds more than 256 MiB or a million events.
    """
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            return read_open(file, str(name), progress)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, _weft.Error):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise invalid(f"{name!r:.300}: cannot be read: {reason}") from None


def read_open(file: IO[bytes], name: str, progress: Progress | None = None) -> Trace:
    """As `read`, from an open file that errors are to call `name`."""
    data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise invalid(f"{name}: longer than {LONGEST >> 20} MiB, the most that is read")
    if data[:2] == b"\x1f\x8b":
        raise invalid(f"{name}: compressed by gzip: unpack it first")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise invalid(f"{name}:{line}: no trace of weft: not UTF-8 ({error.reason})") from None
    del data
    return parse(text, name, progress)


def parse(text: str, name: str = "<text>", progress: Progress | None = None) -> Trace:
    """As `read`, of the text itself, which errors call `name`."""
    scan = Position(text, name, MOST_EVENTS, progress)
    try:
        if not text.strip():
            raise Fault("empty")
        if _document.has_lines(text):
            return _document.lines(scan)
        return _document.trace(scan)
    except Foreign as error:
        raise invalid(f"{name}: {error}") from None
    except Fault as error:
        _refuse(scan, scan.at, str(error))
    except JSONDecodeError as error:
        reason = f"no JSON: {error.msg}"
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
            reason = f"no JSON: {error.msg}; the file may have been cut off"
        _refuse(scan, error.pos, reason)
    except RecursionError:
        _refuse(scan, scan.at, "nested too deep")
    except ValueError as error:  # Python's own limit on the digits of a number
        _refuse(scan, scan.at, str(error) if scan.own(error) else "a number with too many digits")


def _refuse(scan: Position, at: int, reason: str) -> NoReturn:
    line = scan.text.count("\n", 0, at) + 1
    column = at - scan.text.rfind("\n", 0, at)
    raise invalid(f"{scan.name}:{line}:{column}: {reason}") from None

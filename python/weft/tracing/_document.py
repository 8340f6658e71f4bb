"""JSON scanned one event at a time: the two forms in which weft writes events.

A trace is one object with a list `traceEvents` in it; that list is never held as a whole. Events as
lines are an object a line, the first of them a header.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from json import JSONDecoder
from json.decoder import JSONDecodeError, scanstring  # type: ignore[attr-defined]
from typing import Any

from weft.tracing import _check
from weft.tracing._check import Fault
from weft.tracing._rows import Trace

__all__ = ["Foreign", "Position", "has_lines", "lines", "trace"]

SCHEMA = "weft.trace/1"
LINES_SCHEMA = "weft.event/1"
_EVERY = 4096  # events between two calls of progress
_SPACE = re.compile(r"[ \t\r\n]*")
_HEADER = re.compile(r'\s*\{\s*"schema"\s*:\s*"weft\.event/')


class Foreign(Exception):
    """The file is whole, but no trace of weft's; says what it is instead."""


class _Constant(ValueError):
    """NaN or Infinity, which JSON does not have."""


def _constant(spelling: str) -> Any:
    raise _Constant(f"{spelling} is no number of JSON")


class Position:
    """A text and how far it has been read."""

    def __init__(
        self, text: str, name: str, most: int, progress: Callable[[int, int], None] | None
    ) -> None:
        self.text, self.name, self.most, self._progress = text, name, most, progress
        self.at = 0  # where what is being read begins
        self._decode = JSONDecoder(parse_constant=_constant).raw_decode

    def own(self, error: ValueError) -> bool:
        """Whether an error's words are meant for the user."""
        return isinstance(error, _Constant)

    def skip(self) -> str:
        """Pass over white space; the next character, "" at the end."""
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.text[self.at : self.at + 1]

    def take(self, character: str) -> None:
        """Pass over `character`. JSONDecodeError if it is not there."""
        if self.skip() != character:
            raise JSONDecodeError(f"Expecting '{character}'", self.text, self.at)
        self.at += 1

    def key(self) -> str:
        """Pass over a text and the colon behind it."""
        if self.skip() != '"':
            raise JSONDecodeError("Expecting a name in double quotes", self.text, self.at)
        name, self.at = scanstring(self.text, self.at + 1, True)
        self.take(":")
        return str(name)

    def value(self) -> tuple[Any, int]:
        """The value that follows, and where it ends; the position stays at its beginning."""
        self.skip()
        value, end = self._decode(self.text, self.at)
        return value, end

    def values(self) -> Iterator[Any]:
        """The entries of the list that follows, the position at the beginning of each."""
        self.take("[")
        if self.skip() == "]":
            self.at += 1
            return
        count = 0
        while True:
            value, end = self.value()
            count += 1
            self.counted(count)
            yield value
            self.at = end
            if self.skip() == "]":
                self.at += 1
                return
            self.take(",")

    def counted(self, count: int) -> None:
        """Say that `count` events have been read. Fault where they are too many."""
        if count > self.most:
            raise Fault(f"more than {self.most} events, the most that are read")
        if self._progress is not None and count % _EVERY == 0:
            self._progress(self.at, len(self.text))


def has_lines(text: str) -> bool:
    """Whether it begins as `Events.to_jsonl` does."""
    return _HEADER.match(text) is not None


def lines(scan: Position) -> Trace:
    """Events a line. Raises Fault, JSONDecodeError, RecursionError, ValueError."""
    header, end = scan.value()
    schema = header.get("schema")
    if schema != LINES_SCHEMA:
        told = _check.quoted(str(schema))
        raise Fault(f"the schema is {told}, and {LINES_SCHEMA} is the one that is read")
    result = Trace(scan.name, LINES_SCHEMA)
    result.devices = _check.names(header.get("devices", []), "devices")
    result.dropped = _check.dropped(header.get("dropped_total", 0), "dropped_total")
    count = 0
    scan.at = end
    while scan.skip():
        event, end = scan.value()
        count += 1
        scan.counted(count)
        _check.recorded_event(event, result)
        scan.at = end
    first = min((one.begin for one in result.operations), default=0.0)
    for one in result.operations:
        one.begin -= first
    return result


def trace(scan: Position) -> Trace:
    """One object with `traceEvents`. Raises Foreign and what `lines` does.

    Which tool wrote it may stand behind the events: what is wrong with one of these is only raised
    where the file turns out to be weft's.
    """
    if scan.skip() == "[":
        raise Foreign("a list: a Chrome trace of another tool, if any; weft's is one object")
    result = Trace(scan.name, "")
    wrong: tuple[Fault, int] | None = None
    other: dict[str, Any] = {}
    for key in _members(scan):
        if key == "traceEvents" and scan.skip() == "[" and key not in other:
            for event in scan.values():
                if wrong is None:
                    wrong = _entered(event, result, scan.at)
            other[key] = list
            continue
        value, end = scan.value()
        if key == "otherData" and isinstance(value, dict):
            other["otherData"] = value
        else:
            other[key] = True
        scan.at = end
    if scan.skip():
        raise JSONDecodeError("more behind the end of the trace", scan.text, scan.at)
    _own(other, result)
    if other.get("traceEvents") is not list:
        raise Fault("traceEvents must be there once, and be a list")
    if wrong is not None:
        scan.at = wrong[1]
        raise wrong[0]
    return result


def _entered(event: Any, result: Trace, at: int) -> tuple[Fault, int] | None:
    try:
        _check.drawn_event(event, result)
    except Fault as fault:
        return fault, at
    return None


def _members(scan: Position) -> Iterator[str]:
    """The keys of the object that follows, the position before the value of each."""
    scan.take("{")
    if scan.skip() == "}":
        scan.at += 1
        return
    while True:
        yield scan.key()
        if scan.skip() == "}":
            scan.at += 1
            return
        scan.take(",")


def _own(other: dict[str, Any], result: Trace) -> None:
    """Enter what the file says of itself. Foreign if that is not weft's."""
    told = other.get("otherData")
    told = told if isinstance(told, dict) else {}
    schema = told.get("schema")
    if schema != SCHEMA:
        raise Foreign(_whose(other, schema))
    result.schema = SCHEMA
    result.weft_version = _check.short_text(told.get("weft_version", ""), "weft_version")
    result.devices = _check.names(told.get("devices", []), "devices")
    result.dropped = _check.dropped(told.get("dropped", 0), "dropped")


def _whose(other: dict[str, Any], schema: Any) -> str:
    if isinstance(schema, str) and schema.startswith("weft."):
        return f"the schema is {_check.quoted(schema)}, and {SCHEMA} is the one that is read"
    if "deviceProperties" in other or "schemaVersion" in other:
        return "a trace of PyTorch's profiler (Kineto), not of weft"
    if "traceEvents" in other or "otherData" in other or "displayTimeUnit" in other:
        return f"a Chrome trace of another tool: otherData.schema is not {SCHEMA}"
    return f"no trace: an object without traceEvents and without the schema {SCHEMA}"

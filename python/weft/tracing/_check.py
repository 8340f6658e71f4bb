"""Whether one event of a trace is what weft writes, and what is kept of it.

What is wrong is a `Fault` that says what, in words; where is the caller's to say.
"""

from __future__ import annotations

import sys
from typing import Any

from weft.tracing._rows import CHUNK_TRACK, NOBODY, Arrow, Operation, Slice, Trace

__all__ = ["Fault", "drawn_event", "dropped", "names", "quoted", "recorded_event", "short_text"]

LONGEST_TEXT = 200  # characters of a name in an event
MOST_RANKS = 1024
MOST_BLOCKS = 4096
MOST_TRACKS = 1 << 20
LATEST = 1e13  # microseconds: 115 days, of which a double still tells nanoseconds
LARGEST = 2**63 - 1
SLICES = ("wait", "move", "signal")
CLOCKS = ("none", "host", "device", "predicted")
_INTERNED = sys.intern


class Fault(Exception):
    """Something in an event is not as it must be."""


def short_text(value: Any, name: str) -> str:
    """A text of at most LONGEST_TEXT characters that can be encoded. Raises Fault."""
    if not isinstance(value, str):
        raise Fault(f"{name} must be a text, not {_shown(value)}")
    if len(value) > LONGEST_TEXT:
        raise Fault(f"{name} has more than {LONGEST_TEXT} characters")
    if not value.isascii() and any(0xD800 <= ord(c) < 0xE000 for c in value):
        raise Fault(f"{name} holds a lone surrogate, which is no character")
    return _INTERNED(value)


def quoted(text: str) -> str:
    """The beginning of a file's text, for a message of one line that a terminal only shows."""
    return '"' + "".join(c if c.isprintable() else "?" for c in text[:40]) + '"'


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        number = f"{value:.6g}" if abs(value) < 1e300 else "a huge number"
        return number
    words = {dict: "an object", list: "a list", str: "a text", type(None): "null"}
    return words.get(type(value), type(value).__name__)


def _whole(value: Any, name: str, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Fault(f"{name} must be a whole number, not {_shown(value)}")
    if not least <= value <= most:
        raise Fault(f"{name} must be from {least} to {most}, not {_shown(value)}")
    return value


def _time(value: Any, name: str, least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Fault(f"{name} must be a number, not {_shown(value)}")
    if not least <= value <= LATEST:  # NaN is not, either
        raise Fault(f"{name} must be from {least:g} to {LATEST:g} microseconds, not a number "
                    "beyond")  # fmt: skip
    return float(value)


def _fields(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Fault(f"{name} must be an object, not {_shown(value)}")
    return value


def dropped(value: Any, name: str) -> int:
    """A count of events that were overwritten. Raises Fault."""
    return _whole(value, name, 0, LARGEST)


def names(value: Any, name: str) -> list[str]:
    """A list of devices' names. Raises Fault."""
    if not isinstance(value, list):
        raise Fault(f"{name} must be a list, not {_shown(value)}")
    if len(value) > MOST_RANKS:
        raise Fault(f"{name} has more than {MOST_RANKS} entries")
    return [short_text(one, f"{name}[{i}]") for i, one in enumerate(value)]


def drawn_event(event: Any, trace: Trace) -> None:
    """Enter one entry of `traceEvents` into `trace`. Raises Fault.

    Phases and categories that weft does not write are passed over: viewers allow more, and other
    tools may have added to the file.
    """
    event = _fields(event, "the event")
    phase, category = event.get("ph"), event.get("cat")
    if category == "chunk" and phase == "X":
        trace.slices.append(_slice(event))
    elif category == "chunk.flow" and phase in ("s", "f"):
        _arrow(event, trace.sent if phase == "s" else trace.seen)
    elif category in ("collective", "fabric", "fault") and phase in ("X", "i"):
        args = _fields(event.get("args"), "args")
        duration = _time(event.get("dur"), "dur", 0.0) if phase == "X" else 0.0
        begin = _time(event.get("ts"), "ts", -LATEST)
        trace.operations.append(_operation(args, begin, duration))
    elif not isinstance(phase, str):
        raise Fault(f"ph must be a text, not {_shown(phase)}")


def recorded_event(row: Any, trace: Trace) -> None:
    """Enter one line of `Events.to_jsonl` into `trace`; its times are as a trace draws them,
    but since the machine was started. Raises Fault."""
    row = _fields(row, "the event")
    stamps = {
        name: _whole(row.get(name), name, -LARGEST, LARGEST)
        for name in ("t_enqueue_ns", "t_launch_ns", "t_start_ns", "t_end_ns")
    }
    on_host = row.get("clock") == "host"
    begin = stamps["t_start_ns"] if on_host else stamps["t_launch_ns"] or stamps["t_enqueue_ns"]
    duration = max(stamps["t_end_ns"] - stamps["t_start_ns"], 0)
    trace.operations.append(
        _operation(row, _time(begin / 1e3, "a time", -LATEST), _time(duration / 1e3, "a time", 0.0))
    )


def _operation(args: dict[str, Any], begin: float, duration: float) -> Operation:
    """The operation that an event's columns say; columns that are "" or -1 may be missing."""
    texts = {
        name: short_text(args.get(name, ""), name)
        for name in ("kind", "algorithm", "clock", "status", "dtype", "op", "protocol", "path")
    }
    if not texts["kind"]:
        raise Fault("kind is missing")
    if texts["clock"] not in CLOCKS:
        raise Fault(f"clock must be one of {', '.join(CLOCKS)}, not {quoted(texts['clock'])}")
    if texts["status"] not in ("ok", "failed"):
        raise Fault(f"status must be ok or failed, not {quoted(texts['status'])}")
    return Operation(
        kind=texts["kind"],
        algorithm=texts["algorithm"],
        rank=_whole(args.get("rank", NOBODY), "rank", NOBODY, MOST_RANKS - 1),
        op_id=_whole(args.get("op_id"), "op_id", 0, 2**64 - 1),
        bytes=_whole(args.get("bytes", 0), "bytes", NOBODY, LARGEST),
        begin=begin,
        duration=duration,
        clock=texts["clock"],
        failed=texts["status"] == "failed",
        culprit=_whole(args.get("culprit", NOBODY), "culprit", NOBODY, MOST_RANKS - 1),
        dtype=texts["dtype"],
        op=texts["op"],
        protocol=texts["protocol"],
        path=texts["path"],
        blocks=_whole(args.get("blocks", 0), "blocks", NOBODY, LARGEST),
        called_ns=_whole(args.get("t_enqueue_ns", 0), "t_enqueue_ns", -LARGEST, LARGEST),
    )


def _slice(event: dict[str, Any]) -> Slice:
    args = _fields(event.get("args"), "args")
    name = short_text(event.get("name"), "name")
    if name not in SLICES:
        raise Fault(f"the name of a chunk's slice must be wait, move or signal, not {quoted(name)}")
    begin = _time(event.get("ts"), "ts", -LATEST)
    _whole(args.get("block"), "block", 0, MOST_BLOCKS - 1)
    clock = short_text(args.get("clock"), "clock")
    if clock not in CLOCKS:
        raise Fault(f"clock must be one of {', '.join(CLOCKS)}, not {quoted(clock)}")
    return Slice(
        name=name,
        rank=_whole(event.get("pid"), "pid", 0, MOST_RANKS - 1),
        track=_track(event),
        begin=begin,
        end=begin + _time(event.get("dur"), "dur", 0.0),
        op_id=_whole(args.get("op_id"), "op_id", 0, 2**64 - 1),
        algorithm=short_text(args.get("algorithm"), "algorithm"),
        step=_whole(args.get("step"), "step", NOBODY, LARGEST),
        round=_whole(args.get("round"), "round", NOBODY, LARGEST),
        piece=_whole(args.get("piece"), "piece", NOBODY, LARGEST),
        bytes=_whole(args.get("bytes"), "bytes", 0, LARGEST),
        source=_whole(args.get("from"), "from", NOBODY, MOST_RANKS - 1),
        target=_whole(args.get("to"), "to", NOBODY, MOST_RANKS - 1),
        clock=clock,
    )


def _track(event: dict[str, Any]) -> int:
    return _whole(event.get("tid"), "tid", CHUNK_TRACK, MOST_TRACKS - 1)


def _arrow(event: dict[str, Any], ends: dict[int | str, Arrow]) -> None:
    number = event.get("id")
    if isinstance(number, str):
        number = short_text(number, "id")
    elif isinstance(number, bool) or not isinstance(number, int) or abs(number) > 2**64:
        raise Fault(f"id must be a text or a whole number of 64 bits, not {_shown(number)}")
    if number in ends:
        raise Fault(f"id {quoted(str(number))} is there twice")
    ends[number] = Arrow(
        rank=_whole(event.get("pid"), "pid", 0, MOST_RANKS - 1),
        track=_track(event),
        time=_time(event.get("ts"), "ts", -LATEST),
    )

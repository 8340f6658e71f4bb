"""One HTML page of a trace, that opens offline: timeline, links, tables.

Nothing is loaded from outside, and nothing in a trace becomes markup or script: text is escaped,
the data of the drawing is JSON without "<", ">" and "&", and the page forbids every script but
its own (by its hash).
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from weft.chunks import track_name
from weft.tracing import _links, _tables
from weft.tracing._rows import NO_OPERATION, Operation, Slice, Trace

__all__ = ["MOST_DRAWN", "page"]

MOST_DRAWN = 100_000  # events in the timeline; the longest are drawn
MOST_LANES = 2048
MOST_LINKS = 1024  # of the links over time
_PARTS = 120  # of the time, in the links over time

#: What colours an event; names of variables in page.css.
_STYLES = ("operation", "failed", "wait", "move", "signal")
_CLOCK_LANES = {"host": 0, "device": 1, "predicted": 2, "none": 3}
#: What is told of an event besides its times: (name, whether the value is one of the texts).
_OPERATION = (
    ("kind", True), ("algorithm", True), ("op_id", True), ("bytes", False), ("dtype", True),
    ("op", True), ("protocol", True), ("path", True), ("blocks", False), ("clock", True),
    ("culprit", False),
)  # fmt: skip
_SLICE = (
    ("slice", True), ("algorithm", True), ("op_id", True), ("step", False), ("round", False),
    ("piece", False), ("bytes", False), ("from", False), ("to", False), ("clock", True),
)  # fmt: skip


def page(trace: Trace, summary: dict[str, Any]) -> str:
    """The page of a trace and of its `summary`."""
    here = Path(__file__)
    script = here.with_name("page.js").read_text(encoding="utf-8")
    style = here.with_name("page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    data = _drawing(trace)
    # A file's name may be no UTF-8, as a page has to be.
    name = Path(trace.file).name.encode(errors="replace").decode()
    title = f"weft trace: {escape(name)}"
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>",
            f"<h1>{title}</h1>",
            *_timeline(data),
            *_tables.sections(summary, bool(data["rates"]["gbps"])),
            '<div id="tip"></div>',
            f'<script type="application/json" id="data">{_inert(data)}</script>',
            f"<script>{script}</script>\n</body>\n</html>\n",
        ]
    )


def _inert(data: dict[str, Any]) -> str:
    """JSON in which no markup can begin or end."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _timeline(data: dict[str, Any]) -> list[str]:
    keys = [("operation", "operation"), ("failed-key", "failed")]
    if any(item[3] >= 2 for item in data["items"]):
        keys += [(name, name) for name in ("wait", "move", "signal")]
    legend = "".join(f'<span class="key {key}"></span>{name}' for key, name in keys)
    parts = [
        "<h2>Timeline</h2>",
        f'<p class="faint">Wheel: zoom. Drag: move. Double click: all of it.{legend}</p>',
        '<canvas id="timeline" tabindex="0" role="img" aria-label="Timeline of the ranks; '
        'keys + and - zoom, arrows move"></canvas>',
    ]
    if data["left_out"]:
        parts.append(f'<p class="faint">The {data["left_out"]} shortest events are not drawn.</p>')
    return parts


class _Texts:
    """Texts by number, each held once."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        return self.numbers.setdefault(text, len(self.numbers))


def _drawing(trace: Trace) -> dict[str, Any]:
    """What page.js draws: lanes, and items [lane, begin, time, style, columns, values ...]."""
    operations, slices, left_out = _longest(trace)
    lanes, left_over = _lanes(operations, slices)
    texts = _Texts()
    items = []
    for one in operations:
        lane = lanes.get((one.rank, _CLOCK_LANES[one.clock]))
        if lane is not None:
            items.append([lane, *_times(one.begin, one.duration), int(one.failed), 0,
                          *_values(one, texts)])  # fmt: skip
    for part in slices:
        lane = lanes.get((part.rank, 4 + part.track))
        if lane is not None:
            style = _STYLES.index(part.name)
            items.append([lane, *_times(part.begin, part.duration), style, 1,
                          *_slice_values(part, texts)])  # fmt: skip
    begin = min((item[1] for item in items), default=0.0)
    end = max((item[1] + item[2] for item in items), default=0.0)
    rates = _links.rows_over_time(trace.measured, begin, end, _PARTS)
    rates["gbps"] = rates["gbps"][:MOST_LINKS]
    return {
        "lanes": [_label(place, trace) for place in lanes],
        "items": items,
        "texts": list(texts.numbers),
        "columns": [_OPERATION, _SLICE],
        "styles": _STYLES,
        "from": begin,
        "to": end,
        "rates": rates,
        "left_out": left_out + left_over,
    }


def _longest(trace: Trace) -> tuple[list[Operation], list[Slice], int]:
    total = len(trace.operations) + len(trace.slices)
    if total <= MOST_DRAWN:
        return trace.operations, trace.slices, 0
    for_operations = MOST_DRAWN if not trace.slices else MOST_DRAWN // 2
    operations = heapq.nlargest(for_operations, trace.operations, key=lambda one: one.duration)
    room = MOST_DRAWN - len(operations)
    slices = heapq.nlargest(room, trace.slices, key=lambda one: one.duration)
    return operations, slices, total - len(operations) - len(slices)


def _lanes(
    operations: Sequence[Operation], slices: Sequence[Slice]
) -> tuple[dict[tuple[int, int], int], int]:
    """The lane of each (rank, track), in order, and how many events have none."""
    places = [(one.rank, _CLOCK_LANES[one.clock]) for one in operations]
    places += [(one.rank, 4 + one.track) for one in slices]
    lanes = {place: i for i, place in enumerate(sorted(set(places))[:MOST_LANES])}
    return lanes, sum(place not in lanes for place in places)


def _label(place: tuple[int, int], trace: Trace) -> str:
    rank, track = place
    name = "fabric" if rank < 0 else f"rank {rank}"
    if track >= 4:
        return f"{name} {track_name(track - 4) or 'chunks'}"
    what = ("host", "device", "predicted", "events")[track]
    device = trace.devices[rank] if 0 <= rank < len(trace.devices) else ""
    return " ".join(filter(None, (name, device, what)))


def _times(begin: float, duration: float) -> tuple[float, float]:
    return round(begin, 3), round(duration, 3)


def _number(op_id: int) -> str:
    return "" if op_id == NO_OPERATION else str(op_id)


def _values(one: Operation, texts: _Texts) -> list[int]:
    number = texts.number
    return [
        number(one.kind), number(one.algorithm), number(_number(one.op_id)), one.bytes,
        number(one.dtype), number(one.op), number(one.protocol), number(one.path), one.blocks,
        number(one.clock), one.culprit,
    ]  # fmt: skip


def _slice_values(one: Slice, texts: _Texts) -> list[int]:
    number = texts.number
    return [
        number(one.name), number(one.algorithm), number(_number(one.op_id)), one.step, one.round,
        one.piece, one.bytes, one.source, one.target, number(one.clock),
    ]  # fmt: skip

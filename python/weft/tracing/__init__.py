"""Reading traces back: what ran, how long it took, and who kept whom waiting.

`read` takes a file of `Fabric.trace`, `Events.to_perfetto` or `Events.to_jsonl`; `summary` makes
tables of it, ready for JSON (schema `weft.trace-summary/1`); `page` one HTML page that opens
offline. `weft trace` is these three. What the figures mean stands in docs/traces.md.

>>> import weft.tracing
>>> header = '{"schema": "weft.event/1", "devices": ["sim:0"], "dropped_total": 0}'
>>> weft.tracing.summary(weft.tracing.parse(header + "\\n"))["events"]
0
"""

from __future__ import annotations

from weft.tracing._page import page
from weft.tracing._read import parse, read, read_open
from weft.tracing._rows import Operation, Slice, Trace
from weft.tracing._summary import summary

__all__ = ["Operation", "Slice", "Trace", "page", "parse", "read", "read_open", "summary"]

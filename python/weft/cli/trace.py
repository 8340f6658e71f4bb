"""`weft trace`: what a trace says: operations, ranks, faults, and who kept whom waiting."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weft.cli.output import (
    STDOUT,
    check_target,
    file_option,
    note,
    stdout_console,
    write_data,
)
from weft.cli.progress import progress
from weft.tracing import page, read, read_open, summary

if TYPE_CHECKING:
    from rich.table import Table

    from weft.tracing import Trace

__all__ = ["command"]

_MOST_ROWS = 40  # of a table on the screen
_PARTS = 1000


@click.command("trace", epilog="Exit codes: 2 usage, a file that is no trace of weft's among it; 6 "
               "output that cannot be written; 130 interrupted.")  # fmt: skip
@click.argument("source", metavar="FILE")
@file_option("--json", "the tables as JSON (schema weft.trace-summary/1)")
@click.option("--html", "html_file", metavar="FILE",
              help="Write a page with timeline, links and tables; it opens offline.")  # fmt: skip
def command(source: str, json_file: str | None, html_file: str | None) -> None:
    """Sum up a trace: FILE is what Fabric.trace(), Events.to_perfetto() or Events.to_jsonl() wrote.

    - is stdin. Tells operations by kind, algorithm and clock, the time of each rank, faults with
    their culprits, and events that were dropped. Of a trace with chunks also how long ranks waited,
    what links moved, and which rank or link held up the others, and why.
    """
    targets = [str(one) for one in (json_file, html_file) if one not in (None, STDOUT)]
    if html_file is not None:
        check_target("write", html_file)
    if len(targets) == 2 and _same(*targets):
        raise click.UsageError(f"{targets[0]} would be written twice: give each its own FILE")
    for target in targets:
        if source != STDOUT and _same(source, target):
            raise click.UsageError(f"{target} is the trace itself")
    trace = _read(source)
    tables = summary(trace)
    if html_file is not None:
        write_data(html_file, page(trace, tables))
    if json_file is not None:
        write_data(json_file, json.dumps(tables, indent=2, allow_nan=False))
    elif html_file is None:
        _show(tables)


def _same(one: str, other: str) -> bool:
    return Path(one).resolve() == Path(other).resolve()


def _read(source: str) -> Trace:
    shown = 0
    with progress("reading", _PARTS) as advance:

        def show(done: int, total: int) -> None:
            nonlocal shown
            reached = _PARTS * done // max(total, 1)
            advance(reached - shown, "")
            shown = reached

        if source == STDOUT:
            return read_open(sys.stdin.buffer, "<stdin>", show)
        return read(source, show)


def _show(tables: dict[str, Any]) -> None:
    if tables["dropped"]:
        note(f"weft: {tables['dropped']} older events were dropped before the trace was written")
    _print("operations", tables["operations"], {
        "operation": "kind", "algorithm": "algorithm", "clock": "clock", "count": "count",
        "bytes": "bytes", "failed": "failed", "p50 us": "p50_us", "p99 us": "p99_us",
        "max us": "max_us",
    })  # fmt: skip
    columns = {"rank": "rank", "device": "device", "operations": "operations", "time us": "time_us",
               "failed": "failed"}  # fmt: skip
    chunks = tables["chunks"]
    if chunks is not None:
        columns |= {"waiting us": "waiting_us", "moving us": "moving_us",
                    "signalling us": "signalling_us"}  # fmt: skip
    _print("ranks", tables["ranks"], columns)
    _print("faults", tables["faults"], {
        "fault": "kind", "noticed by": "rank", "culprit": "culprit", "at us": "at_us",
        "after us": "after_us",
    })  # fmt: skip
    if chunks is not None:
        _print("links", chunks["links"], {
            "from": "from", "to": "to", "bytes": "bytes", "transfers": "transfers",
            "busy us": "busy_us", "GB/s": "gbps",
        })  # fmt: skip
    _show_stragglers(tables["stragglers"])
    if not tables["events"]:
        note("weft: there are no events in it")


def _show_stragglers(found: dict[str, Any]) -> None:
    _print("stragglers", found["overall"], {
        "straggler": "rank", "cause": "cause", "operations": "operations",
        "others waited us": "waited_us",
    })  # fmt: skip
    if found["examined"]:
        note(f"weft: {found['held_up']} of {found['examined']} operations were held up")
    if not found["complete"]:
        note("weft: the trace was too large to look at every operation with chunks")


def _print(title: str, rows: list[dict[str, Any]], columns: dict[str, str]) -> None:
    """A table of the columns' keys under their heads; nothing where there are no rows."""
    if not rows:
        return
    from rich.table import Table
    from rich.text import Text

    table: Table = Table(box=None, pad_edge=False)
    numbers = {key: any(isinstance(r[key], int | float) for r in rows) for key in columns.values()}
    for head, key in columns.items():
        table.add_column(head, justify="right" if numbers[key] else "left")
    for row in rows[:_MOST_ROWS]:
        table.add_row(*(Text(_text(row[key])) for key in columns.values()))
    console = stdout_console()
    console.print(table)
    if len(rows) > _MOST_ROWS:
        note(f"weft: {title}: {len(rows) - _MOST_ROWS} more rows with --json or --html")
    console.print()


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.2f}"
    return "".join(c if c.isprintable() else "?" for c in str(value))

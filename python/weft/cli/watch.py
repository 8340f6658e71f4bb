"""`weft topo --watch`: what NVLinks move and which errors they count, as it happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weft.cli.output import note, show_each
from weft.topology import counters

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Row", "rates", "watch"]

_ERRORS = ("replay_errors", "recovery_errors", "crc_errors")
Reading = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """Of one device, all its links together. Rates in 10^9 bytes per second; None: not told."""

    device: int
    links_up: int
    links: int
    sent_gbps: float | None
    received_gbps: float | None
    errors: int | None  # counted since the first reading


def rates(first: Reading, before: Reading, now: Reading) -> list[Row]:
    """What happened on each device between two readings, and errors since the first."""
    seconds = now["seconds"] - before["seconds"]
    rows = []
    for device in sorted({link["device"] for link in now["links"]}):
        links = [link for link in now["links"] if link["device"] == device]
        sent, received = (
            _growth(before, now, device, (key,)) for key in ("sent_bytes", "received_bytes")
        )
        rows.append(
            Row(
                device,
                sum(link["active"] for link in links),
                len(links),
                _per_second(sent, seconds),
                _per_second(received, seconds),
                _growth(first, now, device, _ERRORS),
            )
        )
    return rows


def _growth(before: Reading, now: Reading, device: int, keys: tuple[str, ...]) -> int | None:
    """By how much the device's counters grew; None if none is told. One that fell was reset."""
    known = {(link["device"], link["link"]): link for link in before["links"]}
    total = None
    for link in now["links"]:
        old = known.get((link["device"], link["link"]))
        if link["device"] != device or old is None:
            continue
        for key in keys:
            if link[key] is not None and old[key] is not None:
                grown = link[key] - old[key]
                total = (total or 0) + (grown if grown >= 0 else link[key])
    return total


def _per_second(count: int | None, seconds: float) -> float | None:
    return None if count is None or seconds <= 0 else 1e-9 * count / seconds


def _why_silent(reading: Reading) -> str | None:
    """Why no traffic will be seen, if that is so."""
    up = [link for link in reading["links"] if link["active"]]
    counts = [link[key] for link in up for key in ("sent_bytes", "received_bytes")]
    if not up:
        return None
    if all(count is None for count in counts):
        return "NVML does not tell what NVLinks move; virtual machines often mask it"
    if not any(counts):
        return (
            "every NVLink's counter reads 0: nothing was moved since the links came up, or the "
            "counters are masked, as virtual machines often do"
        )
    return None


def watch(
    interval: float = 1.0,
    count: int | None = None,
    *,
    read: Callable[[], Reading] = counters,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Show each device's NVLink traffic every `interval` seconds, `count` times; None: to Ctrl-C.

    On a terminal one table that changes, else a table a time. What is missing, and that counters
    are masked, is said on stderr. Returns whether there was a link to watch.
    """
    first = read()
    for line in first["notes"]:
        note(f"weft: {line}")
    if not first["links"]:
        note("weft: there is nothing to watch")
        return False
    silent = _why_silent(first)
    if silent is not None:
        note(f"weft: {silent}")
    show_each(_tables(first, interval, count, read, sleep))
    return True


def _tables(
    first: Reading,
    interval: float,
    count: int | None,
    read: Callable[[], Reading],
    sleep: Callable[[float], None],
) -> Iterator[Table]:
    before = first
    done = 0
    while count is None or done < count:
        sleep(interval)
        now = read()
        yield _table(rates(first, before, now))
        before = now
        done += 1


def _table(rows: list[Row]) -> Table:
    from rich.table import Table

    table = Table("device", "links up", "sent GB/s", "received GB/s", "errors", box=None,
                  pad_edge=False)  # fmt: skip
    for row in rows:
        table.add_row(
            f"cuda:{row.device}",
            f"{row.links_up}/{row.links}",
            "?" if row.sent_gbps is None else f"{row.sent_gbps:.2f}",
            "?" if row.received_gbps is None else f"{row.received_gbps:.2f}",
            "?" if row.errors is None else str(row.errors),
        )
    return table

"""The screen of `weft stats`: each process, each of its fabrics; rates between two looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weft.published import Process

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

__all__ = ["Looks", "Rates", "screen"]

_MOST_LINKS = 8
_LONGEST = 400  # characters of a text from outside
_Row = dict[str, Any]


@dataclass(frozen=True)
class Rates:
    """Of a fabric, between the last two states that differ. Rates in 10^9 bytes per second."""

    operations: float  # ended well or not, per second
    links: dict[str, float]


class Looks:
    """What was seen of each process, to tell rates."""

    def __init__(self) -> None:
        self._pairs: dict[int, tuple[Process | None, Process]] = {}

    def take(self, processes: Sequence[Process]) -> None:
        """A new look. One that says nothing new leaves a process's rates as they were."""
        pairs: dict[int, tuple[Process | None, Process]] = {}
        for process in processes:
            before, last = self._pairs.get(process.number, (None, None))
            if last is None or last.document["time"] == process.document["time"]:
                pairs[process.number] = (before, process)
            else:
                pairs[process.number] = (last, process)
        self._pairs = pairs

    @property
    def are_several(self) -> bool:
        """Whether there are rates of any process."""
        return any(before is not None for before, _ in self._pairs.values())

    def rates(self, process: Process, number: int) -> Rates | None:
        """Of the process's fabric of that number. None: not known."""
        before, now = self._pairs.get(process.number, (None, process))
        if before is None or process.ended:
            return None
        seconds = (_time(now) - _time(before)).total_seconds()
        pair = [_stats(one, number) for one in (before, now)]
        if seconds <= 0 or pair[0] is None or pair[1] is None:
            return None
        old, new = pair[0], pair[1]
        ended = _growth(old["operations"] + old["failed"], new["operations"] + new["failed"])
        moved = {
            link: 1e-9 * _growth(old["links"].get(link, 0), count) / seconds
            for link, count in new["links"].items()
        }
        return Rates(ended / seconds, moved)


def _time(process: Process) -> datetime.datetime:
    import datetime

    return datetime.datetime.fromisoformat(process.document["time"])


def _stats(process: Process, number: int) -> _Row | None:
    found = [row["stats"] for row in process.fabrics if row["fabric"] == number]
    return found[0] if found else None


def _growth(old: int, new: int) -> int:
    """By how much a total grew; one that fell was set back."""
    return new - old if new >= old else new


def screen(processes: Sequence[Process], looks: Looks) -> RenderableType:
    """All processes, one below the other."""
    from rich.console import Group

    if not processes:
        return Group(_line("no process publishes statistics here"))
    return Group(*(part for process in processes for part in _process(process, looks)))


def _process(process: Process, looks: Looks) -> Iterator[RenderableType]:
    document = process.document
    state = "ended, last heard of" if process.ended else "live,"
    yield _line(
        f"process {process.number}: {state} {process.age_seconds:.1f} s ago; "
        f"weft {document['weft']}; {' '.join(document['command'])}",
        "dim" if process.ended else "bold",
    )
    for row in process.fabrics:
        yield from _fabric(row, looks.rates(process, row["fabric"]), looks.are_several)
    yield _line("")


def _fabric(row: _Row, rates: Rates | None, several: bool) -> Iterator[RenderableType]:
    stats = row["stats"]
    devices = row["devices"]
    shown = ", ".join(devices[:4]) + (" ..." if len(devices) > 4 else "")
    yield _line(f"fabric {row['fabric']}: {len(devices)} ranks on {shown}")
    errors = ", ".join(f"{name} {count}" for name, count in stats["errors"].items())
    rate = "" if rates is None else f" ({rates.operations:.1f} a second)"
    yield _line(
        f"  operations {stats['operations']}{rate}, failed {stats['failed']}"
        + (f" ({errors})" if errors else "")
        + f", in flight {stats['in_flight']} (peak {stats['peak_in_flight']})"
    )
    yield _line(
        f"  bytes {stats['bytes']}, staged {stats['staged']['tensors']} tensors of "
        f"{stats['staged']['bytes']} bytes, events {stats['events_recorded']}, dropped "
        f"{stats['events_dropped']}"
    )
    if row["poisoned"]:
        yield _line(f"  poisoned: {row['cause']}", "red")
    if stats["kinds"]:
        yield _kinds(stats["kinds"])
    if stats["links"]:
        yield _links(stats["links"], rates, several)
        if len(stats["links"]) > _MOST_LINKS:
            yield _line(f"  and {len(stats['links']) - _MOST_LINKS} more links")


def _kinds(kinds: list[_Row]) -> Table:
    table = _table("  operation", "algorithm", "count", "failed", "bytes", "p50 us", "p99 us",
                   "GB/s")  # fmt: skip
    for row in kinds:
        seconds = row["host_seconds"]
        table.add_row(
            _line("  " + row["kind"]), _line(row["algorithm"]), str(row["operations"]),
            str(row["failed"]), str(row["bytes"]), _number(row["p50_us"]),
            _number(row["p99_us"]), _number(1e-9 * row["bytes"] / seconds if seconds else None),
        )  # fmt: skip
    return table


def _links(links: dict[str, int], rates: Rates | None, several: bool) -> Table:
    table = _table("  link", "bytes", *(["GB/s"] if several else []), left=1)
    busiest = sorted(links, key=lambda link: (-links[link], link))
    for link in busiest[:_MOST_LINKS]:
        rate = [_number(None if rates is None else rates.links[link])] if several else []
        table.add_row(f"  {link}", str(links[link]), *rate)
    return table


def _table(*heads: str, left: int = 2) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i < left else "right")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _line(text: str, style: str = "") -> Text:
    """Text from outside: never markup, and nothing that a terminal would obey."""
    from rich.text import Text

    shown = text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."
    return Text("".join(c if c.isprintable() else "?" for c in shown), style)

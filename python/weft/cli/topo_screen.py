"""The one screen of `weft topo`: devices, matrix, NUMA nodes, cliques, the best ring."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from weft.cli.output import note, stdout_console
from weft.cli.ring import draw_ring
from weft.topology import _words

if TYPE_CHECKING:
    from rich.table import Table

    from weft.topology import Topology

__all__ = ["draw", "ring_lines", "words_of"]

MOST_IN_A_MATRIX = 20  # devices; of more, classes of links are counted
_LEGEND = {
    "NV": "NV#  so many bonded NVLinks",
    "XGMI": "XGMI# so many xGMI links",
    "C2C": "C2C  NVLink chip to chip",
    "PIX": "PIX  at most one PCIe switch",
    "PXB": "PXB  several PCIe switches",
    "PHB": "PHB  a PCIe host bridge",
    "NODE": "NODE between host bridges of one NUMA node",
    "SYS": "SYS  between NUMA nodes",
    "NET": "NET  a network between machines",
    "?": "?    not known",
}


def draw(machine: Topology) -> None:
    """Print what is known of `machine` to stdout, and the legend to stderr."""
    document = machine.document()
    kind = "simulated, nominal figures" if document["simulated"] else "this machine"
    # Not the table's title, which would be broken to the table's width.
    words_of(f"{document['name']} ({kind})")
    stdout_console().print(_matrix(document))
    for line in _facts(document):
        words_of(line)
    for line in ring_lines(machine):
        words_of(line)
    _legend(document)


def words_of(line: str) -> None:
    """A line of the screen, on stdout; in ASCII where stdout takes no more."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    click.echo(line.encode(encoding, "replace").decode(encoding))


def _matrix(document: dict[str, Any]) -> Table:
    from rich.table import Table
    from rich.text import Text

    devices = document["devices"]
    table = Table(box=None, pad_edge=False)
    whole = len(devices) <= MOST_IN_A_MATRIX
    measured = _words.best_measured(document)
    table.add_column("")
    for device in devices if whole else []:
        table.add_column(device["device"], no_wrap=True)
    table.add_column("NUMA")
    table.add_column("name", overflow="ellipsis", no_wrap=True)
    shown = list(enumerate(devices))
    for i, device in shown if whole else [*shown[:4], *shown[-1:]]:
        cells = [_cell(cell, measured.get((i, j))) for j, cell in enumerate(document["matrix"][i])]
        numa = "?" if device["numa"] is None else str(device["numa"])
        # Text, not markup: names come from files.
        rest = (numa, device["name"])
        row = [device["device"], *(cells if whole else []), *rest]
        table.add_row(*(Text(text) for text in row))
        if not whole and i == 3:
            table.add_row(Text("..."))
    return table


def _cell(cell: str, measured: float | None) -> str:
    return cell if measured is None else f"{cell}\n{_words.rate_number(measured)}"


def _facts(document: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield from _labelled("links", _classes(document))
    nodes: dict[Any, list[int]] = {}
    for i, device in enumerate(document["devices"]):
        nodes.setdefault(device["numa"], []).append(i)
    numas = sorted(nodes.items(), key=lambda one: (one[0] is None, one[0] or 0))
    words = [f"{'?' if numa is None else numa}: {_runs(members)}" for numa, members in numas[:12]]
    words += [f"and {len(numas) - 12} more"] if len(numas) > 12 else []
    yield from _labelled("NUMA", ["   ".join(words)])
    shown = [f"{{{_runs(clique)}}}" for clique in document["cliques"][:12]]
    more = len(document["cliques"]) - len(shown)
    yield from _labelled("cliques", ["  ".join(shown) + (f"  and {more} more" if more else "")])


def _labelled(label: str, lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield f"{label:<8} {line}".rstrip()
        label = ""


def _classes(document: dict[str, Any]) -> Iterator[str]:
    """What links of each class are rated at: a line for each, those of most devices first."""
    measured = _words.best_measured(document)
    both = _words.best_measured(document, both_directions=True)
    found: dict[str, list[dict[str, Any]]] = {}
    for link in document["links"]:
        found.setdefault(link["cell"], []).append(link)
    for cell, links in sorted(found.items(), key=lambda one: -len(one[1])):
        pairs = [(link["from"], link["to"]) for link in links]
        rates = _range([link["bytes_per_second"] for link in links], 1e9, "GB/s")
        times = _range([link["latency_seconds"] for link in links], 1e-6, "us")
        words = [f"{cell:<5} {len(links):>4} ways", rates, times]
        if measured:
            one = _range([measured.get(pair) for pair in pairs], 1e9, "GB/s")
            two = _range([both.get(pair) for pair in pairs], 1e9, "GB/s")
            words = [*words[:1], f"measured {one} one way, {two} with both busy", times]
        refused = sum(not link["peer_access"] for link in links)
        lying = sum(link["verified"] is False for link in links)
        if refused:
            words.append(f"{refused} without peer access")
        if lying:
            words.append(f"{lying} quarantined")
        yield "  ".join(words)
    if document["devices"] and not document["links"]:
        yield "none: there is one device"


def _range(values: list[float | None], one: float, unit: str) -> str:
    """The least and the greatest value, in a unit that is `one`."""
    known = sorted(value / one for value in values if value is not None)
    if not known:
        return f"? {unit}"
    low, high = f"{known[0]:.3g}", f"{known[-1]:.3g}"
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def _runs(members: list[int]) -> str:
    """ "0-3 6 8-9"."""
    words: list[str] = []
    start = 0
    for i in range(1, len(members) + 1):
        if i == len(members) or members[i] != members[i - 1] + 1:
            low, high = members[start], members[i - 1]
            words.append(str(low) if low == high else f"{low}-{high}")
            start = i
    return " ".join(words if len(words) <= 12 else [*words[:10], "...", words[-1]])


def ring_lines(machine: Topology) -> Iterator[str]:
    """The best ring of `machine`, drawn, with its slowest link."""
    details = machine.ring_details(1) if machine.size > 1 else []
    if not details:
        if machine.size > 1:
            yield from _labelled("ring", ["none: some devices are joined by no path"])
        return
    ring = details[0]
    matrix = machine.matrix()
    slow = ring["bottleneck"]
    rate = _words.rate(ring["bytes_per_second"])
    best = "" if ring["proven"] else ", a good one; no better one was looked for to the end"
    words = f"slowest link {slow[0]} > {slow[1]} {matrix[slow[0]][slow[1]]}, {rate}{best}"
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
    lines = draw_ring(ring["devices"], lambda a, b: matrix[a][b], plain="utf" not in encoding)
    yield from _labelled("ring", [words, "", *lines])


def _legend(document: dict[str, Any]) -> None:
    cells = {cell.rstrip("0123456789") for row in document["matrix"] for cell in row}
    lines = [text for key, text in _LEGEND.items() if key in cells]
    if lines:
        note("\n".join(["X    the device itself", *lines]))
    if _words.best_measured(document):
        note("Below each path: GB/s (1e9 bytes per second) from the row's device to the column's.")

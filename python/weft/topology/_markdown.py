"""Topologies as Markdown: tables for issues, wikis and reports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from weft.topology import _words

__all__ = ["write"]


def write(document: dict[str, Any]) -> str:
    """The text, with a heading of the second level."""
    kind = _words.figures(document)
    lines = [f"## {_escaped(document['name'])} ({kind})", "", *_devices(document)]
    if document["matrix"]:
        lines += ["", *_matrix(document)]
    if document["cliques"]:
        shown = ", ".join(f"{{{', '.join(map(str, c))}}}" for c in document["cliques"])
        lines += ["", f"Cliques: {shown}"]
    if document["measurements"]:
        lines += ["", *_measurements(document)]
    if document["notes"]:
        lines += ["", *(f"* {_escaped(note)}" for note in document["notes"])]
    return "\n".join(lines) + "\n"


def _devices(document: dict[str, Any]) -> Iterable[str]:
    yield _row(["device", "name", "NUMA", "PCI"])
    yield _row(["---"] * 4)
    for device in document["devices"]:
        yield _row([device[key] for key in ("device", "name", "numa", "pci")])


def _matrix(document: dict[str, Any]) -> Iterable[str]:
    measured = _words.best_measured(document)
    links = {(link["from"], link["to"]): link for link in document["links"]}
    names = [device["device"] for device in document["devices"]]
    what = "measured" if measured else "nominal"
    yield f"Path, and GB/s in one direction ({what}), from the row's device to the column's:"
    yield ""
    yield _row(["", *names])
    yield _row(["---"] * (len(names) + 1))
    for i, name in enumerate(names):
        cells = [name]
        for j, cell in enumerate(document["matrix"][i]):
            known = measured.get((i, j)) if measured else None
            if not measured and i != j:
                known = links[i, j]["bytes_per_second"]
            cells.append(cell if known is None else f"{cell} {_words.rate_number(known)}")
        yield _row(cells)


def _measurements(document: dict[str, Any]) -> Iterable[str]:
    head = ["from", "to", "what", "engine", "both ways", "bytes", "median", "spread", "samples"]
    yield _row(head)
    yield _row(["---"] * len(head))
    for one in document["measurements"]:
        words = _words.latency if one["what"] == "latency" else _words.rate
        ends = ["host" if one[end] is None else one[end] for end in ("from", "to")]
        both = "yes" if one["both_directions"] else "no"
        figures = [words(one["median"]), words(one["spread"]), one["samples"]]
        yield _row([*ends, one["what"], one["engine"], both, one["bytes"], *figures])


def _row(cells: Iterable[Any]) -> str:
    return "| " + " | ".join("?" if c is None else _escaped(str(c)) for c in cells) + " |"


def _escaped(text: str) -> str:
    for character in "\\`*_|<>[]":
        text = text.replace(character, "\\" + character)
    return text.replace("\n", " ")

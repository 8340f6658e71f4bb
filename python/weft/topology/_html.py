"""Topologies in notebooks: tables with their own styles, no script, nothing from outside.

Colours of cells come with the colour of their text, so that dark themes read as well.
"""

from __future__ import annotations

from html import escape
from typing import Any

from weft.topology import _words

__all__ = ["write"]

MOST_CELLS = 80  # devices of a matrix; above, a notebook is no place for it
_CELL = "padding:4px 8px;text-align:center;border:1px solid #d0d7de;white-space:nowrap"


def write(document: dict[str, Any]) -> str:
    """The HTML."""
    kind = _words.figures(document)
    _, what = _words.short_devices(document)
    parts = [
        '<div style="font-family:system-ui,sans-serif;font-size:13px">',
        f"<p><b>{escape(document['name'])}</b> ({kind}){': ' if what else ''}{escape(what)}</p>",
    ]
    if 0 < len(document["devices"]) <= MOST_CELLS:
        parts += _matrix(document)
    if document["notes"]:
        parts += ["<ul>", *(f"<li>{escape(note)}</li>" for note in document["notes"]), "</ul>"]
    return "".join([*parts, "</div>"])


def _matrix(document: dict[str, Any]) -> list[str]:
    measured = _words.best_measured(document)
    rates = measured or {
        (link["from"], link["to"]): link["bytes_per_second"]
        for link in document["links"]
        if link["bytes_per_second"] is not None
    }
    most = max(rates.values(), default=1.0)
    devices = document["devices"]
    head = "".join(f'<th style="{_CELL}">{escape(one["device"])}</th>' for one in devices)
    rows = [f'<tr><th style="{_CELL}"></th>{head}<th style="{_CELL}">NUMA</th>'
            f'<th style="{_CELL}">name</th></tr>']  # fmt: skip
    for i, device in enumerate(devices):
        cells = [f'<th style="{_CELL}">{escape(device["device"])}</th>']
        for j, cell in enumerate(document["matrix"][i]):
            known = rates.get((i, j))
            number = "" if known is None else f"<br><small>{_words.rate_number(known)}</small>"
            colour = "" if known is None else _shade(known / most)
            cells.append(f'<td style="{_CELL}{colour}">{escape(cell)}{number}</td>')
        numa = "?" if device["numa"] is None else str(device["numa"])
        cells += [f'<td style="{_CELL}">{text}</td>' for text in (numa, escape(device["name"]))]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    what = "measured" if measured else "nominal"
    table = f'<table style="border-collapse:collapse">{"".join(rows)}</table>'
    return [table, f"<p><small>Path, and GB/s in one direction ({what}).</small></p>"]


def _shade(share: float) -> str:
    """A style between white and green for a share of the best rate; dark cells have white text."""
    light = 94 - 58 * max(0.0, min(share, 1.0))
    text = "#fff" if light < 55 else "#1b1f24"
    return f";background:hsl(105,45%,{light:.0f}%);color:{text}"

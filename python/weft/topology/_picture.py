"""The picture of a topology by matplotlib, SVG or PNG: its graph, and a heat map of its links."""

from __future__ import annotations

import io
from typing import Any

from weft.topology import _words
from weft.topology._layout import Layout, lay_out

__all__ = ["draw"]

INK, QUIET, PAPER = "#1b1f24", "#66707a", "#ffffff"
_FILLS = {
    "gpu": ("#e3f1d8", "#3f8f29"), "nvswitch": ("#3f8f29", "#2c661c"),
    "pcie_switch": ("#eef0f2", "#8a919a"), "host_bridge": ("#eef0f2", "#8a919a"),
    "cpu": ("#dde8f4", "#2b6cb0"), "nic": ("#def0f0", "#0b8b8b"),
    "network_switch": ("#def0f0", "#0b8b8b"),
}  # fmt: skip
MOST_ANNOTATED = 16  # devices; above, a heat map has no text in its cells
MOST_IN_A_LEGEND = 9
DPI = 144
TALLEST = 1.9  # times as high as wide is at most what would be square


def draw(document: dict[str, Any], form: str) -> bytes:
    """The picture in a form that matplotlib can write ("svg", "png", "pdf").

    ImportError without matplotlib. The same document gives the same bytes.
    """
    import matplotlib
    from matplotlib.figure import Figure

    layout = lay_out(document)
    left, right, bottom, top = layout.extent
    size = len(document["devices"])
    graph_width = min(max((right - left) * 0.62 + 0.8, 4.2), 13.0)
    map_width = min(max(1.9 + size * 0.58, 3.4), 7.2)
    height = max(min((top - bottom) * 0.72 + 1.5, 8.5), map_width + 0.2, 3.6)
    if layout.ring:
        graph_width = height = 7.6
    columns = 3 if graph_width >= 6.5 else 2
    kinds = min(len({_words.wire_label(line.wire) for line in layout.lines}), MOST_IN_A_LEGEND)
    rows = -(-kinds // columns)
    settings: Any = {"font.family": "sans-serif", "svg.hashsalt": "weft", "svg.fonttype": "path",
                     "text.parse_math": False}  # fmt: skip
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(graph_width + map_width, height), facecolor=PAPER)
        ratios = [graph_width, map_width]
        axes = figure.subplots(1, 2, width_ratios=ratios)
        figure.subplots_adjust(left=0.012, right=0.985, top=1 - 0.85 / height,
                               bottom=(0.36 + 0.17 * rows) / height, wspace=0.09)  # fmt: skip
        _title(figure, document, height)
        _draw_graph(axes[0], layout, columns)
        _draw_map(figure, axes[1], document)
        stream = io.BytesIO()
        metadata = {"Date": None} if form == "svg" else None
        figure.savefig(stream, format=form, dpi=DPI, metadata=metadata)
    return stream.getvalue()


def _title(figure: Any, document: dict[str, Any], height: float) -> None:
    _, what = _words.short_devices(document)
    figure.text(0.018, 1 - 0.33 / height, document["name"], size=15, weight="bold", color=INK,
                va="center")  # fmt: skip
    kind = _words.figures(document)
    parts = [part for part in (what, kind) if part]
    figure.text(0.018, 1 - 0.62 / height, "  ·  ".join(parts), size=10, color=QUIET, va="center")


def _draw_graph(axes: Any, layout: Layout, columns: int) -> None:
    left, right, bottom, top = layout.extent
    axes.set_xlim(left - 0.25, right + 0.25)
    # Not drawn out of proportion where the heat map beside it is higher.
    window = axes.get_window_extent()
    most = (right - left + 0.5) * window.height / window.width / TALLEST
    spare = max(0.0, most - (top - bottom + 0.75)) / 2
    axes.set_ylim(bottom - 0.5 - spare, top + 0.25 + spare)
    axes.axis("off")
    if layout.ring:
        axes.set_aspect("equal")
    labels: dict[str, Any] = {}
    ends = _ends(layout)
    for number, line in enumerate(layout.lines):
        labels.setdefault(_words.wire_label(line.wire), line.wire)
        _draw_line(axes, layout, line, ends.get(number))
    inches = axes.get_window_extent().width / axes.figure.dpi / (right - left + 0.5)
    for box in layout.boxes.values():
        _draw_box(axes, layout, box, inches)
    _legend(axes, labels, columns)


def _ends(layout: Layout) -> dict[int, Any]:
    """Where each line begins and ends: side by side on a box, so that lines cross little."""
    sides: dict[tuple[str, bool], list[tuple[tuple[bool, float], int, str]]] = {}
    for number, line in enumerate(layout.lines):
        for name, other in ((line.a, line.b), (line.b, line.a)):
            here, there = layout.boxes[name], layout.boxes[other]
            up = line.bow > 0 or (there.y > here.y and not line.bow)
            # Arcs lie in one another: the widest from the middle of a box, the others beside it.
            away = here.x - there.x if line.bow else there.x
            sides.setdefault((name, up), []).append(((there.x > here.x, away), number, other))
    found: dict[int, Any] = {}
    for (name, up), lines in sides.items():
        box = layout.boxes[name]
        inner = box.width / 2 * 0.8
        for rank, (_, number, other) in enumerate(sorted(lines)):
            at = box.x + inner * ((2 * rank + 1) / len(lines) - 1)
            if box.width > 1.7 and not layout.lines[number].bow:
                # A wide box, a CPU say, is met straight below or above what it is joined with.
                at = min(max(layout.boxes[other].x, box.x - inner), box.x + inner)
            found.setdefault(number, {})[name] = (at, box.y + (1 if up else -1) * box.height / 2)
    return found


def _draw_line(axes: Any, layout: Layout, line: Any, ends: Any) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    a, b = layout.boxes[line.a], layout.boxes[line.b]
    width = _line_width(line.wire) * (0.3 if layout.ring else 1)
    style = {
        "edgecolor": _words.COLOURS[line.wire["kind"]], "linewidth": width, "facecolor": "none",
        "zorder": 1, "capstyle": "round", "alpha": 0.9 if width > 1.2 else 1.0,
    }  # fmt: skip
    if line.bow:
        sign = 1 if line.bow > 0 else -1
        start, end = ends[line.a], ends[line.b]
        high = max(start[1], end[1]) if sign > 0 else min(start[1], end[1])
        high += line.bow * 4 / 3
        points = [start, (start[0], high), (end[0], high), end]
        codes = [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
    elif layout.ring:
        points, codes = [(a.x, a.y), (b.x, b.y)], [Path.MOVETO, Path.LINETO]
    else:
        start, end = ends[line.a], ends[line.b]
        middle = (start[1] + end[1]) / 2
        points = [start, (start[0], middle), (end[0], middle), end]
        codes = [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
    axes.add_patch(PathPatch(Path(points, codes), **style))


def _line_width(wire: dict[str, Any]) -> float:
    """By the rate, so that what is four times as fast is twice as thick."""
    known = wire["bytes_per_second"]
    if known is None:
        return 1.0
    return float(min(max(0.9, (known / 1e9) ** 0.5 / 5.2), 5.0))


def _draw_box(axes: Any, layout: Layout, box: Any, inches: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    fill, edge = _FILLS[box.kind]
    rounding = min(0.1, box.width * 0.2) if box.kind != "cpu" else 0.06
    axes.add_patch(
        FancyBboxPatch(
            (box.x - box.width / 2, box.y - box.height / 2), box.width, box.height,
            boxstyle=f"round,pad=0,rounding_size={rounding}", facecolor=fill, edgecolor=edge,
            linewidth=1.1, zorder=2,
        )
    )  # fmt: skip
    size = 10 if box.kind in ("gpu", "cpu", "nvswitch") else 7.5
    weight = "bold" if box.kind in ("gpu", "nvswitch") else "normal"
    # A bold letter is some 0.7 of its size wide, another 0.6.
    letter = 0.7 if weight == "bold" else 0.6
    size = min(size, box.width * inches * 72 * 0.94 / (letter * max(len(box.text), 2)))
    colour = PAPER if box.kind == "nvswitch" else INK
    axes.text(box.x, box.y, box.text, ha="center", va="center", size=size, color=colour,
              weight=weight, zorder=3)  # fmt: skip


def _legend(axes: Any, labels: dict[str, Any], columns: int) -> None:
    from matplotlib.lines import Line2D

    order = list(_words.COLOURS)
    shown = sorted(
        labels.items(),
        key=lambda one: (order.index(one[1]["kind"]), -(one[1]["bytes_per_second"] or 0)),
    )[:MOST_IN_A_LEGEND]
    handles = [
        Line2D([], [], color=_words.COLOURS[wire["kind"]], linewidth=_line_width(wire), label=label)
        for label, wire in shown
    ]
    if handles:
        axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.03), frameon=False,
                    ncols=min(len(handles), columns), fontsize=8.5, labelcolor=INK,
                    handlelength=1.9, columnspacing=1.6)  # fmt: skip


def _draw_map(figure: Any, axes: Any, document: dict[str, Any]) -> None:
    import numpy as np
    from matplotlib.colors import LinearSegmentedColormap

    size = len(document["devices"])
    measured = _words.best_measured(document)
    grid = np.full((size, size), np.nan)
    for link in document["links"]:
        pair = (link["from"], link["to"])
        known = measured.get(pair) if measured else link["bytes_per_second"]
        if known is not None:
            grid[pair] = known / 1e9
    if size < 2:
        axes.axis("off")
        return
    what = "measured" if measured else "nominal"
    axes.set_title(f"GB/s, one direction, {what}", size=10, color=INK, loc="left", pad=22)
    greens = LinearSegmentedColormap.from_list(
        "rates", ["#f4f7f1", "#d3e8c5", "#8cc26f", "#3c8a27"]
    )
    axes.set_facecolor("#e4e7ea")  # seen where a rate is not known
    most = float(np.nanmax(grid)) if not np.isnan(grid).all() else 1.0
    axes.imshow(grid, cmap=greens, vmin=0, vmax=most)
    axes.set_anchor("N")
    step = 1 if size <= MOST_ANNOTATED else 8
    ticks = list(range(0, size, step))
    axes.set_xticks(ticks, [str(i) for i in ticks])
    axes.set_yticks(ticks, [str(i) for i in ticks])
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=9, colors=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if size <= MOST_ANNOTATED:
        axes.set_xticks(np.arange(-0.5, size), minor=True)
        axes.set_yticks(np.arange(-0.5, size), minor=True)
        axes.grid(which="minor", color=PAPER, linewidth=1.5)
        axes.tick_params(which="minor", length=0)
        _annotate(axes, document, grid, most)
    _caption(axes, document, grid)


def _annotate(axes: Any, document: dict[str, Any], grid: Any, most: float) -> None:
    size = len(grid)
    font = 10 if size <= 4 else 8 if size <= 8 else 5.2
    for i in range(size):
        for j in range(size):
            cell = document["matrix"][i][j]
            known = grid[i][j]
            number = "" if known != known else f"\n{_words.rate_number(known * 1e9)}"
            dark = known == known and known > 0.75 * most
            axes.text(j, i, f"{cell}{number}" if i != j else "–", ha="center", va="center",
                      size=font, color=PAPER if dark else INK, linespacing=1.15)  # fmt: skip


def _caption(axes: Any, document: dict[str, Any], grid: Any) -> None:
    """Which classes of paths there are, under the map of many devices."""
    if len(grid) <= MOST_ANNOTATED:
        return
    rates: dict[str, set[str]] = {}
    for link in document["links"]:
        known = grid[link["from"]][link["to"]]
        shown = "?" if known != known else _words.rate_number(known * 1e9)
        rates.setdefault(link["cell"], set()).add(shown)
    parts = [
        f"{cell} · {' or '.join(sorted(found))} GB/s" if len(found) < 3 else cell
        for cell, found in sorted(rates.items())
    ]
    axes.set_xlabel("   ".join(parts[:4]), size=8.5, color=INK, labelpad=10)

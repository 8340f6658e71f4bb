"""A picture of a benchmark: bus bandwidth over size, one line for each implementation and case."""

from __future__ import annotations

from collections.abc import Sequence

from weft.bench.row import Row
from weft.bench.sizes import size_text

__all__ = ["draw"]


def draw(rows: Sequence[Row], path: str) -> None:
    """Write the picture to `path` (.png, .svg or .pdf). ImportError without matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines: dict[str, list[Row]] = {}
    for row in rows:
        place = "in place" if row.in_place else "out of place"
        lines.setdefault(f"{row.impl} {row.algo} {row.dtype} {row.op}, {place}", []).append(row)
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for label, of_line in lines.items():
        axes.plot([r.bytes for r in of_line], [r.busbw_gbps for r in of_line], ".-", label=label)
    sizes = sorted({row.bytes for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes[:: max(1, len(sizes) // 10)])
    axes.set_xticklabels([size_text(size) for size in sizes[:: max(1, len(sizes) // 10)]])
    axes.set_xlabel("bytes of one rank's vector")
    axes.set_ylabel("bus bandwidth, 10^9 B/s (measured)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    first = rows[0]
    axes.set_title(f"{first.collective}, {first.ranks} ranks")
    figure.savefig(path)

"""A picture of a benchmark: bus bandwidth over size, one curve for each implementation and case.

Each dtype and op has a panel of its own; a colour is an implementation, dashed is in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weft.bench.row import Row
from weft.bench.sizes import size_text

__all__ = ["can_draw", "draw"]

_COLOURS = {
    "weft": "C3", "nccl": "C0", "nccl-sym": "C2", "torch": "C1", "torch-nccl": "C4", "mpi": "C5",
}  # fmt: skip


def can_draw(path: str) -> None:
    """ValueError unless the name of `path` ends in a kind of picture that can be drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    kinds = FigureCanvasAgg.get_supported_filetypes()
    if Path(path).suffix.lower().lstrip(".") not in kinds:
        raise ValueError(f"the name must end in one of {', '.join(sorted(kinds))}")


def draw(rows: Sequence[Row], path: str) -> None:
    """Write the picture to `path` (.png, .svg or .pdf). ImportError without matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels: dict[tuple[str, str], dict[tuple[str, bool], list[Row]]] = {}
    for row in rows:
        curves = panels.setdefault((row.dtype, row.op), {})
        curves.setdefault((row.impl, row.in_place), []).append(row)
    figure = Figure(figsize=(8, 4.5 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    all_axes = figure.subplots(len(panels), squeeze=False)[:, 0]
    for axes, ((dtype, op), curves) in zip(all_axes, panels.items(), strict=True):
        for (impl, in_place), of_curve in curves.items():
            axes.plot(
                [row.bytes for row in of_curve],
                [row.busbw_gbps for row in of_curve],
                "--" if in_place else "-",
                marker=".",
                color=_COLOURS.get(impl),
                label=f"{impl}, {'in place' if in_place else 'out of place'}",
            )
        _label(axes, rows)
        axes.set_title(f"{rows[0].collective}, {dtype} {op}, {rows[0].ranks} ranks")
    figure.savefig(path)


def _label(axes: Any, rows: Sequence[Row]) -> None:
    sizes = sorted({row.bytes for row in rows})
    ticks = sizes[:: max(1, len(sizes) // 10)]
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [size_text(size) for size in ticks])
    axes.set_xlabel("bytes")
    axes.set_ylabel("bus bandwidth, 10^9 B/s (measured)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")

"""`weft topo --plan`: what each algorithm would take on a machine, as predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import weft
from weft.cli.output import note, stdout_console
from weft.cli.topo_screen import ring_lines, words_of

if TYPE_CHECKING:
    from weft.topology import Topology

__all__ = ["ALGORITHMS", "draw_plan"]

# Of Fabric.all_reduce; protocols of one_shot have its transfers, and so its prediction.
ALGORITHMS = (
    "ring", "one_shot", "one_shot_pull", "two_shot", "push_two_shot", "copy_engine",
    "halving_doubling", "hierarchical",
)  # fmt: skip


def draw_plan(machine: Topology, bytes_: int) -> None:
    """Print the table to stdout, fastest first, with the ring; what cannot be said to stderr."""
    from rich.table import Table

    from weft.bench.sizes import size_text

    found, refused = [], []
    for name in ALGORITHMS:
        try:
            found.append((name, machine.predict(name, bytes_)))
        except weft.Error as error:
            refused.append((name, error))
    words_of(f"{machine.name}: all_reduce of {size_text(bytes_)} a device, predicted")
    table = Table(box=None, pad_edge=False)
    heads = ("algorithm", "time", "GB/s", "lower bound", "of it", "busiest link", "link busy")
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i in (0, 5) else "right")
    for name, prediction in sorted(found, key=lambda one: one[1].seconds):
        table.add_row(name, *_row(machine, prediction))
    stdout_console().print(table)
    for name, reason in refused:
        note(f"weft: {name}: {reason}")
    words_of("")
    for line in ring_lines(machine):
        words_of(line)


def _row(machine: Topology, prediction: Any) -> list[str]:
    seconds, least = prediction.seconds, prediction.lower_bound_seconds
    if prediction.bottleneck is None:
        return [_time(seconds), "", _time(least), "", "none", ""]
    a, b = prediction.bottleneck
    rate = prediction.bytes_per_second
    return [
        _time(seconds),
        "" if rate is None else f"{rate / 1e9:.1f}",
        _time(least),
        f"{least / seconds:.0%}" if seconds > 0 else "",
        f"{a} > {b} {machine.matrix()[a][b]}",
        f"{prediction.utilisation[a][b]:.0%}",
    ]


def _time(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 1 or unit == "us":
            return f"{seconds * scale:.4g} {unit}"
    return ""

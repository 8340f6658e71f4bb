"""What the columns mean, and what bounds each row: `weft bench --explain`."""

from __future__ import annotations

from collections.abc import Sequence

from weft.bench.collective import COLLECTIVES, bus_factor
from weft.bench.row import Row
from weft.bench.sizes import size_text

__all__ = ["bound", "definitions", "explain"]

_FORMULAS = {"once": "1", "share": "(n - 1) / n", "twice": "2 (n - 1) / n"}
_AT_THE_LINK, _FAR_BELOW = 0.7, 0.15


def explain(rows: Sequence[Row]) -> str:
    """Text for people, each line a comment of the table.

    >>> print(explain([]))
    <BLANKLINE>
    """
    if not rows:
        return ""
    first = rows[0]
    lines = [*definitions(first.collective, first.ranks), "", "What bounds each row:"]
    for row in rows:
        place = "in place" if row.in_place else "out of place"
        what = f"{row.impl} {row.algo} {size_text(row.bytes)} {row.dtype} {row.op}, {place}"
        lines.append(f"  {what}: {bound(row)}")
    return "\n".join(f"# {line}".rstrip() for line in lines)


def definitions(collective: str, ranks: int) -> list[str]:
    """What time, algbw, busbw and %peak are for this collective."""
    kind = COLLECTIVES[collective]
    factor = bus_factor(collective, ranks)
    size = "the joined vector of all ranks" if kind.chunked else "one rank's vector"
    link = "one direction" if kind.one_way else "both directions at once"
    return [
        f"size   bytes of {size}; count: elements of {'a share' if kind.chunked else 'it'}.",
        "time   median over all samples of all rounds, of the slowest rank. A sample is a replay",
        "       of a graph of operations, timed on the devices (mode graph), or as many calls,",
        "       timed on the host until the last has ended (eager), divided by their number.",
        "p50, p99  of the same samples.",
        "algbw  size / time, 10^9 bytes per second: what the caller sees.",
        f"busbw  algbw times {_FORMULAS[kind.moved]}, here {factor:g}: what each rank sends over",
        "       its links if nothing is sent twice, so that rates compare for any n ranks.",
        f"%peak  busbw over what the copy engines move between the same devices, {link},",
        "       measured in this run. For p2p one_way it is one direction.",
        "#wrong elements, of every rank and buffer, not exactly right after one more sample.",
    ]


def bound(row: Row) -> str:
    """What keeps this row from being faster.

    On devices the measured link tells; the simulator is bounded by the host it runs on.
    """
    if any(not name.startswith("cuda") for name in row.devices):
        return (
            "the cores and the memory of this host; no link is involved"
            if row.bytes > 1 << 16
            else "waking threads or processes of this host"
        )
    if row.pct_peak is None:
        return "not known: no link between these devices was measured"
    share = row.pct_peak / 100
    moving = row.time_us * share
    if share >= _AT_THE_LINK:
        return f"the link: {row.pct_peak:.0f} % of what its copy engines give"
    if row.mode == "eager" and share < _FAR_BELOW:
        return f"launches from the host: the link would need {moving:.1f} of {row.time_us:.1f} us"
    if share < _FAR_BELOW:
        return (
            f"latency (kernel start, signals): the link would need {moving:.1f} of "
            f"{row.time_us:.1f} us"
        )
    return (
        f"both: the link would need {moving:.1f} of {row.time_us:.1f} us, the rest is latency, "
        "local reading and reducing, or too few bytes under way"
    )

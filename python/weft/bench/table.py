"""Rows as text: the columns of nccl-tests, then algorithm, percentiles, share of the peak; CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from weft.bench.compare import verdict
from weft.bench.row import Row

__all__ = ["csv_text", "header", "line", "summary"]

_FRONT = f"{'size':>12} {'count':>12} {'type':>13} {'redop':>9} {'root':>5}"
_HALF = f"{'time':>9} {'algbw':>8} {'busbw':>8} {'#wrong':>7}"
_BACK = f"{'impl':>10} {'algo':>14} {'p50':>9} {'p99':>9} {'%peak':>6} {'predicted':>10}"


def header(first: Row) -> str:
    """The head of the table. All times but those under `predicted` are measured."""
    clock = f"# times: measured on the {first.clock}, mode {first.mode}"
    if first.devices[0].startswith("sim"):
        clock += (
            ", of the simulator at work on this machine's memory; predicted: of the simulated links"
        )
    if first.cache is not None:
        clock += f", L2 {first.cache}"
    pad = " " * len(_FRONT)
    units = f"{'(us)':>9} {'(GB/s)':>8} {'(GB/s)':>8} {'':>7}"
    width = len(_HALF)
    return "\n".join(
        [
            clock,
            f"# {pad[2:]}  {'out-of-place':^{width}}  {'in-place':^{width}}",
            f"# {_FRONT[2:]}  {_HALF}  {_HALF}  {_BACK}",
            f"# {'(B)':>10} {'(elements)':>12} {'':>13} {'':>9} {'':>5}  {units}  {units}  "
            f"{'':>10} {'':>14} {'(us)':>9} {'(us)':>9} {'':>6} {'(us)':>10}",
        ]
    )


def line(out_of_place: Row, in_place: Row | None) -> str:
    """One line for the rows of a size; percentiles and the rest are the in-place row's if any."""
    row = in_place or out_of_place
    front = f"{row.bytes:>12} {row.count:>12} {row.dtype:>13} {row.op:>9} {row.root:>5}"
    peak = "-" if row.pct_peak is None else f"{row.pct_peak:.1f}"
    predicted = "-" if row.predicted_us is None else f"{row.predicted_us:.2f}"
    back = f"{row.impl:>10} {row.algo:>14} {row.p50_us:>9.2f} {row.p99_us:>9.2f} {peak:>6}"
    return f"{front}  {_half(out_of_place)}  {_half(in_place)}  {back} {predicted:>10}"


def _half(row: Row | None) -> str:
    if row is None:
        return f"{'N/A':>9} {'N/A':>8} {'N/A':>8} {'N/A':>7}"
    wrong = "N/A" if row.wrong is None else str(row.wrong)
    return f"{row.time_us:>9.2f} {row.algbw_gbps:>8.2f} {row.busbw_gbps:>8.2f} {wrong:>7}"


def summary(rows: Sequence[Row]) -> str:
    """The closing lines of nccl-tests: wrong elements and weft's average bus bandwidth."""
    checked = [row.wrong for row in rows if row.wrong is not None]
    own = [row.busbw_gbps for row in rows if row.impl == "weft"]
    average = sum(own) / len(own) if own else 0.0
    found = f"{sum(checked)} {'FAILED' if any(checked) else 'OK'}" if checked else "not checked"
    text = f"# Out of bounds values : {found}\n# Avg bus bandwidth    : {average:.4f}"
    compared = verdict([row.as_json() for row in rows])
    return f"{text}\n{compared}" if compared else text


def csv_text(rows: Sequence[Row]) -> str:
    """All rows as CSV, with a head; empty where something is not known."""
    out = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        values = row.as_json() | {"devices": " ".join(row.devices)}
        if writer is None:
            writer = csv.DictWriter(out, list(values), lineterminator="\n")
            writer.writeheader()
        writer.writerow(values)
    return out.getvalue()

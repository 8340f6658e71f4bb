"""Rows as text: the columns of nccl-tests, then algorithm, percentiles, share of the peak; CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from weft.bench.pattern import numpy_dtype
from weft.bench.row import Row

__all__ = ["csv_text", "header", "line", "summary"]

_FRONT = f"{'size':>12} {'count':>12} {'type':>9} {'redop':>6} {'root':>5}"
_HALF = f"{'time':>9} {'algbw':>8} {'busbw':>8} {'#wrong':>7}"
_BACK = f"{'impl':>5} {'algo':>6} {'p50':>9} {'p99':>9} {'%peak':>6} {'predicted':>10}"


def header(simulated: bool) -> str:
    """The head of the table. All times but those under `predicted` are measured."""
    clock = "times: measured on the host clock"
    if simulated:
        clock += (
            ", of the simulator at work on this machine's memory; predicted: of the simulated links"
        )
    pad = " " * len(_FRONT)
    units = f"{'(us)':>9} {'(GB/s)':>8} {'(GB/s)':>8} {'':>7}"
    width = len(_HALF)
    return "\n".join(
        [
            f"# {clock}",
            f"# {pad[2:]}  {'out-of-place':^{width}}  {'in-place':^{width}}",
            f"# {_FRONT[2:]}  {_HALF}  {_HALF}  {_BACK}",
            f"# {'(B)':>10} {'(elements)':>12} {'':>9} {'':>6} {'':>5}  {units}  {units}  "
            f"{'':>5} {'':>6} {'(us)':>9} {'(us)':>9} {'':>6} {'(us)':>10}",
        ]
    )


def line(out_of_place: Row, in_place: Row) -> str:
    """One line for the two rows of a size; percentiles and the rest are the in-place row's."""
    row = in_place
    front = f"{row.bytes:>12} {_count(row):>12} {row.dtype:>9} {row.op:>6} {-1:>5}"
    peak = "-" if row.pct_peak is None else f"{row.pct_peak:.1f}"
    predicted = "-" if row.predicted_us is None else f"{row.predicted_us:.2f}"
    back = f"{row.impl:>5} {row.algo:>6} {row.p50_us:>9.2f} {row.p99_us:>9.2f} {peak:>6}"
    return f"{front}  {_half(out_of_place)}  {_half(in_place)}  {back} {predicted:>10}"


def _count(row: Row) -> int:
    return row.bytes // numpy_dtype(row.dtype).itemsize


def _half(row: Row) -> str:
    return f"{row.time_us:>9.2f} {row.algbw_gbps:>8.2f} {row.busbw_gbps:>8.2f} {row.wrong:>7}"


def summary(rows: Sequence[Row]) -> str:
    """The closing lines of nccl-tests: wrong elements and weft's average bus bandwidth."""
    wrong = sum(row.wrong for row in rows)
    own = [row.busbw_gbps for row in rows if row.impl == "weft"]
    average = sum(own) / len(own) if own else 0.0
    verdict = "OK" if wrong == 0 else "FAILED"
    return f"# Out of bounds values : {wrong} {verdict}\n# Avg bus bandwidth    : {average:.4f}"


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

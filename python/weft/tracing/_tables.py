"""The tables of a summary as HTML, every text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

__all__ = ["MOST_CELLS", "sections"]

MOST_CELLS = 64  # ranks of the matrix of links
MOST_ROWS = 500  # of any table


def sections(summary: dict[str, Any], over_time: bool) -> list[str]:
    """The tables; with a canvas for the links over time if there is something to draw."""
    parts = _facts(summary)
    chunks = summary["chunks"]
    if summary["stragglers"]["examined"] or not summary["stragglers"]["complete"]:
        parts += _stragglers(summary["stragglers"])
    if chunks is not None:
        parts += _links(chunks["links"], over_time)
    parts += ["<h2>Operations</h2>", *_operations(summary["operations"])]
    parts += ["<h2>Ranks</h2>", *_ranks(summary["ranks"], chunks is not None)]
    if summary["faults"]:
        parts += ["<h2>Faults</h2>", *_faults(summary)]
    return parts


def _facts(summary: dict[str, Any]) -> list[str]:
    words = [f"{summary['events']} events in {summary['span_us'] / 1e3:.3f} ms"]
    if summary["devices"]:
        words.append(f"{len(summary['devices'])} ranks")
    if summary["weft_version"]:
        words.append(f"weft {summary['weft_version']}")
    if summary["dropped"]:
        words.append(f"{summary['dropped']} older events were dropped")
    return [f'<p class="faint">{escape("; ".join(words))}</p>']


def _table(head: Sequence[str], rows: list[list[Any]], total: int) -> list[str]:
    """Numbers to the right, None as a dash."""
    lines = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>\n" for row in rows)
    texts = [any(isinstance(row[i], str) for row in rows) for i in range(len(head))]
    names = "".join(
        f"<th>{escape(name)}</th>" if is_text else f'<th class="number">{escape(name)}</th>'
        for name, is_text in zip(head, texts, strict=True)
    )
    table = f'<div class="wide"><table><thead><tr>{names}</tr></thead>\n<tbody>{lines}</tbody>'
    more = [f'<p class="faint">And {total - MOST_ROWS} more.</p>'] if total > MOST_ROWS else []
    return [table + "</table></div>", *more]


def _cell(value: Any) -> str:
    if value is None:
        return '<td class="number">-</td>'
    if isinstance(value, float):
        return f'<td class="number">{value:,.3f}</td>'
    if isinstance(value, int):
        return f'<td class="number">{value:,}</td>'
    return f"<td>{escape(str(value))}</td>"


def _columns(rows: list[dict[str, Any]], names: Sequence[str]) -> list[list[Any]]:
    return [[row[name] for name in names] for row in rows[:MOST_ROWS]]


def _operations(rows: list[dict[str, Any]]) -> list[str]:
    names = ("kind", "algorithm", "clock", "count", "bytes", "failed", "p50_us", "p99_us", "max_us")
    head = ("operation", "algorithm", "clock", "count", "bytes", "failed", "p50 us", "p99 us",
            "max us")  # fmt: skip
    return _table(head, _columns(rows, names), len(rows))


def _ranks(rows: list[dict[str, Any]], with_chunks: bool) -> list[str]:
    names = ["rank", "device", "operations", "time_us", "failed"]
    if with_chunks:
        names += ["waiting_us", "moving_us", "signalling_us"]
    head = [name.replace("_", " ") for name in names]
    return _table(head, _columns(rows, names), len(rows))


def _faults(summary: dict[str, Any]) -> list[str]:
    rows = summary["faults"]
    names = ("kind", "algorithm", "rank", "culprit", "op_id", "at_us", "after_us")
    head = ("what", "algorithm", "noticed by", "culprit", "op_id", "at us", "after us")
    return _table(head, _columns(rows, names), summary["faults_total"])


def _stragglers(found: dict[str, Any]) -> list[str]:
    parts = ["<h2>Who was waited for</h2>"]
    parts.append(f"<p>{found['held_up']} of {found['examined']} operations were held up.</p>")
    if not found["complete"]:
        parts.append("<p>The trace was too large to look at every operation.</p>")
    rows = found["overall"]
    if rows:
        names = ("rank", "cause", "operations", "waited_us")
        head = ("rank", "cause", "operations", "others waited, us")
        parts += _table(head, _columns(rows, names), len(rows))
    return parts


def _links(rows: list[dict[str, Any]], over_time: bool) -> list[str]:
    if not rows:
        return []
    ranks = sorted({row["from"] for row in rows} | {row["to"] for row in rows})
    parts = ["<h2>Links</h2>"]
    parts += _matrix(rows, ranks) if len(ranks) <= MOST_CELLS else []
    if over_time:
        canvas = '<canvas id="heat" role="img" aria-label="Rates of links over time"></canvas>'
        parts += ['<p class="faint">GB/s over time:</p>', canvas]
    names = ("from", "to", "bytes", "transfers", "busy_us", "gbps")
    head = ("from", "to", "bytes", "transfers", "busy us", "GB/s")
    slowest_first = sorted(rows, key=lambda row: row["gbps"] or 0.0)
    return [*parts, *_table(head, _columns(slowest_first, names), len(rows))]


def _matrix(rows: list[dict[str, Any]], ranks: list[int]) -> list[str]:
    by_link = {(row["from"], row["to"]): row for row in rows}
    most = max((row["gbps"] or 0.0 for row in rows), default=0.0) or 1.0
    lines = ["<tr><th>from \\ to</th>" + "".join(f"<th>{to}</th>" for to in ranks) + "</tr>"]
    for sender in ranks:
        cells = "".join(_rate(by_link.get((sender, to)), most) for to in ranks)
        lines.append(f"<tr><th>{sender}</th>{cells}</tr>")
    caption = "<caption>GB/s while busy, from the rank of the row</caption>"
    return [f'<div class="wide"><table class="matrix">{caption}{"".join(lines)}</table></div>']


def _rate(row: dict[str, Any] | None, most: float) -> str:
    if row is None:
        return "<td></td>"
    if row["gbps"] is None:
        return "<td>?</td>"
    share = 100 * row["gbps"] / most
    colour = f"color-mix(in srgb, var(--hot) {0.6 * share:.0f}%, var(--cold))"
    what = f"{row['bytes']:,} bytes in {row['busy_us']:,.3f} us"
    return f'<td style="background:{colour}" title="{escape(what)}">{row["gbps"]:.1f}</td>'

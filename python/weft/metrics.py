"""Prometheus text (exposition format 0.0.4) of fabrics' statistics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from weft import _weft

__all__ = ["render", "render_all"]

_Sample = tuple[dict[str, str], float]
_Family = tuple[str, str, str, list[_Sample]]  # name, type, meaning


def render(stats: dict[str, Any], labels: dict[str, str]) -> str:
    """The text for `stats` (of `Fabric.stats()`), with `labels` on every sample.

    >>> stats = {"operations": 2, "empty": 0, "failed": 0, "bytes": 64, "seconds": 0.5,
    ...          "predicted": True, "host_seconds": 1.0, "links": {"0->1": 64},
    ...          "kinds": [], "errors": {}, "in_flight": 0, "peak_in_flight": 1,
    ...          "staged": {"tensors": 0, "bytes": 0}, "events_recorded": 4, "events_dropped": 0}
    >>> print(render(stats, {}).splitlines()[-1])
    weft_link_bytes_total{from="0",to="1"} 64
    """
    return render_all([(stats, labels, _weft.__version__)])


def render_all(fabrics: Iterable[tuple[dict[str, Any], dict[str, str], str]]) -> str:
    """The text for several: statistics, labels that tell them apart, and the version of weft."""
    merged: dict[str, tuple[str, list[str]]] = {}
    for stats, labels, version in fabrics:
        build: _Family = ("weft_build_info", "gauge", "Always 1.", [({"version": version}, 1)])
        for name, kind, meaning, samples in (build, *_totals(stats), *_rows(stats)):
            head = f"# HELP {name} {meaning}\n# TYPE {name} {kind}"
            _, lines = merged.setdefault(name, (head, []))
            lines += [f"{name}{_label_text(labels | extra)} {value}" for extra, value in samples]
    parts = [f"{head}\n" + "\n".join(lines) + "\n" for head, lines in merged.values() if lines]
    return "".join(parts)


def _totals(stats: dict[str, Any]) -> list[_Family]:
    return [
        (
            "weft_operations_total", "counter", "Operations that ended, by status.",
            [({"status": "ok"}, stats["operations"]), ({"status": "failed"}, stats["failed"])],
        ),
        (
            "weft_empty_operations_total", "counter", "Of the operations without error, those with "
            "nothing to do.", [({}, stats["empty"])],
        ),
        (
            "weft_bytes_total", "counter", "Bytes of one rank's vectors, over all operations.",
            [({}, stats["bytes"])],
        ),
        (
            "weft_operation_seconds_total", "counter", "Time in operations, by clock.",
            [({"clock": "host"}, stats["host_seconds"])]
            + ([({"clock": "predicted"}, stats["seconds"])] if stats["predicted"] else []),
        ),
        (
            "weft_operations_in_flight", "gauge", "Operations launched that have not ended.",
            [({}, stats["in_flight"])],
        ),
        (
            "weft_operations_in_flight_peak", "gauge", "The most of them at once.",
            [({}, stats["peak_in_flight"])],
        ),
        (
            "weft_staged_tensors_total", "counter", "Tensors copied before or after an operation.",
            [({}, stats["staged"]["tensors"])],
        ),
        ("weft_staged_bytes_total", "counter", "Their bytes.", [({}, stats["staged"]["bytes"])]),
        (
            "weft_events_recorded_total", "counter", "Events since the fabric was opened.",
            [({}, stats["events_recorded"])],
        ),
        (
            "weft_events_dropped_total", "counter", "Of them, those that were overwritten.",
            [({}, stats["events_dropped"])],
        ),
    ]  # fmt: skip


def _rows(stats: dict[str, Any]) -> list[_Family]:
    return [
        (
            "weft_kind_operations_total", "counter", "Operations by kind, algorithm and status.",
            [
                (_kind(row) | {"status": status}, row[key])
                for row in stats["kinds"]
                for status, key in (("ok", "operations"), ("failed", "failed"))
            ],
        ),
        (
            "weft_kind_bytes_total", "counter", "Bytes of one rank's vectors, by both.",
            [(_kind(row), row["bytes"]) for row in stats["kinds"]],
        ),
        (
            "weft_kind_host_seconds", "gauge", "Percentiles of times on the host's clock.",
            [
                (_kind(row) | {"quantile": quantile}, row[key] * 1e-6)
                for row in stats["kinds"]
                for quantile, key in (("0.5", "p50_us"), ("0.99", "p99_us"))
                if row[key] is not None
            ],
        ),
        (
            "weft_errors_total", "counter", "Failures by the name of their error.",
            [({"error": name}, count) for name, count in stats["errors"].items()],
        ),
        (
            "weft_link_bytes_total", "counter", "Bytes pushed from one rank to another.",
            [
                (dict(zip(("from", "to"), link.split("->"), strict=True)), count)
                for link, count in stats["links"].items()
            ],
        ),
    ]  # fmt: skip


def _kind(row: dict[str, Any]) -> dict[str, str]:
    return {"kind": row["kind"], "algorithm": row["algorithm"]}


def _label_text(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    escaped = {
        name: value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        for name, value in labels.items()
    }
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped.items()) + "}"

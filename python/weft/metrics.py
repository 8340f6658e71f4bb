"""Prometheus text (exposition format 0.0.4) of a fabric's statistics."""

from __future__ import annotations

from typing import Any

from weft import _weft

__all__ = ["render"]

_Sample = tuple[dict[str, str], float]


def render(stats: dict[str, Any], labels: dict[str, str]) -> str:
    """The text for `stats` (of `Fabric.stats()`), with `labels` on every sample.

    >>> stats = {"operations": 2, "empty": 0, "failed": 0, "bytes": 64, "seconds": 0.5,
    ...          "predicted": True, "host_seconds": 1.0, "links": {"0->1": 64}}
    >>> print(render(stats, {}).splitlines()[-1])
    weft_link_bytes_total{from="0",to="1"} 64
    """
    families: list[tuple[str, str, str, list[_Sample]]] = [
        ("weft_build_info", "gauge", "Always 1.", [({"version": _weft.__version__}, 1)]),
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
            "weft_link_bytes_total", "counter", "Bytes pushed from one rank to another.",
            [
                (dict(zip(("from", "to"), link.split("->"), strict=True)), count)
                for link, count in stats["links"].items()
            ],
        ),
    ]  # fmt: skip
    lines: list[str] = []
    for name, kind, meaning, samples in families:
        if samples:
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{_label_text(labels | extra)} {value}" for extra, value in samples]
    return "\n".join(lines) + "\n"


def _label_text(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    escaped = {
        name: value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        for name, value in labels.items()
    }
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped.items()) + "}"

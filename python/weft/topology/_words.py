"""How figures and wires are put into words, the same in every output; and what was measured."""

from __future__ import annotations

import functools
from typing import Any

__all__ = [
    "COLOURS", "WIRE_NAMES", "best_measured", "figures", "latency", "rate", "rate_number",
    "short_devices", "wire_label",
]  # fmt: skip

Document = dict[str, Any]

# Told apart in print and by those who see no red or no green: by lightness too.
COLOURS = {
    "nvlink": "#3f8f29", "xgmi": "#d9480f", "c2c": "#7048b6", "pcie": "#8a919a", "bus": "#b5bbc2",
    "socket": "#2b6cb0", "network": "#0b8b8b",
}  # fmt: skip
WIRE_NAMES = {
    "nvlink": "NVLink", "xgmi": "xGMI", "c2c": "C2C", "pcie": "PCIe", "bus": "host bridge",
    "socket": "between sockets", "network": "network",
}  # fmt: skip


def figures(document: Document) -> str:
    """Where its figures come from."""
    if document["simulated"]:
        return "simulated, nominal figures"
    return "measured" if document["measurements"] else "not measured"


def rate_number(bytes_per_second: float) -> str:
    """In GB/s (1e9), three digits: "450", "15.8", "0.98"."""
    value = bytes_per_second / 1e9
    digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def rate(bytes_per_second: float | None) -> str:
    """ "450 GB/s"; "?" where it is not known."""
    return "?" if bytes_per_second is None else f"{rate_number(bytes_per_second)} GB/s"


def latency(seconds: float | None) -> str:
    """ "0.64 µs"; "?" where it is not known."""
    return "?" if seconds is None else f"{seconds * 1e6:.3g} µs"


def wire_label(wire: dict[str, Any]) -> str:
    """ "NV18 · 450 GB/s", "PCIe 5.0 x16 · 63 GB/s"; without what is not known."""
    kind, count = wire["kind"], wire["count"]
    generation, width = wire["generation"], wire["width"]
    if kind in ("nvlink", "xgmi"):
        name = f"{'NV' if kind == 'nvlink' else 'XGMI'}{count}"
    elif kind == "c2c":
        name = "C2C"
    elif kind == "pcie":
        name = f"PCIe {generation}.0" if generation else "PCIe"
        name += f" x{width}" if width else ""
    else:
        name = WIRE_NAMES[kind]
    known = wire["bytes_per_second"]
    return name if known is None else f"{name} · {rate(known)}"


def best_measured(document: Document, both_directions: bool = False) -> dict[Any, float]:
    """(from, to) -> the best bandwidth that was measured between two devices, of all engines."""
    best: dict[Any, float] = {}
    for one in document["measurements"]:
        pair = (one["from"], one["to"])
        wanted = one["what"] == "bandwidth" and one["both_directions"] == both_directions
        if wanted and None not in pair:
            best[pair] = max(best.get(pair, 0.0), one["median"])
    return best


def short_devices(document: Document) -> tuple[list[str], str]:
    """What devices are called in little room, "0", "1", ..., and what all of them are.

    The second is "8 x H100", or how many of each name.
    """
    names = [device["name"] or device["device"] for device in document["devices"]]
    counts: dict[str, int] = functools.reduce(
        lambda found, name: {**found, name: found.get(name, 0) + 1}, names, dict[str, int]()
    )
    what = ", ".join(f"{count} x {name}" for name, count in list(counts.items())[:4])
    return [str(i) for i in range(len(names))], what

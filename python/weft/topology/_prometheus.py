"""Topologies in Prometheus' text format 0.0.4: rates of links, and counters that are handed in.

Base units: bytes and seconds. A figure that is not known has no sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weft.topology import _source

__all__ = ["write"]

Sample = tuple[dict[str, Any], float]
Family = tuple[str, str, str, list[Sample]]


def write(document: dict[str, Any], reading: Mapping[str, Any] | None = None) -> str:
    """The text. reading: what `weft.topology.counters()` gave."""
    families: list[Family] = [
        ("weft_topology_info", "gauge", "What the machine is called; always 1.", _info(document)),
        ("weft_topology_devices", "gauge", "Devices.", [({}, float(len(document["devices"])))]),
        ("weft_topology_link_bytes_per_second", "gauge",
         "Rate of a link, one direction: measured where it was, else nominal.",
         _of_links(document["links"], "bytes_per_second")),
        ("weft_topology_link_nominal_bytes_per_second", "gauge",
         "Nominal rate of a link, one direction.",
         _of_links(_nominal(document), "bytes_per_second")),
        ("weft_topology_link_latency_seconds", "gauge",
         "Latency of a small message, one way.", _of_links(document["links"], "latency_seconds")),
        ("weft_topology_link_peer_access", "gauge",
         "Whether the first device may address the second's memory.",
         _of_links(document["links"], "peer_access")),
        ("weft_topology_link_verified", "gauge",
         "Whether bytes compared equal both ways; 0: quarantined.",
         _of_links(document["links"], "verified")),
        ("weft_topology_measured_bytes_per_second", "gauge",
         "Median of what was measured.", _measured(document, latency=False)),
        ("weft_topology_measured_latency_seconds", "gauge",
         "Median of what was measured.", _measured(document, latency=True)),
    ]  # fmt: skip
    lines = []
    for name, kind, what, samples in [*families, *_counters(reading)]:
        if samples:
            lines += [f"# HELP {name} {_help(what)}", f"# TYPE {name} {kind}"]
            lines += [_line(name, labels, value) for labels, value in samples]
    return "\n".join(lines) + "\n"


def _info(document: dict[str, Any]) -> list[Sample]:
    labels = {"name": document["name"], "simulated": str(document["simulated"]).lower()}
    return [(labels, 1.0)]


def _of_links(links: list[dict[str, Any]], field: str) -> list[Sample]:
    return [
        ({"from": link["from"], "to": link["to"], "path": link["cell"]}, float(link[field]))
        for link in links
        if link[field] is not None
    ]


def _nominal(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Links as the graph has them, which measurements do not change."""
    if document["vertices"]:
        bare = {**document, "devices": [], "links": [], "measurements": []}
        links: list[dict[str, Any]] = _source.native(bare, _source.Source("")).document()["links"]
        return links
    return [] if document["measurements"] else list(document["links"])


def _measured(document: dict[str, Any], latency: bool) -> list[Sample]:
    samples = []
    for one in document["measurements"]:
        if (one["what"] == "latency") == latency:
            labels = {end: "host" if one[end] is None else one[end] for end in ("from", "to")}
            labels |= {"what": one["what"], "engine": one["engine"], "bytes": one["bytes"]}
            labels["both_directions"] = str(one["both_directions"]).lower()
            samples.append((labels, float(one["median"])))
    return samples


_COUNTERS = {
    "sent_bytes": "Bytes that an NVLink sent.",
    "received_bytes": "Bytes that an NVLink received.",
    "replay_errors": "Replays of an NVLink.",
    "recovery_errors": "Recoveries of an NVLink.",
    "crc_errors": "Checksum errors of an NVLink.",
}


def _counters(reading: Mapping[str, Any] | None) -> list[Family]:
    """What `weft.topology.counters()` gave."""
    links = [] if reading is None else reading["links"]

    def samples(field: str) -> list[Sample]:
        return [
            ({"device": link["device"], "link": link["link"]}, float(link[field]))
            for link in links
            if link[field] is not None
        ]

    families: list[Family] = [
        ("weft_nvlink_active", "gauge", "Whether an NVLink is up.", samples("active"))
    ]
    for field, what in _COUNTERS.items():
        families.append((f"weft_nvlink_{field}_total", "counter", what, samples(field)))
    return families


def _line(name: str, labels: dict[str, Any], value: float) -> str:
    shown = ",".join(f'{key}="{_label(str(label))}"' for key, label in labels.items())
    number = str(int(value)) if value == int(value) and value < 2**53 else repr(value)
    return f"{name}{{{shown}}} {number}" if shown else f"{name} {number}"


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")

"""Topologies as Graphviz graphs.

Vertices and wires where they are known: a cluster for each NUMA node, GPUs, NVSwitches, NICs and
PCIe switches as nodes. Else devices, and an edge for each pair that has a link.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weft.topology._words import COLOURS, rate, wire_label

__all__ = ["write"]

_SHAPES = {
    "gpu": 'shape=box, style="rounded,filled", fillcolor="#e6f4d9"',
    "nvswitch": 'shape=hexagon, style=filled, fillcolor="#cfe8b9"',
    "pcie_switch": 'shape=box, style=filled, fillcolor="#eceff2"',
    "host_bridge": 'shape=box, style=filled, fillcolor="#eceff2"',
    "cpu": 'shape=box, style=filled, fillcolor="#dbe7f5", penwidth=2',
    "nic": 'shape=ellipse, style=filled, fillcolor="#d7efef"',
    "network_switch": 'shape=hexagon, style=filled, fillcolor="#d7efef"',
}
_KINDS = {"pcie_switch": "PCIe switch", "nvswitch": "NVSwitch", "host_bridge": "host bridge"}


def write(document: dict[str, Any]) -> str:
    """The graph's text."""
    body = _hardware(document) if document["vertices"] else _links(document)
    lines = [
        f"graph {_quoted(document['name'])} {{",
        '  graph [fontname="Helvetica", overlap=false, splines=true, rankdir=BT];',
        '  node [fontname="Helvetica", fontsize=11];',
        '  edge [fontname="Helvetica", fontsize=9];',
        *(f"  {line}" for line in body),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _hardware(document: dict[str, Any]) -> Iterator[str]:
    clusters: dict[int | None, list[str]] = {}
    number = 0
    for vertex in document["vertices"]:
        lines = [vertex["name"] or _KINDS.get(vertex["kind"], vertex["id"])]
        if vertex["kind"] == "gpu":
            lines.insert(0, f"GPU {number}")
            number += 1
        if vertex["pci"]:
            lines.append(vertex["pci"])
        node = f"{_quoted(vertex['id'])} [label={_label(lines)}, {_SHAPES[vertex['kind']]}];"
        clusters.setdefault(vertex["numa"], []).append(node)
    for numa in sorted(clusters, key=lambda n: (n is None, n or 0)):
        if numa is None:
            yield from clusters[numa]
            continue
        yield f"subgraph cluster_numa_{numa} {{"
        yield f'  label="NUMA {numa}"; style="rounded"; color="#9aa5b1"; fontcolor="#52606d";'
        yield from (f"  {node}" for node in clusters[numa])
        yield "}"
    for wire in document["wires"]:
        width = 2.5 if wire["kind"] in ("nvlink", "xgmi", "c2c") else 1.2
        yield (
            f"{_quoted(wire['a'])} -- {_quoted(wire['b'])} [label={_label([wire_label(wire)])}, "
            f'color="{COLOURS[wire["kind"]]}", penwidth={width}];'
        )


def _links(document: dict[str, Any]) -> Iterator[str]:
    clusters: dict[int | None, list[str]] = {}
    for i, device in enumerate(document["devices"]):
        label = _label([device["device"], device["name"]])
        clusters.setdefault(device["numa"], []).append(f"d{i} [label={label}, {_SHAPES['gpu']}];")
    for numa, nodes in clusters.items():
        if numa is None:
            yield from nodes
        else:
            yield f'subgraph cluster_numa_{numa} {{ label="NUMA {numa}";'
            yield from (f"  {node}" for node in nodes)
            yield "}"
    for link in document["links"]:
        # The graph has no directions; where the two differ, both edges are there.
        if link["from"] < link["to"]:
            label = f"{link['cell']} · {rate(link['bytes_per_second'])}"
            colour = COLOURS.get(link["kind"], COLOURS["pcie"])
            yield (f'd{link["from"]} -- d{link["to"]} [label={_label([label])}, color="{colour}"];')


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _label(lines: list[str]) -> str:
    return '"' + "\\n".join(_quoted(line)[1:-1] for line in lines if line) + '"'

"""Where the vertices of a topology stand in its picture.

Up to MOST_IN_A_TREE GPUs: the PCIe tree, CPUs at the bottom, GPUs and NICs at the top in the order
of the tree, NVSwitches above them. More: GPUs on a ring around the switches, drawn as one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

__all__ = ["MOST_IN_A_TREE", "Box", "Layout", "Line", "lay_out"]

MOST_IN_A_TREE = 16
GPU_WIDTH, NIC_WIDTH, GAP = 1.0, 0.8, 0.22
LEVELS = {"cpu": 0.0, "leaf": 2.3}
ABOVE = 1.75  # of switches over GPUs


@dataclass
class Box:
    """A vertex: its centre and size, and the lines of its text."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    text: str


@dataclass
class Line:
    """A wire between two boxes; `bow` bends it upwards by so much."""

    a: str
    b: str
    wire: dict[str, Any]
    bow: float = 0.0


@dataclass
class Layout:
    """Boxes by id, lines between them, and which of the two forms it is."""

    boxes: dict[str, Box] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    ring: bool = False

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Least and greatest x, least and greatest y."""
        boxes = self.boxes.values()
        top = max((b.y + b.height / 2 for b in boxes), default=1.0)
        bent = [(n.bow, box) for n in self.lines for box in (self.boxes[n.a], self.boxes[n.b])]
        over = [box.y + box.height / 2 + bow for bow, box in bent if bow > 0]
        under = [box.y - box.height / 2 + bow for bow, box in bent if bow < 0]
        low = min((b.y - b.height / 2 for b in boxes), default=0.0)
        return (
            min((b.x - b.width / 2 for b in boxes), default=0.0),
            max((b.x + b.width / 2 for b in boxes), default=1.0),
            min([low, *under]),
            max([top, *over]),
        )


def lay_out(document: dict[str, Any]) -> Layout:
    """The layout of a document's graph; of its devices where the graph is not known."""
    if not document["vertices"]:
        document = _from_links(document)
    gpus = sum(vertex["kind"] == "gpu" for vertex in document["vertices"])
    return _tree(document) if gpus <= MOST_IN_A_TREE else _ring(document)


def _from_links(document: dict[str, Any]) -> dict[str, Any]:
    """A graph of devices alone, joined by their links: NVLinks through a switch if they say so."""
    devices, links = document["devices"], document["links"]
    vertices = [
        {"id": str(i), "kind": "gpu", "name": one["name"], "numa": one["numa"], "pci": one["pci"]}
        for i, one in enumerate(devices)
    ]
    wires = []
    switched = [n for n in links if n["via"] == "switch" and n["kind"] == "nvlink"]
    if switched:
        name = "NVSwitches"
        vertices.append({"id": "s", "kind": "nvswitch", "name": name, "numa": None, "pci": None})
        for i in {link["from"] for link in switched}:
            link = next(link for link in switched if link["from"] == i)
            wires.append(_wire(str(i), "s", link))
    for link in links:
        if link["from"] < link["to"] and link["kind"] != "unknown" and link not in switched:
            wires.append(_wire(str(link["from"]), str(link["to"]), link))
    return {**document, "vertices": vertices, "wires": wires}


def _wire(a: str, b: str, link: dict[str, Any]) -> dict[str, Any]:
    kind = link["kind"] if link["kind"] in ("nvlink", "xgmi", "c2c", "network") else "pcie"
    return {
        "a": a, "b": b, "kind": kind, "count": max(link["count"], 1), "generation": None,
        "width": None, "bytes_per_second": link["bytes_per_second"], "latency_seconds": None,
    }  # fmt: skip


class _Tree:
    """The PCIe tree: who hangs below whom, and in which order leaves stand."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.vertices = {vertex["id"]: vertex for vertex in document["vertices"]}
        self.place = {name: i for i, name in enumerate(self.vertices)}
        near: dict[str, list[str]] = {name: [] for name in self.vertices}
        for wire in document["wires"]:
            if wire["kind"] in ("pcie", "bus"):
                near[wire["a"]].append(wire["b"])
                near[wire["b"]].append(wire["a"])
        self.children: dict[str, list[str]] = {name: [] for name in self.vertices}
        self.depth: dict[str, int] = {}
        self.roots = [n for n, v in self.vertices.items() if v["kind"] == "cpu"]
        self._grow(list(self.roots), near)
        for name, vertex in self.vertices.items():
            if name not in self.depth and vertex["kind"] != "nvswitch":
                owner = self._owner(vertex)
                if owner is None:
                    self.roots.append(name)
                    self._grow([name], near)
                else:
                    self.children[owner].append(name)
                    self.depth[name] = 1
        for names in self.children.values():
            names.sort(key=self._order)
        self.roots.sort(key=self._order)

    def _grow(self, todo: list[str], near: dict[str, list[str]]) -> None:
        self.depth |= {name: self.depth.get(name, 0) for name in todo}
        for name in todo:
            for other in near[name]:
                kind = self.vertices[other]["kind"]
                if other not in self.depth and kind not in ("cpu", "nvswitch"):
                    self.depth[other] = self.depth[name] + 1
                    self.children[name].append(other)
                    todo.append(other)

    def _owner(self, vertex: dict[str, Any]) -> str | None:
        """The CPU of the same NUMA node, for what has no PCIe."""
        for name in self.roots:
            root = self.vertices[name]
            if root["kind"] == "cpu" and root["numa"] == vertex["numa"] is not None:
                return str(name)
        return None

    def _order(self, name: str) -> tuple[int, int]:
        """GPUs in device order first: what hangs around the first GPU stands first."""
        gpus = [self.place[n] for n in self.below(name) if self.vertices[n]["kind"] == "gpu"]
        return (min(gpus, default=len(self.vertices)), self.place[name])

    def below(self, name: str) -> list[str]:
        """`name` and all that hangs below it."""
        found = [name]
        for one in found:
            found += self.children[one]
        return found


_TEXTS = {"pcie_switch": "PCIe", "host_bridge": "root", "network_switch": "switch"}


def _text(vertex: dict[str, Any], number: int | None) -> str:
    if number is not None:
        return f"GPU {number}"
    if vertex["kind"] == "cpu":
        return "CPU" if vertex["numa"] is None else f"NUMA {vertex['numa']}"
    if vertex["kind"] == "nvswitch":
        return "NVSwitches" if vertex["name"] == "NVSwitches" else "NVSwitch"
    if vertex["kind"] == "nic":
        name = str(vertex["name"] or "NIC")
        return name if len(name) <= 8 else name[:7] + "…"
    return _TEXTS[vertex["kind"]]


def _tree(document: dict[str, Any]) -> Layout:
    tree = _Tree(document)
    layout = Layout()
    numbers = {n: i for i, n in enumerate(
        name for name, vertex in tree.vertices.items() if vertex["kind"] == "gpu")}  # fmt: skip
    deepest = max(
        [tree.depth[n] for n, v in tree.vertices.items()
         if n in tree.depth and v["kind"] in ("pcie_switch", "host_bridge")],
        default=0,
    )  # fmt: skip
    top = LEVELS["leaf"] + 0.8 * max(deepest - 1, 0)
    cursor = 0.0
    for root in tree.roots:
        cursor = _stand(tree, layout, root, cursor, (numbers, top, deepest)) + 2 * GAP
    _place_switches(tree, layout, top)
    for wire in document["wires"]:
        if wire["a"] in layout.boxes and wire["b"] in layout.boxes:
            layout.lines.append(Line(wire["a"], wire["b"], wire))
    _bow(layout)
    return layout


def _stand(
    tree: _Tree, layout: Layout, name: str, cursor: float, how: tuple[dict[str, int], float, int]
) -> float:
    """Place `name` and what hangs below it from x = `cursor` on; the x behind it."""
    numbers, top, deepest = how
    vertex = tree.vertices[name]
    kind, children = vertex["kind"], tree.children[name]
    if kind in ("gpu", "nic", "network_switch") or (not children and kind != "cpu"):
        width = GPU_WIDTH if kind == "gpu" else NIC_WIDTH
        height = 0.62 if kind == "gpu" else 0.42
        text = _text(vertex, numbers.get(name))
        layout.boxes[name] = Box(cursor + width / 2, top, width, height, kind, text)
        return cursor + width + GAP
    start = cursor
    for child in children:
        cursor = _stand(tree, layout, child, cursor, how)
    end = max(cursor - GAP, start + 1.1)
    middle = (start + end) / 2
    if kind == "cpu":
        width, y, height = max(end - start, 1.1), LEVELS["cpu"], 0.5
    else:
        width, height = 0.9, 0.36
        y = 1.15 + (top - 2.25) * (tree.depth[name] - 1) / max(deepest - 1, 1)
    layout.boxes[name] = Box(middle, y, width, height, kind, _text(vertex, None))
    return end + GAP


def _place_switches(tree: _Tree, layout: Layout, top: float) -> None:
    names = [n for n, v in tree.vertices.items() if v["kind"] == "nvswitch"]
    if not names:
        return
    left = min(box.x - box.width / 2 for box in layout.boxes.values())
    right = max(box.x + box.width / 2 for box in layout.boxes.values())
    if len(names) == 1:
        width = min(max((right - left) * 0.7, 1.4), 9.0)
    else:
        width = min((right - left) / len(names) * 0.8, 1.6)
    for i, name in enumerate(names):
        x = left + (right - left) * (i + 0.5) / len(names)
        text = _text(tree.vertices[name], None)
        text = text if width >= 1.0 else "NVS"
        layout.boxes[name] = Box(x, top + ABOVE, width, 0.5, "nvswitch", text)


def _bow(layout: Layout) -> None:
    """Lines between boxes of one row go over or under it, the wider apart the further."""
    for line in layout.lines:
        a, b = layout.boxes[line.a], layout.boxes[line.b]
        if a.kind == b.kind == "gpu":
            line.bow = 0.35 + 0.17 * abs(a.x - b.x)
        elif a.kind == b.kind == "nvswitch":
            line.bow = 0.3 + 0.06 * abs(a.x - b.x)
        elif a.kind == b.kind == "cpu":
            line.bow = -(0.22 + 0.03 * abs(a.x - b.x))


def _ring(document: dict[str, Any]) -> Layout:
    layout = Layout(ring=True)
    vertices = {vertex["id"]: vertex for vertex in document["vertices"]}
    gpus = [name for name, vertex in vertices.items() if vertex["kind"] == "gpu"]
    switches = {name for name, vertex in vertices.items() if vertex["kind"] == "nvswitch"}
    radius = max(3.4, len(gpus) * 0.085)
    # Boxes side by side at 45 degrees touch from 0.71 of their distance on.
    size = min(0.62, 2 * math.pi * radius / len(gpus) * 0.68)
    for i, name in enumerate(gpus):
        angle = math.pi / 2 - 2 * math.pi * i / len(gpus)
        x, y = radius * math.cos(angle), radius * math.sin(angle)
        layout.boxes[name] = Box(x, y, size, size, "gpu", str(i))
    if switches:
        text = "NVSwitch" if len(switches) == 1 else f"{len(switches)} NVSwitches"
        layout.boxes["switches"] = Box(0.0, 0.0, radius * 0.5, radius * 0.5, "nvswitch", text)
    bundles: dict[tuple[str, str, str], dict[str, Any]] = {}
    for wire in document["wires"]:
        ends = ["switches" if wire[end] in switches else wire[end] for end in ("a", "b")]
        if ends[0] == ends[1] or not all(end in layout.boxes for end in ends):
            continue
        key = (ends[0], ends[1], wire["kind"])
        bundles[key] = _joined(bundles.get(key), wire)
    layout.lines = [Line(a, b, wire) for (a, b, _), wire in bundles.items()]
    return layout


def _joined(one: dict[str, Any] | None, wire: dict[str, Any]) -> dict[str, Any]:
    """Two wires as one of all their links."""
    if one is None:
        return dict(wire)
    rates = (one["bytes_per_second"], wire["bytes_per_second"])
    total = None if None in rates else rates[0] + rates[1]
    return {**one, "count": one["count"] + wire["count"], "bytes_per_second": total}

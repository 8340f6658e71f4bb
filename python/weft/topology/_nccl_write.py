"""Documents as topology files that NCCL's own reader takes (RCCL's, where there is xGMI).

That reader knows no declaration, no tabs and no line breaks between attributes, no entities, and
values of at most 254 bytes. It needs the attributes that are filled in here where a document does
not have them: a class, a place on the bus, `sm`, `dev`, `rank` and `gdr` of GPUs that have no such
word at all, and a CPU's make. Host bridges are left out, as NCCL has none; wires between NVSwitches
and between sockets it takes for granted; networks between machines and latencies it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import quoteattr

from weft.topology import _nccl_rates as rates
from weft.topology._nccl_read import (
    GPU_ATTRIBUTES,
    HIDDEN,
    MOST_LINKS,
    NUMBERS,
    bus_id,
    fits,
    is_bare_gpu,
)

__all__ = ["write"]

LONGEST_VALUE = 254  # bytes
DEEPEST = 40  # switches below one another; what is deeper hangs there
_CLASSES = {
    "gpu": "0x030200", "nvswitch": "0x068000", "pcie_switch": "0x060400", "nic": "0x020700",
}  # fmt: skip
_PCI_ORDER = ("class", "vendor", "device", "subsystem_vendor", "subsystem_device")
_CPU = {"arch": "x86_64", "vendor": "GenuineIntel", "familyid": "6", "modelid": "143"}
_OWN = ("cpu_link", "pcilink")  # attributes that stand for elements
_LEAVES = ("gpu", "nic", "nvswitch")  # nothing is plugged into them
_NUMBER = re.compile(r"-?[0-9]{1,9}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Wire = dict[str, Any]
Vertex = dict[str, Any]


def write(document: dict[str, Any]) -> str:
    """The file's text."""
    return "".join(f"{line}\n" for line in _Writer(document).lines())


class _Writer:
    def __init__(self, document: dict[str, Any]) -> None:
        self.name: str = document["name"]
        self.vertices: dict[str, Vertex] = {v["id"]: v for v in document["vertices"]}
        self.place = {name: i for i, name in enumerate(self.vertices)}
        self.wires: dict[str, list[tuple[str, Wire]]] = {name: [] for name in self.vertices}
        for wire in document["wires"]:
            self.wires[wire["a"]].append((wire["b"], wire))
            self.wires[wire["b"]].append((wire["a"], wire))
        for ends in self.wires.values():
            ends.sort(key=lambda end: self.place[end[0]])
        gpus = [name for name, vertex in self.vertices.items() if vertex["kind"] == "gpu"]
        self.index = {name: i for i, name in enumerate(gpus)}
        self.xgmi = any(wire["kind"] == "xgmi" for wire in document["wires"])
        self.children: dict[str, list[str]] = {name: [] for name in self.vertices}
        self.uplink: dict[str, Wire | None] = {}
        self.host: dict[str, str] = {}
        self.cpus = [name for name, vertex in self.vertices.items() if vertex["kind"] == "cpu"]
        self._plant()
        self.bus = self._bus_ids()
        # As in the files of clouds: NCCL is to look up itself what it wants to know of GPUs.
        order = [self.bus[name] for name in gpus]
        self.bare = order == sorted(order) and not any(self._says_more(name) for name in gpus)

    def _says_more(self, gpu: str) -> bool:
        """Whether a GPU is more than a PCI function that NCCL would know for one."""
        known = self.vertices[gpu]["attributes"]
        return bool(
            not is_bare_gpu({"class": self._class(gpu)} | known)
            or known.keys() & set(GPU_ATTRIBUTES)
            or any(key.startswith("gpu.") for key in known)
            or any(wire["kind"] != "pcie" for _, wire in self.wires[gpu])
        )

    def _class(self, name: str) -> str:
        kind, known = self.vertices[name]["kind"], self.vertices[name]["attributes"]
        said: str = known.get("class", "")
        inner = kind == "pcie_switch" and bool(self.children[name]) and not fits("nic", said)
        return said if said and (fits(kind, said) or inner) else _CLASSES[kind]

    def _plant(self) -> None:
        """Hang what is on PCIe below the CPUs: what is nearer first, each once."""
        todo = list(self.cpus)
        owner = {name: name for name in self.cpus}
        depth = dict.fromkeys(self.cpus, 0)
        self.host = {c: self.vertices[c]["attributes"].get("host_hash", "") for c in self.cpus}
        for name in todo:  # grows while it is gone through
            for other, wire in self.wires[name]:
                kind = self.vertices[other]["kind"]
                plugged = wire["kind"] in ("pcie", "bus") and kind not in ("cpu", "network_switch")
                if not plugged or other in self.host or self.vertices[name]["kind"] in _LEAVES:
                    continue
                self.host[other] = self.host[name]
                todo.append(other)
                # A host bridge is no element: what it holds hangs below its CPU.
                depth[other] = depth[name] + 1
                bare = kind == "host_bridge" or depth[other] > DEEPEST
                owner[other] = owner[name] if bare else other
                if kind != "host_bridge":
                    self.children[owner[name]].append(other)
                    self.uplink[other] = wire
        for name, vertex in list(self.vertices.items()):
            if name not in self.host and vertex["kind"] in ("gpu", "nic", "pcie_switch"):
                cpu = self._nearest_cpu(vertex)
                self.children[cpu].append(name)
                self.host[name] = self.host[cpu]
                self.uplink[name] = None
        for names in self.children.values():
            names.sort(key=self.place.__getitem__)

    def _nearest_cpu(self, vertex: Vertex) -> str:
        if not self.cpus:
            self.cpus.append("")
            self.children[""], self.host[""] = [], ""
            self.vertices[""] = {"kind": "cpu", "numa": None, "pci": None, "attributes": {}}
        same = [name for name in self.cpus if self.vertices[name]["numa"] == vertex["numa"]]
        return (same or self.cpus)[0]

    def _bus_ids(self) -> dict[str, str]:
        """A bus id for each vertex that needs one: its own, else one that nobody has."""
        switches = [name for name, vertex in self.vertices.items() if vertex["kind"] == "nvswitch"]
        hidden = [n for n in switches if not self.vertices[n]["pci"] and n not in self.uplink]
        found = {name: HIDDEN for name in switches if hidden == [name] or self._shared(name)}
        used = {(host, HIDDEN) for name in found for host in self._hosts(name)}
        for name, vertex in self.vertices.items():
            bus = bus_id(vertex["pci"] or "")
            # A switch that is no PCI function stands in every host that has links to it.
            hosts = self._hosts(name) if vertex["kind"] == "nvswitch" else {self.host.get(name, "")}
            free = used.isdisjoint((host, bus) for host in hosts)
            free = free and (bus != HIDDEN or vertex["kind"] == "nvswitch")
            if bus and free and found.setdefault(name, bus) == bus:
                used |= {(host, bus) for host in hosts}
        taken = {bus for _, bus in used}
        number = 0
        for name, vertex in self.vertices.items():
            if name not in found and vertex["kind"] != "cpu":
                while (invented := f"{number >> 8:04x}:{number & 255:02x}:00.0") in taken:
                    number += 1
                found[name] = invented
                number += 1
        return found

    def _hosts(self, switch: str) -> set[str]:
        ends = (other for other, _ in self.wires[switch] if self.vertices[other]["kind"] == "gpu")
        own = {self.host[switch]} if switch in self.host else set()
        return own | {self.host[gpu] for gpu in ends}

    def _shared(self, switch: str) -> bool:
        """Whether several hosts have links to it: only what is hidden is one for them all."""
        return len(self._hosts(switch)) > 1

    def lines(self) -> Iterator[str]:
        version = "2" if self.xgmi else "1"
        yield _tag(0, "system", {"version": version, "name": self.name}, bool(self.cpus))
        taken: set[tuple[str, str]] = set()
        for cpu in self.cpus:
            attributes = self._cpu(cpu, taken)
            yield _tag(1, "cpu", attributes, bool(self.children[cpu]))
            for child in self.children[cpu]:
                yield from self._pci(2, child)
            if self.children[cpu]:
                yield "  </cpu>"
        if self.cpus:
            yield "</system>"

    def _cpu(self, name: str, taken: set[tuple[str, str]]) -> dict[str, str]:
        vertex, host = self.vertices[name], self.host[name]
        known: dict[str, str] = vertex["attributes"]
        numa = -1 if vertex["numa"] is None else int(vertex["numa"])
        while (host, str(numa)) in taken:  # two nodes of one number, which no file may have
            numa += 1
        taken.add((host, str(numa)))
        attributes = {"host_hash": host} if "host_hash" in known else {}
        attributes["numaid"] = str(numa)
        attributes |= {key: value for key, value in known.items() if key not in attributes}
        return attributes if "arch" in known else attributes | _CPU

    def _pci(self, depth: int, name: str) -> Iterator[str]:
        vertex = self.vertices[name]
        inside = list(self._inside(depth + 1, name))
        if vertex["kind"] == "nic" and not vertex["pci"] and depth == 2:
            yield from self._nic(depth, name)
            return
        yield _tag(depth, "pci", self._pci_attributes(name), bool(inside))
        yield from inside
        if inside:
            yield f"{'  ' * depth}</pci>"

    def _pci_attributes(self, name: str) -> dict[str, str]:
        vertex, wire = self.vertices[name], self.uplink.get(name)
        known: dict[str, str] = vertex["attributes"]
        attributes = {"busid": self.bus[name], "class": self._class(name)}
        attributes |= {key: known[key] for key in _PCI_ORDER[1:] if key in known}
        generation, width = (wire["generation"], wire["width"]) if wire else (None, None)
        attributes["link_speed"] = rates.pcie_speed(generation)
        attributes["link_width"] = str(width or 0)
        words = GPU_ATTRIBUTES if vertex["kind"] == "gpu" else ()
        for key, value in known.items():
            if key not in words and key not in _OWN and not key.startswith(("gpu.", "net")):
                attributes.setdefault(key, value)
        return attributes

    def _inside(self, depth: int, name: str) -> Iterator[str]:
        vertex = self.vertices[name]
        if vertex["kind"] == "gpu":
            yield from self._gpu(depth, name)
        elif vertex["kind"] == "nic":
            yield from self._nic(depth, name)
        elif "pcilink" in vertex["attributes"]:
            for target in map(bus_id, vertex["attributes"]["pcilink"].split(",")):
                if target:
                    yield _tag(depth, "pcilink", {"target": target}, False)
        for child in self.children[name]:
            yield from self._pci(depth, child)

    def _nic(self, depth: int, name: str) -> Iterator[str]:
        nets: dict[int, dict[str, str]] = {}
        for key, value in self.vertices[name]["attributes"].items():
            head, _, rest = key.partition(".")
            number = head.removeprefix("net")
            if head.startswith("net") and number.isdecimal() and rest and len(number) < 4:
                nets.setdefault(int(number), {})[rest] = value
        if nets or not self.vertices[name]["pci"]:
            yield _tag(depth, "nic", {}, bool(nets))
            for _, attributes in sorted(nets.items()):
                yield _tag(depth + 1, "net", attributes, False)
            if nets:
                yield f"{'  ' * depth}</nic>"

    def _gpu(self, depth: int, name: str) -> Iterator[str]:
        if self.bare:
            return
        known: dict[str, str] = self.vertices[name]["attributes"]
        attributes = {key: known[key] for key in GPU_ATTRIBUTES if key in known}
        for key in NUMBERS:
            if key in attributes and not _NUMBER.fullmatch(attributes[key]):
                del attributes[key]
        links = list(self._links(depth + 1, name))
        if not attributes:
            number = str(self.index[name])
            attributes = {"dev": number, "sm": str(self._sm(name)), "rank": number, "gdr": "0"}
        for key, value in known.items():
            word = key.removeprefix("gpu.")
            if key.startswith("gpu.") and word not in GPU_ATTRIBUTES:
                attributes[word] = value
        yield _tag(depth, "gpu", attributes, bool(links))
        yield from links
        if links:
            yield f"{'  ' * depth}</gpu>"

    def _sm(self, name: str) -> int:
        generations = [w["generation"] for _, w in self.wires[name] if w["kind"] == "nvlink"]
        return rates.sm_of(max((g for g in generations if g), default=None))

    def _links(self, depth: int, name: str) -> Iterator[str]:
        known: dict[str, str] = self.vertices[name]["attributes"]
        bundles: dict[tuple[str, str], dict[str, str]] = {}
        counts: dict[tuple[str, str], int] = {}
        rate = 0.0
        for other, wire in self.wires[name]:
            vertex = self.vertices[other]
            if wire["kind"] == "c2c" and vertex["kind"] == "cpu":
                key = ("c2c", "")
                rate += wire["bytes_per_second"] or 0
                bundles.setdefault(key, {})
            elif wire["kind"] in ("nvlink", "xgmi") and vertex["kind"] == "cpu":
                target = bus_id(known.get("cpu_link", "")) or "0000:00:00.0"
                key = ("nvlink", target)
                bundles.setdefault(key, {"target": target, "tclass": "0x068001"})
            elif wire["kind"] in ("nvlink", "xgmi") and vertex["kind"] in ("gpu", "nvswitch"):
                if vertex["kind"] == "gpu" and self.host[other] != self.host[name]:
                    continue  # NCCL looks for a target on the host itself
                key = (wire["kind"], self.bus[other])
                bundles.setdefault(key, {"target": key[1], "tclass": self._class(other)})
            else:
                continue
            counts[key] = min(counts.get(key, 0) + wire["count"], MOST_LINKS)
        for key, words in bundles.items():
            count = {"count": str(counts[key])}
            if key[0] == "c2c":
                each = min(round(rate / counts[key] / 1e6), 999_999_999)
                yield _tag(depth, "c2c", {"bw": str(each)} | count, False)
            else:
                ordered = {"target": words["target"]} | count | {"tclass": words["tclass"]}
                yield _tag(depth, key[0], ordered, False)


def _tag(depth: int, name: str, attributes: dict[str, str], opens: bool) -> str:
    words = "".join(
        f" {key}={quoteattr(value)}"
        for key, value in attributes.items()
        if _NAME.fullmatch(key)
        and not _NO_XML.search(value)
        and len(value.encode()) <= LONGEST_VALUE
    )
    return f"{'  ' * depth}<{name}{words}{'' if opens else '/'}>"

"""NCCL's and RCCL's topology files into documents.

<system> holds one <cpu> for each NUMA node, these the PCI tree: switches, NICs, and GPUs with their
<nvlink>, <xgmi> and <c2c>. Files of clouds name GPUs and NICs without saying more; dumps say all.

Invariants:
1. GPUs come in device order: by rank where every one has its own, else by host and `dev`, else by
   host and bus id. Vertices and wires come in an order that depends on what the file says only.
2. Attributes are kept as they are and never interpreted later: those of <gpu> under their names, or
   as "gpu.NAME" where they are not known, of the k-th <net> as "netK.NAME".
3. What a file says of both ends of a link is one wire.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from weft.topology import _nccl_rates as rates
from weft.topology import _schema
from weft.topology._nccl_wires import Wires
from weft.topology._source import Source
from weft.topology._xml import Element, parse

__all__ = [
    "GPU_ATTRIBUTES", "HIDDEN", "MOST_LINKS", "NUMBERS", "bus_id", "fits", "is_bare_gpu", "read",
]  # fmt: skip

GPU_ATTRIBUTES = ("dev", "sm", "rank", "gdr", "gcn", "arch", "mlopart")
NUMBERS = ("dev", "sm", "rank", "gdr")  # of them, those that are whole numbers
MOST_LINKS = 4096  # between two vertices
HIDDEN = "fffffff:ff:ff.0"  # where a virtual machine, or a rack, does not show its NVSwitches
_GPU_CLASSES = ("0x03", "0x1200", "0x1300")  # display controllers, AMD's accelerators
_GPU_VENDORS = (None, "0x10de", "0x1002")
_BUS_ID = re.compile(r"(?:([0-9a-f]{1,8}):)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-9a-f])")
_NUMBER = re.compile(r"-?[0-9]{1,9}")
_KNOWN = {"cpu", "pci", "gpu", "nic", "net", "nvlink", "xgmi", "c2c", "pcilink"}
_LINKS = ("nvlink", "xgmi", "c2c")


@dataclass
class _Gpu:
    vertex: dict[str, Any]
    host: int
    cpu: str
    element: Element | None
    line: int


@dataclass
class _State:
    """What the pass over the tree has found."""

    source: Source
    several_hosts: bool
    hosts: dict[str, int]
    vertices: dict[str, dict[str, Any]] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    gpus: list[_Gpu] = field(default_factory=list)
    cpus: list[tuple[int, str]] = field(default_factory=list)
    by_bus: dict[tuple[int, str], str] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    left_out: int = 0
    wires: Wires = field(default_factory=Wires)

    def fail(self, element: Element, reason: str) -> NoReturn:
        raise self.source.error(element.line, reason)

    def name(self, host: int, kind: str, what: str) -> str:
        return f"host{host}/{kind}:{what}" if self.several_hosts else f"{kind}:{what}"


def read(source: Source) -> dict[str, Any]:
    """The document that the file says, without devices and links. Raises TopologyError."""
    root = parse(source)
    _check_root(source, root)
    cpus = [child for child in root.children if child.name == "cpu"]
    hosts: dict[str, int] = {}
    for cpu in cpus:
        hosts.setdefault(cpu.attributes.get("host_hash", ""), len(hosts))
    state = _State(source, len(hosts) > 1, hosts)
    state.unknown |= {child.name for child in root.children} - {"cpu"}
    for cpu in cpus:
        _read_cpu(state, cpu)
    _sort_gpus(state)
    for gpu in state.gpus:
        _read_links(state, gpu)
    return _document(state, root.attributes.get("name") or source.stem)


def _check_root(source: Source, root: Element) -> None:
    if root.name == "graphs":
        raise source.error(root.line, "a file of NCCL's graphs, and not of its topology")
    if root.name != "system":
        raise source.error(root.line, f"<{root.name:.40}>, but NCCL's topologies are a <system>")
    version = root.attributes.get("version")
    if version not in ("1", "2"):
        said = "no version" if version is None else f'version "{version:.20}"'
        raise source.error(root.line, f"{said}, but NCCL writes 1 and RCCL 2")


def _add(state: _State, element: Element, vertex: dict[str, Any]) -> str:
    name: str = vertex["id"]
    if name in state.vertices:
        state.fail(element, f'"{name}" is here twice, first in line {state.lines[name]}')
    if len(state.vertices) == _schema.MOST_VERTICES:
        state.fail(element, f"more than {_schema.MOST_VERTICES} vertices")
    state.vertices[name] = vertex
    state.lines[name] = element.line
    return name


def _vertex(name: str, kind: str, called: str, numa: int | None, pci: str | None) -> dict[str, Any]:
    return {
        "id": name, "kind": kind, "name": called, "numa": numa, "pci": pci, "attributes": {},
    }  # fmt: skip


def _read_cpu(state: _State, element: Element) -> None:
    host = state.hosts[element.attributes.get("host_hash", "")]
    said = _number(state, element, "numaid")
    numa = said if said is not None and said >= 0 else None
    name = state.name(host, "cpu", "-1" if numa is None else str(numa))
    vertex = _vertex(name, "cpu", _cpu_name(numa, element.attributes), numa, None)
    vertex["attributes"] = {k: v for k, v in element.attributes.items() if k != "numaid"}
    _add(state, element, vertex)
    state.cpus.append((host, name))
    nics = 0
    for child in element.children:
        if child.name in ("pci", "gpu"):
            _read_pci(state, child, host, name, name)
        elif child.name == "nic":
            nic = state.name(host, "nic", f"{name.rpartition(':')[2]}/{nics}")
            nics += 1
            _read_nic(state, child, child, host, name, nic)
        else:
            state.unknown.add(child.name)


def _cpu_name(numa: int | None, attributes: dict[str, str]) -> str:
    vendors = {"GenuineIntel": "Intel ", "AuthenticAMD": "AMD "}
    vendor = vendors.get(attributes.get("vendor", ""), "")
    return f"{vendor}NUMA {'?' if numa is None else numa}"


def _read_pci(state: _State, element: Element, host: int, cpu: str, parent: str) -> None:
    bus = _bus_id(state, element, "busid")
    kind = element.attributes.get("class", "").lower()
    children = {child.name for child in element.children}
    state.unknown |= children - _KNOWN
    if element.name == "gpu" or "gpu" in children:
        _read_gpu(state, element, host, cpu, parent, bus)
    elif "nic" in children or fits("nic", kind):
        state.left_out += sum(child.name == "pci" for child in element.children)
        nic = next((child for child in element.children if child.name == "nic"), None)
        _read_nic(state, element, nic, host, parent, state.name(host, "nic", bus))
    elif is_bare_gpu(element.attributes) and "pci" not in children:
        _read_gpu(state, element, host, cpu, parent, bus)
    elif fits("nvswitch", kind):
        _plug(state, element, host, parent, "nvswitch", bus)
    elif fits("pcie_switch", kind) or "pci" in children:
        name = _plug(state, element, host, parent, "pcie_switch", bus)
        targets = [_bus_id(state, c, "target") for c in element.children if c.name == "pcilink"]
        if targets:
            state.vertices[name]["attributes"]["pcilink"] = ",".join(targets)
        for child in element.children:
            if child.name == "pci":
                _read_pci(state, child, host, cpu, name)
    else:
        state.left_out += 1


def fits(kind: str, pci_class: str) -> bool:
    """Whether a PCI function of that class is a vertex of that kind, by its class alone."""
    starts: dict[str, tuple[str, ...]]
    starts = {"nvswitch": ("0x0680",), "nic": ("0x02",), "pcie_switch": ("0x0604",)}
    starts["gpu"] = _GPU_CLASSES
    return pci_class.lower().startswith(starts[kind]) or (kind == "pcie_switch" and not pci_class)


def is_bare_gpu(attributes: Mapping[str, str]) -> bool:
    """Whether a PCI function without <gpu> is one, and not the display of a board's controller."""
    return fits("gpu", attributes.get("class", "")) and attributes.get("vendor") in _GPU_VENDORS


_SHORT = {"gpu": "gpu", "nvswitch": "nvs", "pcie_switch": "pci", "nic": "nic"}
_CALLED = {"gpu": "GPU", "nvswitch": "NVSwitch", "pcie_switch": "PCIe switch", "nic": "NIC"}


def _plug(
    state: _State, element: Element, host: int, parent: str, kind: str, bus: str, name: str = ""
) -> str:
    """Add the vertex of a PCI function, and its wire to what it is plugged into."""
    name = name or state.name(host, _SHORT[kind], bus)
    numa = state.vertices[parent]["numa"]
    vertex = _vertex(name, kind, _CALLED[kind], numa, bus)
    own = ("busid", "link_speed", "link_width")
    vertex["attributes"] = {k: v for k, v in element.attributes.items() if k not in own}
    if (host, bus) in state.by_bus:
        first = state.lines[state.by_bus[host, bus]]
        state.fail(element, f"busid {bus} is here twice, first in line {first}")
    _add(state, element, vertex)
    state.by_bus[host, bus] = name
    width = _number(state, element, "link_width") or None
    if width is not None and not 1 <= width <= 64:
        state.fail(element, f"link_width {width} is no number of lanes")
    try:
        generation = rates.pcie_generation(element.attributes.get("link_speed", ""))
    except ValueError as error:
        state.fail(element, f"link_speed: {error}")
    rate = rates.pcie_rate(generation, width)
    state.wires.add(parent, name, "pcie", generation=generation, width=width, rate=rate)
    return name


def _read_gpu(state: _State, element: Element, host: int, cpu: str, parent: str, bus: str) -> None:
    gpus = [child for child in element.children if child.name == "gpu"]
    if element.name == "gpu":
        gpus = [element]
    if len(gpus) > 1:
        state.fail(gpus[1], f"a second <gpu> in the PCI function {bus}")
    if any(child.name == "pci" for child in element.children):
        state.fail(element, f"PCI functions below the GPU {bus}")
    outer = element if element.name == "pci" else Element("pci", {}, element.line)
    name = _plug(state, outer, host, parent, "gpu", bus)
    vertex = state.vertices[name]
    gpu = gpus[0] if gpus else None
    if gpu is not None:
        state.unknown |= {child.name for child in gpu.children} - _KNOWN
        for key, value in gpu.attributes.items():
            if key != "busid":
                vertex["attributes"][key if key in GPU_ATTRIBUTES else f"gpu.{key}"] = value
    vertex["name"] = rates.gpu_name(vertex["attributes"])
    if len(state.gpus) == _schema.MOST_DEVICES:
        state.fail(element, f"more than {_schema.MOST_DEVICES} GPUs")
    state.gpus.append(_Gpu(vertex, host, cpu, gpu, element.line))


def _read_nic(
    state: _State, element: Element, nic: Element | None, host: int, parent: str, name: str
) -> None:
    if element is nic:  # without a PCI function: a network that is no card, such as a socket
        numa = state.vertices[parent]["numa"]
        _add(state, element, _vertex(name, "nic", "NIC", numa, None))
        state.wires.add(parent, name, "pcie")
    else:
        _plug(state, element, host, parent, "nic", _bus_id(state, element, "busid"), name)
    vertex = state.vertices[name]
    nets = [child for child in nic.children if child.name == "net"] if nic else []
    for k, net in enumerate(nets):
        vertex["attributes"] |= {f"net{k}.{key}": value for key, value in net.attributes.items()}
    called = [net.attributes["name"] for net in nets if "name" in net.attributes]
    if called:
        vertex["name"] = ", ".join(called)[:200]


def _sort_gpus(state: _State) -> None:
    def numbers(key: str) -> list[Any]:
        found = []
        for gpu in state.gpus:
            where = gpu.element or Element("gpu", {}, gpu.line)
            found.append(_number(state, where, key))
        return found

    ranks, devs = numbers("rank"), numbers("dev")
    numbers("sm")  # mistyped ones are found here
    places = [(gpu.host, dev) for gpu, dev in zip(state.gpus, devs, strict=True)]
    keys: list[Any] = [(gpu.host, gpu.vertex["pci"]) for gpu in state.gpus]
    if None not in ranks and len(set(ranks)) == len(ranks):
        keys = ranks
    elif None not in devs and len(set(places)) == len(places):
        keys = places
    order = sorted(range(len(keys)), key=keys.__getitem__)
    state.gpus = [state.gpus[i] for i in order]


def _read_links(state: _State, gpu: _Gpu) -> None:
    for link in gpu.element.children if gpu.element else []:
        if link.name not in _LINKS:
            continue
        count = _number(state, link, "count")
        if count is None or not 1 <= count <= MOST_LINKS:
            state.fail(link, f"count must be a whole number from 1 to {MOST_LINKS}")
        name = gpu.vertex["id"]
        sm = _number(state, gpu.element or link, "sm")
        if link.name == "c2c":
            each = _number(state, link, "bw")
            rate = each * count * 1e6 if each and each > 0 else None
            state.wires.add(gpu.cpu, name, "c2c", count=count, rate=rate, end=name)
            continue
        target = _target(state, gpu, link)
        if link.name == "xgmi":
            each_rate, generation = rates.xgmi(gpu.vertex["attributes"].get("gcn")), None
        else:
            each_rate, generation = rates.nvlink(sm), rates.nvlink_generation(sm)
        rate = None if each_rate is None else each_rate * count
        state.wires.add(
            name, target, link.name, count=count, generation=generation, rate=rate, end=name
        )


def _target(state: _State, gpu: _Gpu, link: Element) -> str:
    """The vertex at the other end of an <nvlink> or <xgmi>."""
    bus = _bus_id(state, link, "target")
    kind = link.attributes.get("tclass", "").lower()
    peer = state.by_bus.get((gpu.host, bus))
    if kind == "0x068001":  # a CPU with NVLink; NCCL takes the nearest
        gpu.vertex["attributes"]["cpu_link"] = bus
        return gpu.cpu
    if peer is not None and state.vertices[peer]["kind"] in ("gpu", "nvswitch"):
        if peer == gpu.vertex["id"]:
            state.fail(link, f"the target {bus} is the GPU itself")
        return peer
    if peer is None and (kind.startswith("0x0680") or (not kind and bus == HIDDEN)):
        # Hosts that do not show their switches share them: a rack of one NVLink domain.
        hidden = bus == HIDDEN
        name = f"nvs:{bus}" if hidden else state.name(gpu.host, "nvs", bus)
        if name not in state.vertices:
            called = "NVSwitches" if hidden else "NVSwitch"
            _add(state, link, _vertex(name, "nvswitch", called, None, None if hidden else bus))
            if not hidden:
                state.by_bus[gpu.host, bus] = name
        return name
    state.fail(link, f"the target {bus} is no GPU and no NVSwitch of this file")


def _document(state: _State, name: str) -> dict[str, Any]:
    gpus = [gpu.vertex for gpu in state.gpus]
    others = [vertex for vertex in state.vertices.values() if vertex["kind"] != "gpu"]
    # Switches that only links name were found in the order of GPUs, and are sorted for that.
    plugged = [v for v in others if v["kind"] != "nvswitch"]
    switches = sorted((v for v in others if v["kind"] == "nvswitch"), key=lambda v: str(v["id"]))
    vertices = gpus + switches + plugged
    notes = []
    try:
        if state.wires.join_switches({v["id"]: v for v in vertices}, state.several_hosts):
            notes.append("how NVSwitches that share no GPU are joined is not said: taken as free "
                         "of blocking, as NCCL takes them")  # fmt: skip
        state.wires.join_sockets(state.cpus, state.vertices)
        wires = state.wires.listed([v["id"] for v in vertices])
    except OverflowError as error:
        raise state.source.error(1, str(error)) from None
    functions = {v["id"] for v in vertices if v["pci"]}
    unknown = (w for w in wires if w["kind"] == "pcie" and w["bytes_per_second"] is None)
    if any(wire["a"] in functions or wire["b"] in functions for wire in unknown):
        notes.append("some PCIe links have no rate: their speed or width is not said")
    if state.unknown - _KNOWN:
        shown = ", ".join(f"<{tag:.40}>" for tag in sorted(state.unknown - _KNOWN)[:8])
        notes.append(f"elements that are not known were left out: {shown}")
    if state.left_out:
        notes.append(f"PCI functions left out, no GPU, NIC or switch: {state.left_out}")
    return {
        "schema": _schema.SCHEMA, "name": name, "simulated": True, "host": None, "devices": [],
        "links": [], "vertices": vertices, "wires": wires, "measurements": [], "cliques": [],
        "matrix": [], "notes": notes,
    }  # fmt: skip


def _bus_id(state: _State, element: Element, key: str) -> str:
    """The bus id that an attribute is."""
    said = element.attributes.get(key)
    if said is None:
        state.fail(element, f"<{element.name}> without {key}")
    bus = bus_id(said)
    if bus is None:
        state.fail(element, f'{key} "{said:.40}" is no PCI bus id')
    return bus


def bus_id(said: str) -> str | None:
    """`said` in the kernel's spelling, lower case and a domain of four digits; None: it is none."""
    match = _BUS_ID.fullmatch(said.strip().lower())
    if not match:
        return None
    domain, bus, device, function = match.groups(default="0")
    if bus == "ff" and device == "ff" and int(domain, 16) >= 0xFFFFFFF:
        return HIDDEN
    return f"{int(domain, 16):04x}:{bus}:{device}.{function}"


def _number(state: _State, element: Element, key: str) -> int | None:
    """A whole number; None where the attribute is absent or empty."""
    said = element.attributes.get(key, "").strip()
    if not said:
        return None
    if not _NUMBER.fullmatch(said):
        state.fail(element, f'{key} "{said:.40}" is no whole number')
    return int(said)

"""What is known of the machine: devices and how they are wired.

`probe()` looks at this machine, `Topology.preset` gives a known one. Nothing here needs a GPU.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from weft import _weft
from weft._config import setting
from weft._errors import invalid, named, whole_number
from weft.topology._measure import Progress, counters, probe_native

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weft.topology._prediction import Prediction

__all__ = ["Topology", "counters", "default_preset", "presets", "probe"]


class Topology:
    """Devices and the links between them; a value that never changes.

    >>> machine = Topology.preset("hgx-h200", devices=2)
    >>> machine.size, machine.simulated
    (2, True)
    >>> machine.matrix()[0][0]
    'X'
    """

    __slots__ = ("_native",)

    def __init__(self, native: _weft.Topology) -> None:
        """For weft itself; users call `probe()` or `Topology.preset()`."""
        self._native = native

    @classmethod
    def preset(cls, name: str, devices: int | None = None, *, machines: int = 1) -> Topology:
        """A known machine, as `devices` simulated devices of it; None: as many as it has.

        machines: so many of it, whole, on a network that is made up: a 400 Gb/s NIC for each device
        and no more than 1024 devices.

        InvalidArgument for an unknown name (it says which there are), and for more devices than the
        machine has (it says how many). Only a fabric that was given no topology repeats the links
        of its preset for more.

        >>> Topology.preset("gb200-nvl72", machines=8).size
        576
        """
        if not isinstance(name, str):
            raise invalid(f"a preset is named by a text, not {name!r}")
        size = int(_weft.topology_preset_size(name))
        count = whole_number(machines)
        if count is None or count < 1:
            raise invalid(f"machines must be a whole number from 1, not {machines!r}")
        if count > 1:
            if devices is not None:
                raise invalid("several machines are whole: devices= goes with one")
            return cls(_weft.topology_cluster(name, min(count, 1 << 20)))
        if devices is None:
            return cls(_weft.topology_preset(name, size))
        most = max(64, size)
        count = whole_number(devices)
        if count is None or not 1 <= count <= most:
            raise invalid(f"devices must be a whole number from 1 to {most}, not {devices!r}")
        if count > size:
            raise invalid(f'the preset "{name}" has {size} devices, and {count} were asked for')
        return cls(_weft.topology_preset(name, count))

    @classmethod
    def from_json(cls, text_or_path: str | os.PathLike[str]) -> Topology:
        """A topology of schema `weft.topology/1`: the JSON itself, or the name of a file.

        Devices and links that are not given are worked out from vertices and wires. Raises
        TopologyError "FILE:LINE: reason" for whatever is wrong, of files above 16 MiB too.

        >>> Topology.from_json(Topology.preset("pcie-4").to_json()).size
        4
        """
        from weft.topology import _json, _source

        source = _source.load(text_or_path, "{[")
        return cls(_source.native(_json.read(source), source))

    @classmethod
    def from_nccl_xml(cls, text_or_path: str | os.PathLike[str]) -> Topology:
        """What NCCL or RCCL wrote for NCCL_TOPO_DUMP_FILE, or reads by NCCL_TOPO_FILE.

        The XML itself, or the name of a file. Rates are line rates. Raises TopologyError
        "FILE:LINE: reason" as from_json does.

        >>> switch = 'target="0000:c4:00.0" count="12" tclass="0x068000"'
        >>> gpu = '<pci busid="0000:%s:00.0"><gpu dev="%d" sm="80"><nvlink %s/></gpu></pci>'
        >>> text = gpu % ("07", 0, switch) + gpu % ("0f", 1, switch)
        >>> text = f'<system version="1"><cpu numaid="0">{text}</cpu></system>'
        >>> Topology.from_nccl_xml(text).matrix()
        [['X', 'NV12'], ['NV12', 'X']]
        """
        from weft.topology import _nccl_read, _source

        source = _source.load(text_or_path, "<")
        return cls(_source.native(_nccl_read.read(source), source))

    @property
    def name(self) -> str:
        """What the machine is called."""
        return str(self._native.name)

    @property
    def size(self) -> int:
        """How many devices it has; 0 on a machine without a GPU."""
        return int(self._native.size)

    @property
    def simulated(self) -> bool:
        """Whether it is a preset, whose figures are nominal, and not this machine."""
        return bool(self._native.simulated)

    @property
    def notes(self) -> list[str]:
        """What could not be found out, and why."""
        return list(self._native.notes)

    def matrix(self) -> list[list[str]]:
        """size x size cells as `nvidia-smi topo -m` prints them: "X", "NV18", "PIX", ... "SYS"."""
        return [list(row) for row in self._native.matrix()]

    def nodes(self) -> list[dict[str, Any]]:
        """One dict a device: device, name, numa, pci, uuid. What is not known is None."""
        return [dict(node) for node in self._native.nodes()]

    def peer_access(self) -> list[list[bool]]:
        """size x size: may the first device read and write the second's memory?"""
        return [list(row) for row in self._native.peer_access()]

    def document(self) -> dict[str, Any]:
        """All that is known, links of every pair too, as a dict of schema `weft.topology/1`."""
        return self._native.document()

    def to_json(self) -> str:
        """JSON, schema `weft.topology/1`. Seconds and bytes per second; unknown is null.

        Of more than 128 devices, links and matrix are empty where they follow from vertices and
        wires: from_json works them out. TopologyError where more than 16 MiB would have to be
        written, which from_json would not read.

        >>> Topology.preset("gb200-nvl72", machines=8).to_json().count('"from"')
        0
        """
        from weft.topology import _json

        return _json.write(self._native.document(derived=self.size <= _json.MOST_LISTED))

    def to_nccl_xml(self) -> str:
        """XML that NCCL reads by NCCL_TOPO_FILE; RCCL, where there is xGMI.

        Raises TopologyError where only links are known and not what is plugged into what.
        """
        from weft.topology import _nccl_write

        document = self.document()
        if document["devices"] and not document["vertices"]:
            raise named(_weft.TopologyError(f"{self.name}: the graph is not known"), "topology")
        return _nccl_write.write(document)

    def to_dot(self) -> str:
        """Graphviz: a cluster for each NUMA node, NVSwitches as nodes, edges with their rates.

        >>> '"NV12 · 257 GB/s"' in Topology.preset("pair-nvlink").to_dot()
        True
        """
        from weft.topology import _dot

        return _dot.write(self.document())

    def to_markdown(self) -> str:
        """Devices, matrix and what was measured, as tables of Markdown."""
        from weft.topology import _markdown

        return _markdown.write(self.document())

    def to_prometheus(self, counters: Mapping[str, Any] | None = None) -> str:
        """Rates of the links, nominal and measured, in Prometheus' text format.

        counters: what `weft.topology.counters()` gave, for NVLinks' bytes and errors as well.

        >>> text = Topology.preset("pair-nvlink").to_prometheus()
        >>> 'weft_topology_link_peer_access{from="0",to="1",path="NV12"} 1' in text
        True
        """
        from weft.topology import _prometheus

        return _prometheus.write(self.document(), counters)

    def to_svg(self) -> str:
        """A picture: the graph and a heat map of the links. ImportError without matplotlib."""
        from weft.topology import _picture

        return _picture.draw(self.document(), "svg").decode()

    def to_png(self) -> bytes:
        """The picture of to_svg as PNG. ImportError without matplotlib."""
        from weft.topology import _picture

        return _picture.draw(self.document(), "png")

    def _repr_html_(self) -> str:
        """Notebooks show this: self-contained, without a script."""
        from weft.topology import _html

        return _html.write(self.document())

    def cliques(self) -> list[list[int]]:
        """The maximal sets of devices of which every two are joined by NVLink (xGMI, C2C), sorted.

        On a machine without such links: by its nearest class of PCIe paths. Pairs without peer
        access and quarantined ones are not joined; a device that is joined with none is a set of
        its own.

        >>> Topology.preset("dgx-1v").cliques()
        [[0, 1, 2, 3], [0, 4], [1, 5], [2, 6], [3, 7], [4, 5, 6, 7]]
        """
        return [list(clique) for clique in self._native.cliques()]

    def rings(self, k: int = 1) -> list[list[int]]:
        """At most `k` rings through all devices, best first: each sends to the next, the last to
        the first.

        The best is the one whose slowest link is fastest; of several the one with the least
        latency, then the first in order. Those after it are the best over the pairs of devices that
        the earlier ones leave. Exact up to 16 devices; above, a good ring is found by a heuristic
        (`ring_details` says whether it is known to be the best). Empty if there is no ring.
        InvalidArgument for a k that is not a whole number from 1.

        >>> Topology.preset("dgx-1v").rings()  # over double NVLinks alone
        [[0, 3, 2, 1, 5, 6, 7, 4]]
        """
        return [list(ring["devices"]) for ring in self.ring_details(k)]

    def ring_details(self, k: int = 1) -> list[dict[str, Any]]:
        """The rings of `rings`, a dict each.

        devices; bytes_per_second of its slowest link, which is `bottleneck`, a pair;
        bytes_per_second_together, while all of these rings run at once: direct wires are each
        ring's own, but links through a switch, over PCIe or a network share the ports of their
        devices; latency_seconds once round; proven, whether no ring can have a faster slowest link.
        What is not known is None.

        >>> first, second = Topology.preset("hgx-h200").ring_details(2)
        >>> first["bytes_per_second"] / 1e9, first["bytes_per_second_together"] / 1e9
        (386.0, 193.0)
        """
        return [dict(ring) for ring in self._native.rings(_count("k", k))]

    def trees(self, k: int = 1, *, children: int | None = 2) -> list[list[int | None]]:
        """At most `k` trees over all devices that share no pair: the parent of each device, None
        at the root.

        children: the most a device may have; None: any number. The first tree is rooted at device
        0; later ones have leaves where earlier ones have none. The slowest link of a tree is as
        fast as can be for children=None, else by a heuristic. Empty if there is none.
        InvalidArgument for numbers that are not whole and from 1.

        >>> Topology.preset("hgx-h200").trees()
        [[None, 0, 0, 1, 1, 2, 2, 3]]
        """
        most = 0 if children is None else _count("children", children)
        return [
            [None if parent < 0 else parent for parent in tree["parents"]]
            for tree in self._native.trees(_count("k", k), most)
        ]

    def groups(self) -> list[list[int]]:
        """The devices in sets that their fastest links join, as hierarchical algorithms use them.

        Links within 10 % of the fastest are alike. One set, if all are joined.

        >>> Topology.preset("pcie-4").groups()
        [[0, 1], [2, 3]]
        """
        return [list(group) for group in self._native.groups()]

    def predict(self, schedule: str, bytes: int, *, group_size: int | None = None) -> Prediction:
        """What an all-reduce of `bytes` a device takes here, one rank on each device.

        schedule: the name of an algorithm of `Fabric.all_reduce`, not "auto". group_size: of
        "hierarchical", as there. The links' latencies and rates are those of this topology: nominal
        ones, or what was measured with the engine that the algorithm uses. The sums themselves take
        no time. A machine that is not simulated also pays 3.2 us for the launch of a kernel, as
        measured on two H200.

        Raises InvalidArgument, and TopologyError where the rate of a link that is needed is not
        known.

        >>> machine = Topology.preset("hgx-h200")
        >>> ring = machine.predict("ring", 1 << 30)
        >>> ring.lower_bound_seconds <= ring.seconds < 0.01
        True
        >>> machine.predict("one_shot", 1 << 30).seconds > 3 * ring.seconds
        True
        """
        from weft.topology._prediction import predict

        return predict(self._native, schedule, bytes, group_size)

    def __repr__(self) -> str:
        kind = "simulated" if self.simulated else "not simulated"
        return f"<weft.topology.Topology {self.name!r}, {self.size} devices, {kind}>"


def _count(name: str, value: object) -> int:
    """A whole number from 1; more than a thousand are as good as a thousand."""
    count = whole_number(value)
    if count is None or count < 1:
        raise invalid(f"{name} must be a whole number from 1, not {value!r}")
    return min(count, 1000)


def probe(
    measure: bool = False,
    *,
    verify: bool = True,
    progress: Progress | None = None,
    budget: float | None = None,
) -> Topology:
    """This machine's CUDA devices and links. Without a driver it is empty and its notes say why.

    verify: bytes are moved between every two devices, once a process, in both directions, by kernel
    store, kernel load and copy engine. A pair whose bytes do not arrive is quarantined: it has no
    peer access, `verified` is False, and a note says what was found. Without, peer access is what
    the driver says.
    measure: bandwidth of every ordered pair by copy engine, SM push and SM pull, one direction and
    both, at several sizes; latency by a flag that goes there and back, halved; all pairs at once;
    host memory to devices and back. Links then have the measured rates and latencies. Where there
    is no device nothing is measured, and a note says so; simulated devices have the figures of
    their preset, which are predictions.
    progress: called as progress(done, next) between measurements, with the share done and what
    comes; what it raises ends the measurement and comes out here, as does Ctrl-C.
    budget: seconds that the measurement is planned to take; None: 5 for up to two devices, 2.5 a
    device for more.

    Blocks, with the GIL released. Not while a stream of this process is being captured. Raises
    InvalidArgument for measure=True with verify=False and odd arguments, ConfigError where
    CUDA_LAUNCH_BLOCKING is set and measure=True, OutOfMemory where a device has no memory for the
    smallest transfers.

    >>> probe().size >= 0
    True
    """
    return Topology(probe_native(measure, verify, progress, budget))


def default_preset() -> str:
    """The machine that simulated devices stand for where nobody chose one: WEFT_SIM_TOPOLOGY.

    Raises ConfigError, which names the variable, if there is no such preset.

    >>> default_preset() in presets()
    True
    """
    name = str(setting("WEFT_SIM_TOPOLOGY"))
    if name not in presets():
        known = ", ".join(presets())
        message = f"WEFT_SIM_TOPOLOGY is '{name}', but must be the name of a preset: {known}"
        raise named(_weft.ConfigError(message), "config")
    return name


def presets() -> list[str]:
    """The names that `Topology.preset` takes.

    >>> "hgx-h200" in presets()
    True
    """
    return list(_weft.topology_presets())

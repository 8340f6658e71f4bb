"""The wires that a topology file of NCCL speaks of, and those that it takes for granted."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from weft.topology import _nccl_rates as rates
from weft.topology import _schema

__all__ = ["Wires"]

_ORDER = {kind: i for i, kind in enumerate(_schema.WIRE_KINDS)}


@dataclass
class _Wire:
    kind: str
    generation: int | None
    width: int | None
    # What each end says of it: (links, bytes per second). One end may say nothing.
    said: dict[str, tuple[int, float | None]] = field(default_factory=dict)


class Wires:
    """Wires between vertices, by their ids; one for each pair and kind."""

    def __init__(self) -> None:
        self._wires: dict[tuple[str, str, str], _Wire] = {}

    def add(
        self,
        a: str,
        b: str,
        kind: str,
        *,
        count: int = 1,
        generation: int | None = None,
        width: int | None = None,
        rate: float | None = None,
        end: str = "",
    ) -> None:
        """What `end` says of its wire to the other one; said twice, it is so many links more."""
        key = (min(a, b), max(a, b), kind)
        if key not in self._wires and len(self._wires) == _schema.MOST_WIRES:
            raise OverflowError(f"more than {_schema.MOST_WIRES} wires")
        wire = self._wires.setdefault(key, _Wire(kind, generation, width))
        links, sum_of_rates = wire.said.get(end, (0, 0.0))
        total = None if rate is None or sum_of_rates is None else sum_of_rates + rate
        wire.said[end] = (links + count, total)

    def join_sockets(self, cpus: list[tuple[int, str]], vertices: dict[str, Any]) -> None:
        """Every two NUMA nodes of a host, which NCCL holds to be joined."""
        by_host: dict[int, list[str]] = {}
        for host, name in cpus:
            by_host.setdefault(host, []).append(name)
        for names in by_host.values():
            for a, b in combinations(names, 2):
                both = [rates.socket(vertices[name]["attributes"]) for name in (a, b)]
                known = [rate for rate in both if rate is not None]
                self.add(a, b, "socket", rate=min(known) if len(known) == 2 else None)

    def join_switches(self, vertices: dict[str, Any], several_hosts: bool) -> bool:
        """NVSwitches of a host that share no GPU, e.g. of two baseboards; whether there are any."""
        links: dict[str, dict[str, tuple[int, float | None]]] = {}
        for (a, b, kind), wire in self._wires.items():
            for switch, gpu in ((a, b), (b, a)):
                ends = vertices[switch]["kind"], vertices[gpu]["kind"]
                if kind == "nvlink" and ends == ("nvswitch", "gpu"):
                    links.setdefault(switch, {})[gpu] = next(iter(wire.said.values()))
        groups: dict[str, list[list[str]]] = {}
        for group in _sharing(links):
            host = group[0].partition("/")[0] if several_hosts else ""
            groups.setdefault(host, []).append(group)
        joined = False
        for first, *rest in groups.values():
            for group in rest:
                joined = True
                for i, switch in enumerate(group):
                    said = links[switch].values()
                    known = [rate for _, rate in said if rate is not None]
                    self.add(
                        first[i % len(first)],
                        switch,
                        "nvlink",
                        count=min(sum(count for count, _ in said), 4096),
                        rate=sum(known) if len(known) == len(said) else None,
                    )
        return joined

    def listed(self, ids: list[str]) -> list[dict[str, Any]]:
        """The wires as a document has them, in the order of their ends among `ids`."""
        place = {name: i for i, name in enumerate(ids)}
        found = []
        for (one, other, kind), wire in self._wires.items():
            a, b = sorted((one, other), key=place.__getitem__)
            # Where the ends disagree, what both have.
            counts, all_rates = zip(*wire.said.values(), strict=True)
            known = [rate for rate in all_rates if rate is not None]
            count = min(counts)
            if count > 4096:
                raise OverflowError(f'more than 4096 links between "{a}" and "{b}"')
            entry = {
                "a": a, "b": b, "kind": kind, "count": count, "generation": wire.generation,
                "width": wire.width,
                "bytes_per_second": min(known) if len(known) == len(all_rates) else None,
                "latency_seconds": None,
            }  # fmt: skip
            found.append(entry)
        key = lambda wire: (place[wire["a"]], place[wire["b"]], _ORDER[wire["kind"]])  # noqa: E731
        return sorted(found, key=key)


def _sharing(links: dict[str, Any]) -> list[list[str]]:
    """Switches in groups that are joined by GPUs, each sorted, in the order of their first ones."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for switch, gpus in links.items():
        for gpu in gpus:
            parent[root(gpu)] = root(switch)
    groups: dict[str, list[str]] = {}
    for switch in sorted(links):
        groups.setdefault(root(switch), []).append(switch)
    return list(groups.values())

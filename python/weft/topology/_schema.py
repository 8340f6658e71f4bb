"""What a document of schema weft.topology/1 is: fields, types, limits, and what must agree.

`complete(value)` takes what the json module made of a text, and gives a document with every field
of the schema, in the schema's order; fields that are missing and may be are null or empty. What is
wrong is a `Fault` with the path to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

__all__ = [
    "HIGHEST_RATE", "LINK_KINDS", "MOST_DEVICES", "MOST_VERTICES", "MOST_WIRES", "SCHEMA",
    "VERTEX_KINDS", "WIRE_KINDS", "Duplicate", "Fault", "complete",
]  # fmt: skip

SCHEMA = "weft.topology/1"
MOST_VERTICES = 4096
MOST_WIRES = 65536
MOST_DEVICES = 1024
MOST_MEASUREMENTS = 65536
LONGEST_TEXT = 4096  # characters of a name, an id, a note
HIGHEST_RATE = 1e15  # bytes per second; a thousand times what a package of 2026 moves
LONGEST_LATENCY = 10.0  # seconds

VERTEX_KINDS = (
    "gpu", "nvswitch", "pcie_switch", "host_bridge", "cpu", "nic", "network_switch",
)  # fmt: skip
WIRE_KINDS = ("nvlink", "xgmi", "c2c", "pcie", "bus", "socket", "network")
LINK_KINDS = (
    "nvlink", "xgmi", "c2c", "pix", "pxb", "phb", "node", "sys", "network", "unknown",
)  # fmt: skip

Path = tuple[str | int, ...]
Check = Callable[[Any, Path], Any]
_REQUIRED = object()


class Fault(Exception):
    """Something is wrong at `path`, a way of keys and indices into the document."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(reason)
        self.path, self.reason = path, reason


class Duplicate:
    """Stands for an object that has `key` twice, which json itself would let pass."""

    def __init__(self, key: str) -> None:
        self.key = key


def _shown(value: object) -> str:
    if isinstance(value, Duplicate):
        return "an object"
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value"}
    if type(value) in names:
        return names[type(value)]
    return "null" if value is None else "a number"


def _text(value: Any, path: Path) -> str:
    if not isinstance(value, str):
        raise Fault(path, f"must be a text, not {_shown(value)}")
    if len(value) > LONGEST_TEXT:
        raise Fault(path, f"a text of more than {LONGEST_TEXT} characters")
    if not value.isprintable() and any(0xD800 <= ord(c) < 0xE000 or ord(c) < 32 for c in value):
        raise Fault(path, "a text with a control character or a lone surrogate")
    return value


def _name(value: Any, path: Path) -> str:
    if not _text(value, path):
        raise Fault(path, "must not be empty")
    return str(value)


def _truth(value: Any, path: Path) -> bool:
    if not isinstance(value, bool):
        raise Fault(path, f"must be true or false, not {_shown(value)}")
    return value


def _whole(least: int, most: int) -> Check:
    def check(value: Any, path: Path) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Fault(path, f"must be a whole number, not {_shown(value)}")
        if not least <= value <= most:
            raise Fault(path, f"must be from {least} to {most}, not {value}")
        return value

    return check


def _real(most: float, what: str, *, zero: bool = False) -> Check:
    def check(value: Any, path: Path) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Fault(path, f"must be a number, not {_shown(value)}")
        if not math.isfinite(value):
            raise Fault(path, f"{what} must be finite")
        if value < 0 or (value == 0 and not zero):
            least = "at least 0" if zero else "above 0"
            raise Fault(path, f"{what} must be {least}, not {value:g}")
        if value > most:
            raise Fault(path, f"{what} must be at most {most:g}, not {value:g}")
        return float(value)

    return check


def _one_of(allowed: Sequence[str]) -> Check:
    def check(value: Any, path: Path) -> str:
        if not isinstance(value, str) or value not in allowed:
            shown = f'"{value:.60}"' if isinstance(value, str) else _shown(value)
            raise Fault(path, f"must be one of {', '.join(allowed)}, not {shown}")
        return value

    return check


def _or_null(check: Check) -> Check:
    return lambda value, path: None if value is None else check(value, path)


def _list(item: Check, most: int) -> Check:
    def check(value: Any, path: Path) -> list[Any]:
        if not isinstance(value, list):
            raise Fault(path, f"must be a list, not {_shown(value)}")
        if len(value) > most:
            raise Fault((*path, most), f"more than {most} {path[-1]}")
        return [item(entry, (*path, i)) for i, entry in enumerate(value)]

    return check


def _object(fields: dict[str, tuple[Check, Any]]) -> Check:
    def check(value: Any, path: Path) -> dict[str, Any]:
        members = _members(value, path)
        for key in members:
            if key not in fields:
                raise Fault((*path, key), f'no field of this schema: "{key:.60}"')
        result = {}
        for key, (rule, missing) in fields.items():
            if key in members:
                result[key] = rule(members[key], (*path, key))
            elif missing is _REQUIRED:
                raise Fault(path, f'"{key}" is missing')
            else:
                result[key] = missing() if callable(missing) else missing
        return result

    return check


def _members(value: Any, path: Path) -> dict[str, Any]:
    if isinstance(value, Duplicate):
        raise Fault((*path, value), f'"{value.key:.60}" stands here twice')  # type: ignore[arg-type]
    if not isinstance(value, dict):
        raise Fault(path, f"must be an object, not {_shown(value)}")
    return value


def _attributes(value: Any, path: Path) -> dict[str, str]:
    members = _members(value, path)
    if len(members) > 256:
        raise Fault(path, "more than 256 attributes")
    for key in members:
        _text(key, path)
    return {key: _text(text, (*path, key)) for key, text in members.items()}


_RATE = _or_null(_real(HIGHEST_RATE, "a rate in bytes per second"))
_LATENCY = _or_null(_real(LONGEST_LATENCY, "a latency in seconds", zero=True))
_NUMA = _or_null(_whole(0, 1 << 20))
_INDEX = _whole(0, MOST_DEVICES - 1)
# A link may be the sum of as many wires as there can be.
_LINK_COUNT = _whole(0, 4096 * MOST_WIRES)
_LINK_RATE = _or_null(_real(HIGHEST_RATE * MOST_WIRES, "a rate in bytes per second"))
_LINK_LATENCY = _or_null(_real(LONGEST_LATENCY * MOST_WIRES, "a latency in seconds", zero=True))
_NULLABLE_TEXT = _or_null(_text)

_HOST = _object({
    "cpu": (_NULLABLE_TEXT, None),
    "numa_nodes": (
        _list(_object({"id": (_whole(0, 1 << 20), _REQUIRED), "cpus": (_text, _REQUIRED)}), 4096),
        list,
    ),
    "iommu": (_or_null(_one_of(("off", "passthrough", "on"))), None),
    "driver": (_NULLABLE_TEXT, None),
    "cuda": (_NULLABLE_TEXT, None),
})  # fmt: skip
_DEVICE = _object({
    "device": (_name, _REQUIRED), "name": (_text, _REQUIRED), "numa": (_NUMA, None),
    "pci": (_NULLABLE_TEXT, None), "uuid": (_NULLABLE_TEXT, None),
})  # fmt: skip
_LINK = _object({
    "from": (_INDEX, _REQUIRED), "to": (_INDEX, _REQUIRED),
    "kind": (_one_of(LINK_KINDS), _REQUIRED), "cell": (_text, _REQUIRED), "count": (_LINK_COUNT, 0),
    "via": (_or_null(_one_of(("direct", "switch"))), None), "peer_access": (_truth, _REQUIRED),
    "verified": (_or_null(_truth), None), "bytes_per_second": (_LINK_RATE, None),
    "latency_seconds": (_LINK_LATENCY, None), "reason": (_NULLABLE_TEXT, None),
})  # fmt: skip
_VERTEX = _object({
    "id": (_name, _REQUIRED), "kind": (_one_of(VERTEX_KINDS), _REQUIRED), "name": (_text, str),
    "numa": (_NUMA, None), "pci": (_NULLABLE_TEXT, None), "attributes": (_attributes, dict),
})  # fmt: skip
_WIRE = _object({
    "a": (_name, _REQUIRED), "b": (_name, _REQUIRED), "kind": (_one_of(WIRE_KINDS), _REQUIRED),
    "count": (_whole(1, 4096), 1), "generation": (_or_null(_whole(1, 64)), None),
    "width": (_or_null(_whole(1, 64)), None), "bytes_per_second": (_RATE, None),
    "latency_seconds": (_LATENCY, None),
})  # fmt: skip
_MEASUREMENT = _object({
    "from": (_or_null(_INDEX), None), "to": (_or_null(_INDEX), None),
    "what": (_one_of(("bandwidth", "latency", "all_pairs")), _REQUIRED),
    "engine": (_one_of(("copy_engine", "sm_push", "sm_pull", "flag")), _REQUIRED),
    "both_directions": (_truth, _REQUIRED), "bytes": (_whole(0, 1 << 62), _REQUIRED),
    "median": (_real(HIGHEST_RATE, "a median"), _REQUIRED),
    "spread": (_real(HIGHEST_RATE, "a spread", zero=True), _REQUIRED),
    "samples": (_whole(1, 1 << 31), _REQUIRED),
})  # fmt: skip
_DOCUMENT = _object({
    "schema": (_text, _REQUIRED), "name": (_text, _REQUIRED), "simulated": (_truth, True),
    "host": (_or_null(_HOST), None),
    "devices": (_list(_DEVICE, MOST_DEVICES), list),
    "links": (_list(_LINK, MOST_DEVICES * (MOST_DEVICES - 1)), list),
    "vertices": (_list(_VERTEX, MOST_VERTICES), list), "wires": (_list(_WIRE, MOST_WIRES), list),
    "measurements": (_list(_MEASUREMENT, MOST_MEASUREMENTS), list),
    "cliques": (_list(_list(_INDEX, MOST_DEVICES), 65536), list),
    "matrix": (_list(_list(_text, MOST_DEVICES), MOST_DEVICES), list),
    "notes": (_list(_text, 65536), list),
})  # fmt: skip


def complete(value: Any) -> dict[str, Any]:
    """The document that `value` is, with every field. Raises Fault."""
    schema = _members(value, ()).get("schema", "")
    if schema != SCHEMA:
        if isinstance(schema, str) and schema.startswith("weft.topology/"):
            reason = f'this is "{schema:.60}", and this weft reads "{SCHEMA}"'
        else:
            reason = f'no "schema": "{SCHEMA}" here'
        raise Fault(("schema",) if schema else (), reason)
    document: dict[str, Any] = _DOCUMENT(value, ())
    _unique(document["devices"], "devices", "device")
    _unique(document["vertices"], "vertices", "id")
    _agree_on_wires(document)
    _agree_on_devices(document)
    _agree_on_matrix(document)
    return document


def _unique(entries: list[dict[str, Any]], where: str, key: str) -> None:
    seen: set[str] = set()
    for i, entry in enumerate(entries):
        if entry[key] in seen:
            raise Fault((where, i, key), f'two {where} are called "{entry[key]:.60}"')
        seen.add(entry[key])


def _agree_on_wires(document: dict[str, Any]) -> None:
    ids = {vertex["id"] for vertex in document["vertices"]}
    for i, wire in enumerate(document["wires"]):
        for end in ("a", "b"):
            if wire[end] not in ids:
                raise Fault(("wires", i, end), f'no vertex is called "{wire[end]:.60}"')
        if wire["a"] == wire["b"]:
            raise Fault(("wires", i, "b"), f'a wire from "{wire["a"]:.60}" to itself')


def _agree_on_devices(document: dict[str, Any]) -> None:
    size = len(document["devices"])
    gpus = sum(vertex["kind"] == "gpu" for vertex in document["vertices"])
    if gpus > MOST_DEVICES:
        raise Fault(("vertices",), f"more than {MOST_DEVICES} GPUs")
    if document["vertices"] and size and gpus != size:
        raise Fault(("vertices",), f"{gpus} GPUs, but {size} devices")
    links = document["links"]
    seen: set[tuple[int, int]] = set()
    for i, link in enumerate(links):
        ends = (link["from"], link["to"])
        for end, index in zip(("from", "to"), ends, strict=True):
            if index >= size:
                raise Fault(("links", i, end), f"device {index} of {size} devices")
        if ends[0] == ends[1] or ends in seen:
            what = "to itself" if ends[0] == ends[1] else f"to {ends[1]}, a second time"
            raise Fault(("links", i, "to"), f"a link from {ends[0]} {what}")
        seen.add(ends)
    if size and (links or not document["vertices"]) and len(links) != size * (size - 1):
        raise Fault(("links",), f"{len(links)} links, but {size} devices have {size * (size - 1)}")
    count = size or gpus
    for i, entry in enumerate(document["measurements"]):
        for end in ("from", "to"):
            if entry[end] is not None and entry[end] >= count:
                raise Fault(("measurements", i, end), f"device {entry[end]} of {count} devices")
    for i, clique in enumerate(document["cliques"]):
        if len(set(clique)) != len(clique):
            raise Fault(("cliques", i), "a device stands here twice")
        if clique and max(clique) >= count:
            raise Fault(("cliques", i), f"device {max(clique)} of {count} devices")


def _agree_on_matrix(document: dict[str, Any]) -> None:
    matrix, size = document["matrix"], len(document["devices"])
    if not matrix:
        return
    if len(matrix) != size:
        raise Fault(("matrix",), f"{len(matrix)} rows for {size} devices")
    for i, row in enumerate(matrix):
        if len(row) != size:
            raise Fault(("matrix", i), f"{len(row)} cells for {size} devices")
    for link in document["links"]:
        if matrix[link["from"]][link["to"]] != link["cell"]:
            where = ("matrix", link["from"], link["to"])
            raise Fault(where, f'not the cell "{link["cell"]:.60}" of that link')

"""JSON that is no topology: file, line and reason, soon, in bounded memory."""

import json

import pytest

from python.topology.files import refused, two_devices
from weft.topology import Topology

MIB = 1 << 20


def read(text_or_path):
    return Topology.from_json(text_or_path)


def vertex(**changes):
    return {"id": "a", "kind": "gpu"} | changes


def wire(**changes):
    return {"a": "a", "b": "b", "kind": "pcie"} | changes


def device(name):
    return {"device": name, "name": "A GPU"}


def link(a, b, **changes):
    return {"from": a, "to": b, "kind": "pix", "cell": "PIX", "peer_access": True} | changes


DEVICES = [device("sim:0"), device("sim:1")]
LINKS = [link(0, 1), link(1, 0)]
PAIR = {"vertices": [], "wires": [], "devices": DEVICES, "links": LINKS}
MEASUREMENT = {
    "from": 0, "to": 1, "what": "bandwidth", "engine": "copy_engine", "both_directions": False,
    "bytes": 8, "median": 1e9, "spread": 0, "samples": 3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema": "weft.topology/2"}, 'this is "weft.topology/2"'),
        ({"schema": 1}, "no \"schema\""),
        ({"name": None}, "name: must be a text, not null"),
        ({"name": "a\nb"}, "control character"),
        ({"name": "x" * 5000}, "more than 4096 characters"),
        ({"simulated": 1}, "simulated: must be true or false, not a number"),
        ({"nodes": []}, 'no field of this schema: "nodes"'),
        ({"vertices": {}}, "vertices: must be a list, not an object"),
        ({"vertices": [vertex(), 1]}, "vertices[1]: must be an object, not a number"),
        ({"vertices": [vertex(), vertex()]}, 'two vertices are called "a"'),
        ({"vertices": [vertex(id="")]}, "vertices[0].id: must not be empty"),
        ({"vertices": [{"id": "a"}]}, 'vertices[0]: "kind" is missing'),
        ({"vertices": [vertex(kind="toaster")]}, "must be one of gpu, nvswitch"),
        ({"vertices": [vertex(numa=-1)]}, "vertices[0].numa: must be from 0"),
        ({"vertices": [vertex(numa=True)]}, "must be a whole number, not a truth value"),
        ({"vertices": [vertex(attributes={"sm": 90})]}, "attributes.sm: must be a text"),
        ({"wires": [wire(b="c")]}, 'wires[0].b: no vertex is called "c"'),
        ({"wires": [wire(b="a")]}, 'a wire from "a" to itself'),
        ({"wires": [wire(count=0)]}, "wires[0].count: must be from 1 to 4096, not 0"),
        ({"wires": [wire(count=10**30)]}, "must be from 1 to 4096"),
        ({"wires": [wire(count=1.5)]}, "must be a whole number"),
        ({"wires": [wire(bytes_per_second=-1)]}, "must be above 0, not -1"),
        ({"wires": [wire(bytes_per_second=0)]}, "must be above 0, not 0"),
        ({"wires": [wire(bytes_per_second=1e30)]}, "must be at most 1e+15, not 1e+30"),
        ({"wires": [wire(bytes_per_second="fast")]}, "must be a number, not a text"),
        ({"wires": [wire(latency_seconds=1e9)]}, "a latency in seconds must be at most 10"),
        ({"wires": [wire(width=65)]}, "wires[0].width: must be from 1 to 64"),
        (PAIR | {"links": [link(0, 1)]}, "1 links, but 2 devices have 2"),
        (PAIR | {"links": [link(0, 1), link(0, 1)]}, "a link from 0 to 1, a second time"),
        (PAIR | {"links": [link(0, 1), link(1, 1)]}, "a link from 1 to itself"),
        (PAIR | {"links": [link(0, 1), link(2, 0)]}, "device 2 of 2 devices"),
        (PAIR | {"links": [link(0, 1), link(1, 0, via="ether")]}, "must be one of direct, switch"),
        (PAIR | {"devices": [device("sim:0")] * 2}, 'two devices are called "sim:0"'),
        (PAIR | {"devices": [device("sim:0"), device("gpu:1")]}, "gpu:1"),
        (PAIR | {"vertices": [vertex()]}, "1 GPUs, but 2 devices"),
        (PAIR | {"matrix": [["X"]]}, "1 rows for 2 devices"),
        (PAIR | {"matrix": [["X", "SYS"], ["PIX", "X"]]}, 'matrix[0][1]: not the cell "PIX"'),
        (PAIR | {"cliques": [[0, 2]]}, "cliques[0]: device 2 of 2 devices"),
        (PAIR | {"cliques": [[0, 0]]}, "a device stands here twice"),
        ({"measurements": [MEASUREMENT | {"median": 0}]}, "a median must be above 0"),
        ({"measurements": [MEASUREMENT | {"to": 7}]}, "device 7 of 2 devices"),
        ({"measurements": [MEASUREMENT | {"engine": "v8"}]}, "must be one of copy_engine"),
        ({"host": {"iommu": "maybe"}}, "host.iommu: must be one of off, passthrough, on"),
    ],
)  # fmt: skip
def test_what_the_schema_does_not_allow(changes, reason):
    text = two_devices(**changes)
    message = refused(read, text)
    assert reason in message
    line = int(message.split(":")[1])
    named = text.splitlines()[line - 1].partition(":")[0].strip('"')
    # What only the graph as a whole shows has no line of its own.
    assert named in {*changes, "vertices", "{"}


def test_the_line_is_that_of_the_value_itself(tmp_path):
    path = tmp_path / "machine.json"
    document = json.loads(two_devices())
    document["wires"].append(wire(count=-1))
    path.write_text(json.dumps(document, indent=1))
    lines = path.read_text().splitlines()
    wanted = next(i for i, line in enumerate(lines, 1) if '"count": -1' in line)
    assert refused(read, path) == (
        f"{path}:{wanted}: wires[1].count: must be from 1 to 4096, not -1"
    )


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 1, "empty"),
        (" \n\n", 1, "empty"),
        ("{", 1, "no JSON: Expecting property name"),
        ("[]", 1, "must be an object, not a list"),
        ('{\n"schema": "weft.topology/1",\n}', 3, "no JSON"),
        ('{\n"name": "a" "b"}', 2, "no JSON"),
        ('{"schema": "weft.topology/1"} x', 1, "no JSON: Extra data"),
        ('{"schema": "weft.topology/1",\n"name": 1,\n"name": 2}', 3, '"name" stands here twice'),
        ('{"schema": "weft.topology/1",\n\n"name": NaN}', 3, "NaN is no number of JSON"),
        ('{"schema": "weft.topology/1",\n"wires": [-Infinity]}', 2, "-Infinity is no number"),
        ('{"schema": "weft.topology/1",\n"wires": [1e999]}', 2, "1e999 is too large"),
        ('{"schema": "weft.topology/1",\n"wires":\n[' + "9" * 5000 + "]}", 3, "5000 digits"),
        ('{"schema": "weft.topology/1", "name": "\\ud800"}', 1, "lone surrogate"),
        ('{"schema": "weft.topology/1", "name": "\ud800"}', 1, "lone surrogate"),
        ('{"name": "x"}', 1, 'no "schema": "weft.topology/1" here'),
    ],
)  # fmt: skip
def test_what_is_no_json(text, line, reason):
    message = refused(read, text)
    assert message.startswith(f"<text>:{line}: ")
    assert reason in message


@pytest.mark.parametrize("end", range(1, 215, 7))
def test_a_truncated_file(end, tmp_path):
    path = tmp_path / "cut.json"
    path.write_text(two_devices()[:end])
    assert refused(read, path).startswith(f"{path}:")


BIG = {
    "nested": ("[" * (8 * MIB), 'more than 250000 of "{" or "["'),
    "nested objects": ('{"a":' * (3 * MIB), 'more than 250000 of "{" or "["'),
    "a little too deep": ('{"schema": "weft.topology/1", "name": ' + "[" * 90_000, "nested"),
    "many vertices": (
        '{"schema":"weft.topology/1","name":"x","vertices":['
        + ",".join(f'{{"id":"{i}","kind":"gpu"}}' for i in range(100_000))
        + "]}",
        "more than 4096 vertices",
    ),
    "a million objects": ("[" + "{}," * 1_000_000 + "{}]", "more than 250000"),
    "a million nodes": (
        "[" + ",".join(f'{{"id":"{i:x}"}}' for i in range(1_000_000)) + "]",
        "more than 250000",
    ),
    "a million numbers": ("[" + "1," * 5_000_000 + "1]", 'more than 1500000 of ","'),
    "too long": ('{"name": "' + "x" * (16 * MIB) + '"}', "longer than 16 MiB"),
    "one long text": ('{"schema": "weft.topology/1", "name": "' + "x" * (15 * MIB) + '"}', "4096"),
    "a long number": ('{"schema": "weft.topology/1", "name": ' + "1" * (15 * MIB) + "}", "digits"),
    "a long real": ('{"schema": "weft.topology/1", "name": 0.' + "1" * (15 * MIB) + "}", "a text"),
    "a large clique": (
        '{"schema":"weft.topology/1","name":"x","cliques":['
        + ",".join("[" + ",".join(map(str, range(1024))) + "]" for _ in range(1400))
        + "]}",
        "device 1023 of 0 devices",
    ),
    "many devices, few links": (
        '{"schema":"weft.topology/1","name":"x","devices":['
        + ",".join(f'{{"device":"sim:{i}","name":""}}' for i in range(1024))
        + '],"links":[]}',
        "0 links, but 1024 devices",
    ),
    "many devices, many wires": (
        '{"schema":"weft.topology/1","name":"x","vertices":[{"id":"s","kind":"pcie_switch"},'
        + ",".join(f'{{"id":"{i}","kind":"gpu"}}' for i in range(1024))
        + '],"wires":['
        + ",".join(f'{{"a":"s","b":"{i % 1024}","kind":"pcie"}}' for i in range(65536))
        + "]}",
        "1024 GPUs and 65536 wires of PCIe, cpus and networks; at most 16384",
    ),
    "lines": ('{"schema": "weft.topology/1"' + "\n" * (15 * MIB) + "}", '"name" is missing'),
}  # fmt: skip


@pytest.mark.parametrize("kind", BIG)
def test_what_is_enormous(kind, tmp_path):
    path = tmp_path / "big.json"
    text, reason = BIG[kind]
    path.write_text(text)
    message = refused(read, path)
    assert message.startswith(f"{path}:")
    assert reason in message
    assert len(message) < 1000


def test_an_error_at_the_end_of_a_large_file_is_found_soon():
    size = 250
    links = [link(a, b) for a in range(size) for b in range(size) if a != b]
    links[-1]["count"] = "many"
    document = {
        "schema": "weft.topology/1", "name": "x",
        "devices": [device(f"sim:{i}") for i in range(size)], "links": links,
    }  # fmt: skip
    text = json.dumps(document, indent=0)
    message = refused(read, text)
    assert f"links[{len(links) - 1}].count: must be a whole number, not a text" in message
    line = int(message.split(":")[1])
    assert text.splitlines()[line - 1] == '"count": "many"'


def test_a_file_that_is_not_utf8(tmp_path):
    path = tmp_path / "latin.json"
    path.write_bytes(b'{\n"name": "caf\xe9"}')
    assert refused(read, path).startswith(f"{path}:2: not UTF-8")


def test_a_file_that_is_not_there(tmp_path):
    missing = str(tmp_path / "none.json")
    assert refused(read, missing) == f"{missing!r}: cannot be read: No such file or directory"
    assert "cannot be read: Is a directory" in refused(read, tmp_path)
    assert "cannot be read" in refused(read, "a\0b")


def test_a_file_without_an_end():
    assert refused(read, "/dev/zero") == "/dev/zero:1: longer than 16 MiB"


def test_a_cyclic_graph_of_pcie_switches_is_no_trap():
    ring = [{"id": f"s{i}", "kind": "pcie_switch"} for i in range(1000)]
    wires = [wire(a=f"s{i}", b=f"s{(i + 1) % 1000}") for i in range(1000)]
    wires += [wire(a="a", b="s0"), wire(a="b", b="s500")]
    gpus = [vertex(id="a"), vertex(id="b")]
    read_one = Topology.from_json(two_devices(vertices=[*gpus, *ring], wires=wires))
    assert read_one.size == 2
    assert read_one.matrix()[0][1] == "PXB"
    assert Topology.from_nccl_xml(read_one.to_nccl_xml()).size == 2

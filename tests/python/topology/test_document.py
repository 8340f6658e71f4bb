"""The native document of a topology and back, and what is refused on the way."""

import copy
import json

import pytest

import weft
from weft import _weft

PRESETS = weft.topology.presets()

VERTICES = [
    {"id": "a", "kind": "gpu", "name": "A", "numa": 1, "pci": "0000:1b:00.0"},
    {"id": "b", "kind": "gpu", "attributes": {"sm": "90", "rank": "0"}},
    {"id": "s", "kind": "nvswitch"},
]
WIRES = [
    {"a": "a", "b": "s", "kind": "nvlink", "count": 4, "generation": 4, "bytes_per_second": 1e11},
    {"a": "s", "b": "b", "kind": "nvlink", "count": 2, "bytes_per_second": 5e10},
]
MEASUREMENT = {
    "from": 0,
    "to": None,
    "what": "bandwidth",
    "engine": "copy_engine",
    "both_directions": False,
    "bytes": 1 << 26,
    "median": 5.5e10,
    "spread": 1e8,
    "samples": 5,
}


def document(**changes):
    """A complete one: two devices behind a switch."""
    made = {
        "schema": "weft.topology/1",
        "name": "pair",
        "simulated": False,
        "host": {
            "cpu": "Some CPU",
            "numa_nodes": [{"id": 0, "cpus": "0-15"}],
            "iommu": "off",
            "driver": None,
            "cuda": "12.8",
        },
        "devices": [
            {"device": "cuda:0", "name": "A", "numa": 1, "pci": "0000:1b:00.0", "uuid": "GPU-1"},
            {"device": "cuda:1", "name": "B", "numa": None, "pci": None, "uuid": None},
        ],
        "vertices": copy.deepcopy(VERTICES),
        "wires": copy.deepcopy(WIRES),
        "measurements": [dict(MEASUREMENT)],
        "notes": ["numa: not told"],
    }
    made.update(changes)
    return {key: value for key, value in made.items() if value is not ...}


def build(**changes):
    return _weft.topology_from_document(document(**changes))


@pytest.mark.parametrize("name", PRESETS)
def test_the_document_of_a_preset_makes_the_same_topology(name):
    machine = weft.topology.Topology.preset(name)
    made = machine._native.document()
    assert _weft.topology_from_document(made).document() == made
    assert json.loads(machine.to_json()) == made


def test_a_document_holds_all_that_is_known_and_none_for_the_rest():
    made = build().document()
    assert list(made) == [
        *("schema", "name", "simulated", "host", "devices", "links", "vertices", "wires"),
        *("measurements", "cliques", "matrix", "notes"),
    ]
    for key in ("host", "devices", "measurements", "notes", "simulated", "name"):
        assert made[key] == document()[key]
    assert made["vertices"][1]["attributes"] == {"sm": "90", "rank": "0"}
    assert made["vertices"][0]["attributes"] == {}
    assert made["wires"][1]["generation"] is None
    assert made["links"][0] == {
        "from": 0,
        "to": 1,
        "kind": "nvlink",
        "cell": "NV2",
        "count": 2,
        "via": "switch",
        "peer_access": True,
        "verified": None,
        "bytes_per_second": 5e10,
        "latency_seconds": None,
        "reason": "the latency of a wire on the way is not known",
    }
    assert made["cliques"] == [[0, 1]]
    assert made["matrix"] == [["X", "NV2"], ["NV2", "X"]]
    assert _weft.topology_from_document(made).document() == made


def test_text_of_any_script_survives():
    name = 'a "quoted"\n\\name, 織物 \U0001f9f5'
    machine = weft.topology.Topology(build(name=name))
    assert json.loads(machine.to_json())["name"] == name


def test_links_and_devices_that_a_document_leaves_out_are_worked_out():
    alone = build(devices=..., measurements=...).document()
    assert [row["device"] for row in alone["devices"]] == ["sim:0", "sim:1"]
    assert alone["devices"][0]["numa"] == 1
    assert alone["simulated"] is False
    assert build(simulated=..., devices=..., measurements=...).document()["simulated"] is True
    assert alone["links"][1]["cell"] == "NV2"


def test_links_that_a_document_has_are_kept_as_they_are():
    made = build().document()
    made["links"][0] |= {"kind": "pix", "count": 0, "verified": False, "reason": "it lied"}
    again = _weft.topology_from_document(made).document()
    assert again["matrix"] == [["X", "PIX"], ["NV2", "X"]]
    assert again["links"][0]["reason"] == "it lied"
    assert again["cliques"] == [[0], [1]]


def test_a_document_without_a_graph_needs_a_link_for_every_pair():
    made = build(measurements=...).document()
    made |= {"vertices": [], "wires": []}
    assert _weft.topology_from_document(made).document() == made
    made["links"].pop()
    with pytest.raises(weft.TopologyError, match="links: there is none from 1 to 0"):
        _weft.topology_from_document(made)


def wire(**changes):
    return [WIRES[0] | changes]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "weft.topology/2"}, "schema: is .*/2"),
        ({"schema": ...}, "schema: is missing"),
        ({"name": 3}, "name: must be text"),
        ({"name": "\ud800"}, "name: must be text"),
        ({"colour": "red"}, 'has no field "colour"'),
        ({"simulated": 1}, "simulated: must be true or false"),
        ({"host": []}, "host: must be an object"),
        ({"host": {"numa_nodes": [{"id": -1, "cpus": ""}]}}, r"host.numa_nodes\[0\].id: "),
        ({"devices": {}}, "devices: must be a list"),
        ({"devices": [{"device": "cuda:0", "name": "A"}]}, "1 devices, and its graph has 2 GPUs"),
        ({"devices": [{"device": "cuda:0", "name": "A"}] * 2}, r"devices\[1\]: a second device"),
        ({"devices": [{"device": "gpu", "name": "A"}]}, r"devices\[0\].device: "),
        ({"devices": ..., "links": [{}]}, "devices: is missing, and there are links"),
        ({"vertices": [VERTICES[0]] * 2}, r'vertices\[1\]: a second vertex has the id "a"'),
        ({"vertices": [{"id": "a", "kind": "tpu"}]}, r'vertices\[0\].kind: .* "tpu"'),
        ({"vertices": [VERTICES[0] | {"attributes": {"sm": 90}}]}, r"attributes.sm: must be text"),
        ({"vertices": [VERTICES[0] | {"numa": True}]}, r"numa: must be a whole number"),
        ({"wires": wire(b="z")}, r'wires\[0\].b: there is no vertex "z"'),
        ({"wires": wire(b="a")}, r"wires\[0\]: it joins a vertex with itself"),
        ({"wires": wire(kind="rope")}, r'wires\[0\].kind: .* "rope"'),
        ({"wires": wire(count=0)}, r"wires\[0\].count: must be a whole number from 1"),
        ({"wires": wire(count=1 << 80)}, r"wires\[0\].count: must be a whole number from 1"),
        ({"wires": wire(count=1.0)}, r"wires\[0\].count: must be a whole number"),
        ({"wires": wire(bytes_per_second=float("nan"))}, "bytes_per_second: must be finite"),
        ({"wires": wire(bytes_per_second=float("inf"))}, "bytes_per_second: must be finite"),
        ({"wires": wire(bytes_per_second=0)}, "bytes_per_second: must be finite and above 0"),
        ({"wires": wire(bytes_per_second="1e9")}, "bytes_per_second: must be a number"),
        ({"wires": wire(bytes_per_second=10**400)}, "bytes_per_second: must be a number"),
        ({"wires": wire(latency_seconds=-1e-6)}, "latency_seconds: must be finite and not below"),
        ({"measurements": [MEASUREMENT | {"from": 2}]}, r"measurements\[0\].from: "),
        ({"measurements": [MEASUREMENT | {"median": 0}]}, r"measurements\[0\].median: "),
        ({"notes": [None]}, r"notes\[0\]: must be text"),
        ({"vertices": [{}] * 4097}, "vertices: has 4097 entries, and at most 4096"),
    ],
)
def test_what_is_not_as_the_schema_says_is_refused_with_its_place(changes, message):
    with pytest.raises(weft.TopologyError, match=message):
        build(**changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"to": 0}, r"links\[0\]: a device has no link to itself"),
        ({"from": 1, "to": 0}, r"links\[1\]: a second link from 1 to 0"),
        ({"to": 2}, r"links\[0\].to: must be a whole number from 0 to 1"),
        ({"kind": "self"}, r"links\[0\].kind"),
        ({"via": "magic"}, r"links\[0\].via: is direct, switch or null"),
        ({"peer_access": None}, r"links\[0\].peer_access: must be true or false"),
        ({"verified": "yes"}, r"links\[0\].verified: must be true or false"),
        ({"bytes_per_second": -1.0}, r"links\[0\].bytes_per_second"),
        ({"bandwidth": 1.0}, r'links\[0\]: has no field "bandwidth"'),
    ],
)
def test_a_link_that_cannot_be_is_refused_with_its_place(change, message):
    made = build().document()
    made["links"][0] |= change
    with pytest.raises(weft.TopologyError, match=message):
        _weft.topology_from_document(made)


def test_one_device_and_none_are_documents_too():
    one = weft.topology.Topology.preset("hgx-h200", 1)._native.document()
    assert one["links"] == []
    assert one["matrix"] == [["X"]]
    empty = {"schema": "weft.topology/1", "name": "empty"}
    assert _weft.topology_from_document(empty).document()["devices"] == []

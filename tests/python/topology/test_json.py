"""JSON of topologies: exact both ways, and of one mind with the native reader."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft
from python.topology.files import two_devices
from weft import _weft
from weft.topology import Topology, _json, _schema, _source

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
RATES = st.none() | st.floats(1.0, 1e15, allow_subnormal=False)


@st.composite
def graphs(draw):
    ids = draw(st.lists(NAMES, min_size=2, max_size=8, unique=True))
    vertices = [
        {
            "id": name,
            "kind": draw(st.sampled_from(_schema.VERTEX_KINDS)),
            "name": draw(NAMES),
            "numa": draw(st.none() | st.integers(0, 7)),
            "pci": draw(st.none() | NAMES),
            "attributes": draw(st.dictionaries(NAMES, NAMES, max_size=3)),
        }
        for name in ids
    ]
    wires = []
    for _ in range(draw(st.integers(0, 12))):
        a, b = draw(st.permutations(ids))[:2]
        wire = {
            "a": a, "b": b, "kind": draw(st.sampled_from(_schema.WIRE_KINDS)),
            "count": draw(st.integers(1, 18)), "generation": draw(st.none() | st.integers(1, 7)),
            "width": draw(st.none() | st.integers(1, 32)), "bytes_per_second": draw(RATES),
            "latency_seconds": draw(st.none() | st.floats(0, 10)),
        }  # fmt: skip
        wires.append(wire)
    return {"schema": _schema.SCHEMA, "name": draw(NAMES), "vertices": vertices, "wires": wires}


@settings(deadline=None, max_examples=100)
@given(graphs())
def test_any_graph_goes_round_exactly(document):
    topology = Topology.from_json("\n" + json.dumps(document))
    made = topology.document()
    assert made["vertices"] == document["vertices"]
    assert made["wires"] == document["wires"]
    text = topology.to_json()
    assert Topology.from_json(text).document() == made
    assert Topology.from_json(text).to_json() == text
    once = Topology.from_nccl_xml(topology.to_nccl_xml())
    assert once.size == topology.size
    assert Topology.from_nccl_xml(once.to_nccl_xml()).document() == once.document()
    assert topology.to_dot()
    assert topology.to_prometheus()


def test_json_is_one_line_an_entry_and_the_same_each_time():
    topology = Topology.from_json(two_devices())
    text = topology.to_json()
    assert text == topology.to_json()
    assert json.loads(text) == topology.document()
    lines = text.splitlines()
    assert sum('"kind": "gpu"' in line for line in lines) == 2
    assert sum('"from":' in line for line in lines) == 2


@pytest.mark.parametrize("kind", _schema.VERTEX_KINDS)
def test_the_native_reader_knows_every_kind_of_vertex(kind):
    vertices = [{"id": "a", "kind": "gpu"}, {"id": "b", "kind": kind}]
    made = Topology.from_json(two_devices(vertices=vertices)).document()
    assert made["vertices"][1]["kind"] == kind


@pytest.mark.parametrize("kind", _schema.WIRE_KINDS)
def test_the_native_reader_knows_every_kind_of_wire(kind):
    wires = [{"a": "a", "b": "b", "kind": kind}]
    assert Topology.from_json(two_devices(wires=wires)).document()["wires"][0]["kind"] == kind


@pytest.mark.parametrize("kind", _schema.LINK_KINDS)
def test_the_native_reader_knows_every_kind_of_link(kind):
    made = Topology.from_json(two_devices()).document()
    bare = made | {"vertices": [], "wires": [], "matrix": [], "cliques": []}
    for link in bare["links"]:
        link["kind"] = kind
    bare["links"] = [link | {"cell": "x"} for link in bare["links"]]
    links = Topology.from_json(_json.write(bare)).document()["links"]
    assert {link["kind"] for link in links} == {kind}


def test_what_is_missing_is_null_or_follows_from_the_rest():
    made = Topology.from_json(two_devices()).document()
    assert list(made) == list(_schema.complete(made))
    assert made["simulated"] is True
    assert made["host"] is None
    assert made["devices"][0]["device"] == "sim:0"
    assert made["links"][0]["cell"] == "NV2"
    assert made["links"][0]["bytes_per_second"] == 5e10
    assert made["wires"][0]["latency_seconds"] is None


def test_a_text_a_path_and_an_object_with_a_path_are_the_same(tmp_path):
    path = tmp_path / "machine.json"
    path.write_text(two_devices())
    made = [Topology.from_json(one).to_json() for one in (two_devices(), str(path), path)]
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize("value", [None, 1, b"{}", ["{}"]])
def test_what_is_neither_text_nor_path_is_refused(value):
    with pytest.raises(ValueError, match="a text or a path is needed"):
        Topology.from_json(value)


def one_switch(devices):
    vertices = [{"id": f"g{i}", "kind": "gpu"} for i in range(devices)]
    vertices.append({"id": "s", "kind": "nvswitch"})
    wires = [
        {"a": f"g{i}", "b": "s", "kind": "nvlink", "count": 18, "bytes_per_second": 9e11}
        for i in range(devices)
    ]
    return Topology.from_json(two_devices(vertices=vertices, wires=wires))


def with_a_liar(topology):
    """The same with a pair that was found to lie, which no graph says."""
    document = topology.document()
    document["links"][0] |= {"verified": False, "peer_access": False, "reason": "it lied"}
    return Topology(_weft.topology_from_document(document))


@pytest.mark.parametrize("make", [lambda one: one, with_a_liar])
def test_limits_hold_for_what_is_written_of_large_machines(make):
    topology = make(one_switch(240))
    text = topology.to_json()
    assert len(text) < _source.LONGEST
    again = Topology.from_json(text)
    assert again.to_json() == text
    assert again.document() == topology.document()


@pytest.mark.parametrize(("devices", "links"), [(128, 128 * 127), (129, 0)])
def test_links_of_many_devices_that_follow_are_not_written(devices, links):
    written = json.loads(one_switch(devices).to_json())
    assert len(written["links"]) == links
    assert bool(written["matrix"]) == bool(links)
    assert len(written["devices"]) == devices


def test_links_of_many_devices_that_do_not_follow_are_written():
    written = json.loads(with_a_liar(one_switch(129)).to_json())
    assert len(written["links"]) == 129 * 128
    assert written["links"][0]["reason"] == "it lied"
    assert written["matrix"][0][1] == "NV18"


@pytest.mark.parametrize(("name", "machines"), [("gb200-nvl72", 8), ("hgx-h200", 128)])
def test_clusters_go_round_within_the_limit_and_a_second(name, machines):
    topology = Topology.preset(name, machines=machines)
    text = topology.to_json()
    assert len(text.encode()) < _source.LONGEST / 2
    start = time.perf_counter()
    again = Topology.from_json(text)
    took = time.perf_counter() - start
    assert again.to_json() == text
    assert again.document() == topology.document()
    assert took < 5  # a loaded machine, or a sanitizer; alone it is 0.3 s


def test_what_could_not_be_read_again_is_not_written():
    topology = with_a_liar(one_switch(300))
    with pytest.raises(weft.TopologyError, match=r"JSON of 22.4 MiB, and no more than 16 MiB"):
        topology.to_json()

"""What topologies are written as: DOT, pictures, Markdown, Prometheus, HTML."""

import re
import struct
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from python.topology.files import MACHINES, machine, two_devices
from weft.topology import Topology

MEASUREMENTS = [
    {"from": a, "to": b, "what": what, "engine": engine, "both_directions": both, "bytes": 1 << 26,
     "median": median, "spread": median / 100, "samples": 5}
    for a, b in ((0, 1), (1, 0), (None, 0))
    for what, engine, both, median in (
        ("bandwidth", "copy_engine", False, 393e9), ("bandwidth", "sm_push", False, 371e9),
        ("bandwidth", "copy_engine", True, 386e9), ("latency", "flag", False, 0.64e-6),
    )
]  # fmt: skip
HOSTILE = "a<b>&\"'|`\\n{}]x"


def measured():
    return Topology.from_json(two_devices(measurements=MEASUREMENTS))


def hostile():
    vertices = [
        {"id": HOSTILE, "kind": "gpu", "name": HOSTILE, "attributes": {HOSTILE: HOSTILE}},
        {"id": "b", "kind": "gpu", "name": "<script>alert(1)</script>"},
    ]
    wires = [{"a": HOSTILE, "b": "b", "kind": "nvlink"}]
    return Topology.from_json(two_devices(name=HOSTILE, vertices=vertices, wires=wires))


def dot_is_well_formed(text):
    """Every quote closes, every brace outside of quotes too."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)
    assert '"' not in bare.replace('""', "")
    assert bare.count("{") == bare.count("}") > 0
    return True


@pytest.mark.parametrize("path", MACHINES, ids=lambda path: path.stem)
def test_dot_has_a_cluster_a_numa_node_and_every_wire(path):
    topology = Topology.from_nccl_xml(path)
    document, text = topology.document(), topology.to_dot()
    assert dot_is_well_formed(text)
    numas = {v["numa"] for v in document["vertices"]} - {None}
    assert {int(n) for n in re.findall(r"cluster_numa_(\d+)", text)} == numas
    assert text.count(" -- ") == len(document["wires"])
    for vertex in document["vertices"]:
        assert f'"{vertex["id"]}" [' in text


def test_dot_labels():
    switched = Topology.from_nccl_xml(machine("gb200_tray")).to_dot()
    assert '[label="NV18 · 900 GB/s"' in switched
    assert "shape=hexagon" in switched
    assert 'label="C2C · 224 GB/s"' in switched
    assert 'label="PCIe 5.0 x16 · 63 GB/s"' in switched
    plain = Topology.preset("pcie-4").to_dot()
    assert dot_is_well_formed(plain)


def test_dot_of_hostile_names():
    assert dot_is_well_formed(hostile().to_dot())


def test_svg_is_xml_and_the_same_each_time():
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    topology = Topology.from_nccl_xml(machine("dgx1v"))
    text = topology.to_svg()
    assert ET.fromstring(text).tag.endswith("svg")
    assert text == topology.to_svg()


@pytest.mark.parametrize("name", ["pair-nvlink", "hgx-h200", "gb200-nvl72", "pcie-4"])
def test_png_is_of_a_size_that_is_read(name):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    data = Topology.preset(name).to_png()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert 500 < height < width < 3500


@pytest.mark.parametrize("devices", [0, 1, 40])
def test_pictures_of_few_and_of_many_without_switches(devices):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    vertices = [{"id": str(i), "kind": "gpu"} for i in range(devices)]
    wires = [{"a": str(i), "b": str(i + 1), "kind": "pcie"} for i in range(devices - 1)]
    topology = Topology.from_json(two_devices(vertices=vertices, wires=wires))
    assert topology.size == devices
    assert topology.to_png()[:4] == b"\x89PNG"


def test_a_picture_of_hostile_names():
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    assert hostile().to_svg()


def test_a_dollar_sign_is_no_formula():
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    assert Topology.from_json(two_devices(name="costs $\\frac{1}$")).to_png()


def test_markdown():
    text = measured().to_markdown()
    assert "| sim:0 | X | NV2 393 |" in text.replace("\\", "")
    assert "(measured)" in text
    assert "| host | 0 | bandwidth |" in text
    nominal = Topology.preset("pair-nvlink").to_markdown()
    assert "(nominal)" in nominal
    rows = [line for line in hostile().to_markdown().splitlines() if line.startswith("|")]
    unescaped = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]
    assert unescaped[:4] == [5, 5, 5, 5]


SAMPLE = re.compile(
    r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*\})? (\S+)'
)


def samples(text):
    """Name and labels -> value, having checked the format."""
    found, typed = {}, {}
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# "):
            _, word, name, rest = line.split(" ", 3)
            assert word in ("HELP", "TYPE")
            if word == "TYPE":
                assert name not in typed
                typed[name] = rest
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        assert match[1] in typed
        assert (match[1], match[2]) not in found
        found[match[1], match[2]] = float(match[3])
    assert set(typed) == {name for name, _ in found}
    return found, typed


def test_prometheus_rates():
    found, typed = samples(measured().to_prometheus())
    link = '{from="0",to="1",path="NV2"}'
    assert found["weft_topology_link_nominal_bytes_per_second", link] == 5e10
    labels = '{from="0",to="1",what="bandwidth",engine="sm_push",bytes="67108864",'
    assert found[
        "weft_topology_measured_bytes_per_second", labels + 'both_directions="false"}'
    ] == pytest.approx(371e9)
    assert any('from="host"' in (labels or "") for _, labels in found)
    assert found["weft_topology_devices", None] == 2
    assert typed["weft_topology_link_bytes_per_second"] == "gauge"


def test_prometheus_counters():
    reading = {
        "seconds": 1.0,
        "notes": [],
        "links": [
            {"device": 0, "link": 3, "active": True, "sent_bytes": 1 << 60, "received_bytes": None,
             "replay_errors": 7, "recovery_errors": 0, "crc_errors": None},
        ],
    }  # fmt: skip
    found, typed = samples(measured().to_prometheus(reading))
    labels = '{device="0",link="3"}'
    assert found["weft_nvlink_sent_bytes_total", labels] == 1 << 60
    assert found["weft_nvlink_replay_errors_total", labels] == 7
    assert found["weft_nvlink_active", labels] == 1
    assert typed["weft_nvlink_sent_bytes_total"] == "counter"
    assert "weft_nvlink_received_bytes_total" not in typed


def test_prometheus_of_hostile_names_and_of_every_machine():
    samples(hostile().to_prometheus())
    for path in MACHINES:
        found, _ = samples(Topology.from_nccl_xml(path).to_prometheus())
        assert len(found) > 4


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        assert all(not name.startswith("on") and name not in ("src", "href") for name, _ in attrs)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("make", [measured, hostile, lambda: Topology.preset("gb200-nvl72")])
def test_html_is_closed_and_has_no_script_and_nothing_from_outside(make):
    tags = Tags()
    tags.feed(make()._repr_html_())
    tags.close()
    assert tags.open == []
    assert not {"script", "link", "img", "iframe", "style"} & set(tags.seen)
    assert "td" in tags.seen

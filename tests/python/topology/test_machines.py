"""Descriptions of real machines, in the forms that NCCL and RCCL write and clouds ship."""

import re

import pytest

from python.topology.files import MACHINES, machine
from weft.topology import Topology, presets

NAMES = [path.stem for path in MACHINES]


def read(name):
    return Topology.from_nccl_xml(machine(name))


def closed(ring):
    return [*zip(ring, [*ring[1:], ring[0]], strict=True)]


def cells_of(topology, ring):
    matrix = topology.matrix()
    return [matrix[a][b] for a, b in closed(ring)]


def test_there_are_at_least_ten():
    assert len(MACHINES) >= 10


@pytest.mark.parametrize("name", NAMES)
def test_it_goes_round_through_xml_and_json(name):
    topology = read(name)
    assert topology.size >= 2
    assert topology.name == name
    again = Topology.from_nccl_xml(topology.to_nccl_xml())
    assert again.document() == topology.document()
    text = topology.to_json()
    assert Topology.from_json(text).document() == topology.document()
    assert Topology.from_json(text).to_json() == text


@pytest.mark.parametrize("name", presets())
def test_a_preset_goes_round_through_json_and_keeps_its_links_through_xml(name):
    topology = Topology.preset(name)
    text = topology.to_json()
    assert Topology.from_json(text).document() == topology.document()
    assert Topology.from_json(text).to_json() == text
    other = Topology.from_nccl_xml(topology.to_nccl_xml())
    # NCCL knows no host bridges: between two of one NUMA node it is one CPU.
    ours = [[cell.replace("NODE", "PHB") for cell in row] for row in topology.matrix()]
    assert other.matrix() == ours


CELLS = {
    "a10_4_old": {"PIX", "SYS"}, "a6000_4_bridges": {"NV4", "PHB"}, "ac922": {"NV3", "SYS"},
    "aws_p4d": {"PIX", "PHB", "SYS"}, "azure_ndv4": {"PIX", "SYS"},
    "dgx1v": {"NV1", "NV2", "SYS"}, "dgx2": {"NV6"}, "dgx_a100": {"NV12"}, "dgx_h100": {"NV18"},
    "dual_socket_8_t4": {"PIX", "PHB", "SYS"}, "gb200_tray": {"NV18"},
    "gb200_two_trays": {"NV18"}, "hgx_b200": {"NV18"}, "hgx_h200_vm": {"NV18"},
    "mi250x": {"XGMI1", "XGMI2", "XGMI4", "SYS"}, "mi300x": {"XGMI1"}, "rtx4090_4": {"PHB"},
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_its_links_are_of_the_classes_that_people_know(name):
    found = {cell for row in read(name).matrix() for cell in row}
    assert found - {"X"} == CELLS[name]


# Of one direction, nominal: so many links at their line rate, or a PCIe link.
@pytest.mark.parametrize(
    ("name", "pair", "rate"),
    [
        ("dgx1v", (0, 3), 2 * 25e9),
        ("dgx2", (0, 15), 6 * 25e9),
        ("dgx_a100", (0, 7), 12 * 25e9),
        ("dgx_h100", (0, 7), 18 * 25e9),
        ("hgx_b200", (0, 7), 18 * 50e9),
        ("a6000_4_bridges", (0, 3), 4 * 14.0625e9),
        ("mi250x", (0, 1), 4 * 50e9),
        ("mi300x", (0, 7), 64e9),
        ("dual_socket_8_t4", (0, 1), 16 * 8e9 * 128 / 130 / 8),
        ("rtx4090_4", (0, 3), 16 * 16e9 * 128 / 130 / 8),
    ],
)
def test_rates_are_line_rates(name, pair, rate):
    link = next(
        link for link in read(name).document()["links"] if (link["from"], link["to"]) == pair
    )
    assert link["bytes_per_second"] == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("dgx1v", {"NV2"}),  # there is a ring over double links alone
        ("mi250x", {"XGMI4", "XGMI2", "XGMI1"}),  # over xGMI alone
        ("mi300x", {"XGMI1"}),
        ("dgx2", {"NV6"}),
        ("dgx_a100", {"NV12"}),
        ("gb200_two_trays", {"NV18"}),
        ("rtx4090_4", {"PHB"}),
    ],
)
def test_its_ring_is_over_the_links_that_a_person_would_take(name, cells):
    topology = read(name)
    [ring] = topology.rings()
    assert sorted(ring) == list(range(topology.size))
    assert set(cells_of(topology, ring)) <= cells


@pytest.mark.parametrize(
    ("name", "far"),
    [("dual_socket_8_t4", 2), ("aws_p4d", 2), ("a10_4_old", 2), ("ac922", 2), ("azure_ndv4", 4)],
)
def test_its_ring_crosses_sockets_no_more_often_than_it_must(name, far):
    topology = read(name)
    [ring] = topology.rings()
    assert cells_of(topology, ring).count("SYS") == far


def test_bridged_pairs_are_neighbours_in_the_ring():
    topology = read("a6000_4_bridges")
    [ring] = topology.rings()
    assert cells_of(topology, ring).count("NV4") == 2


@pytest.mark.parametrize("name", NAMES)
def test_nccl_could_read_what_is_written(name):
    text = read(name).to_nccl_xml()
    assert text.isascii()
    # Its reader takes one space between attributes, double quotes, and nothing else.
    tag = re.compile(r' *<(/?\w+)((?: \w+="[^"&<]{0,254}")*)(/?)>')
    needed = {
        "pci": {"busid", "class", "link_speed", "link_width"}, "cpu": {"numaid", "arch"},
        "nvlink": {"target", "count", "tclass"}, "xgmi": {"target", "count", "tclass"},
        "c2c": {"bw", "count"}, "net": {"dev"}, "gpu": {"dev", "sm", "rank", "gdr"},
        "system": {"version"}, "nic": set(), "pcilink": {"target"},
    }  # fmt: skip
    depth = 0
    for line in text.splitlines():
        match = tag.fullmatch(line)
        assert match, line
        if match[1].startswith("/"):
            depth -= 1
            continue
        words = re.findall(r"(\w+)=", match[2])
        assert len(words) == len(set(words)) <= 16
        assert needed[match[1]] <= set(words), line
        depth += match[3] != "/"
    assert depth == 0
    version = "2" if "<xgmi" in text else "1"
    assert text.startswith(f'<system version="{version}"')


def test_devices_are_in_the_order_of_ranks():
    text = machine("dgx_a100").read_text()
    swapped = text.replace('rank="0"', 'rank="x"').replace('rank="7"', 'rank="0"')
    swapped = swapped.replace('rank="x"', 'rank="7"')
    buses = [node["pci"] for node in read("dgx_a100").nodes()]
    other = [node["pci"] for node in Topology.from_nccl_xml(swapped).nodes()]
    assert other == [buses[7], *buses[1:7], buses[0]]


def test_a_rack_is_one_domain_though_bus_ids_repeat():
    topology = read("gb200_two_trays")
    assert topology.size == 8
    assert len({node["pci"] for node in topology.nodes()}) == 4
    assert sum(vertex["kind"] == "nvswitch" for vertex in topology.document()["vertices"]) == 1


def test_the_older_spelling_means_the_same():
    text = machine("dgx1v").read_text()
    older = text.replace("8.0 GT/s PCIe", "8 GT/s").replace('<pci busid="0000:0a', '<pci busid="0A')
    older = older.replace('target="0000:0a:00.0"', 'target="00000000:0A:00.0"')
    assert older != text
    ours, theirs = read("dgx1v").document(), Topology.from_nccl_xml(older).document()
    assert ours["links"] == theirs["links"]
    assert ours["wires"] == theirs["wires"]


def test_what_the_file_does_not_say_is_null_and_a_note_says_why():
    topology = read("a10_4_old")
    link = topology.document()["links"][0]
    assert link["bytes_per_second"] is None
    assert link["reason"]
    assert any("speed or width" in note for note in topology.notes)
    joined = read("dgx2")
    assert any("share no GPU" in note for note in joined.notes)


def test_attributes_that_nobody_knows_are_kept():
    text = machine("mi300x").read_text().replace('gdr="1">', 'gdr="1" colour="red &amp; blue">')
    topology = Topology.from_nccl_xml(text)
    assert topology.document()["vertices"][0]["attributes"]["gpu.colour"] == "red & blue"
    again = Topology.from_nccl_xml(topology.to_nccl_xml())
    assert again.document() == topology.document()


def test_elements_that_nobody_knows_are_left_out_and_named():
    text = machine("rtx4090_4").read_text().replace("</cpu>", '<toaster slots="2"/></cpu>')
    topology = Topology.from_nccl_xml(text)
    assert any("<toaster>" in note for note in topology.notes)
    assert topology.matrix() == read("rtx4090_4").matrix()

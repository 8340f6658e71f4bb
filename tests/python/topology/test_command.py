"""`weft topo`: what it prints, writes and refuses."""

import json
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from python.topology.files import MACHINES, machine, two_devices
from python.topology.test_outputs import MEASUREMENTS
from weft.cli.app import app
from weft.cli.ring import draw_ring
from weft.topology import Topology

DGX1V = str(machine("dgx1v"))
CELLS = ["NV1", "NV1", "NV2", "NV2", "SYS", "SYS", "SYS"]  # of its first device


def run(*args, **options):
    return CliRunner().invoke(app, ["topo", *args], **options)


def test_the_screen_has_devices_matrix_numa_cliques_and_the_ring():
    result = run("--from", DGX1V)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "dgx1v (simulated, nominal figures)"
    assert sum(line.startswith("sim:") for line in lines) == 8
    assert lines[2].split()[:9] == ["sim:0", "X", *CELLS]
    assert "NUMA     0: 0-3   1: 4-7" in lines
    assert any(line.startswith("cliques  {0-3}") for line in lines)
    assert any(
        line.startswith("ring     slowest link") and "NV2, 50 GB/s" in line for line in lines
    )
    assert any("0 ──NV2── 3 ──NV2── 2 ──NV2── 1" in line for line in lines)
    assert "SYS  between NUMA nodes" in result.stderr
    assert "PIX" not in result.stderr


def test_measured_figures_stand_below_the_path(tmp_path):
    path = tmp_path / "measured.json"
    path.write_text(two_devices(measurements=MEASUREMENTS))
    lines = run("--from", str(path)).stdout.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("sim:0"))
    assert lines[first].split()[:3] == ["sim:0", "X", "NV2"]
    assert lines[first + 1].split() == ["393"]
    assert any("measured 393 GB/s one way, 386 GB/s with both busy" in line for line in lines)


@pytest.mark.parametrize("path", MACHINES, ids=lambda path: path.stem)
def test_every_machine_has_a_screen(path):
    result = run("--from", str(path))
    assert result.exit_code == 0
    assert "ring     slowest link" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 160


def test_many_devices_are_summed_up():
    result = run("--preset", "gb200-nvl72")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) < 25
    assert "5112 ways" in result.stdout
    assert "0 → … → 71 → 0" in result.stdout


def test_markup_in_names_is_text(tmp_path):
    path = tmp_path / "odd.json"
    gpus = [{"id": "a", "kind": "gpu", "name": "[bold]a[/nothing]"}, {"id": "b", "kind": "gpu"}]
    path.write_text(two_devices(name="[red]x[/red] [/oops]", vertices=gpus))
    result = run("--from", str(path))
    assert result.exit_code == 0
    assert "[red]x[/red] [/oops]" in result.stdout
    assert "[bold]a[/nothing]" in result.stdout


def test_the_screen_in_a_terminal_without_unicode():
    done = subprocess.run(
        [sys.executable, "-m", "weft", "topo", "--from", DGX1V],
        env={"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "0 --NV2-- 3 --NV2-- 2 --NV2-- 1" in done.stdout


FORMS = {
    "--json": lambda data: json.loads(data)["schema"] == "weft.topology/1",
    "--dot": lambda data: data.startswith(b'graph "dgx1v"'),
    "--svg": lambda data: b"<svg" in data,
    "--png": lambda data: data.startswith(b"\x89PNG"),
    "--xml": lambda data: data.startswith(b'<system version="1"'),
    "--md": lambda data: data.startswith(b"## dgx1v"),
    "--prometheus": lambda data: b"# TYPE weft_topology_info gauge" in data,
}


@pytest.mark.parametrize("option", FORMS)
def test_every_form_to_stdout_and_to_a_file(option, tmp_path):
    if option in ("--svg", "--png"):
        pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    printed = run("--from", DGX1V, option)
    assert printed.exit_code == 0
    assert FORMS[option](printed.stdout_bytes)
    assert printed.stderr == ""
    path = tmp_path / "out"
    written = run("--from", DGX1V, option, str(path))
    assert written.stdout == ""
    assert written.stderr == f"wrote {path}\n"
    assert path.read_bytes() == printed.stdout_bytes


def test_several_forms_at_once(tmp_path):
    files = {option: tmp_path / option.strip("-") for option in ("--json", "--dot", "--xml")}
    args = [part for option, path in files.items() for part in (option, str(path))]
    assert run("--from", DGX1V, *args).exit_code == 0
    for option, path in files.items():
        assert FORMS[option](path.read_bytes())


def test_from_goes_by_the_content_of_the_file_not_its_name(tmp_path):
    text = Topology.from_nccl_xml(DGX1V).to_json()
    path = tmp_path / "machine.xml"
    path.write_text(text)
    assert run("--from", str(path), "--json").stdout == text


def test_from_stdin():
    result = run("--from", "-", "--json", input=two_devices())
    assert result.exit_code == 0
    assert json.loads(result.stdout)["name"] == "pair"


@pytest.mark.parametrize(
    "args",
    [
        ("--from", DGX1V, "--preset", "pcie-4"),
        ("--from", DGX1V, "--measure"),
        ("--preset", "pcie-4", "--measure"),
        ("--from", DGX1V, "--devices", "2"),
        ("--from", DGX1V, "--json", "--dot"),
        ("--from", DGX1V, "--plan", "all_reduce", "--json"),
        ("--from", DGX1V, "--plan", "juggle"),
        ("--from", DGX1V, "--plan", "all_reduce", "--bytes", "lots"),
        ("--from", "no/such/file"),
    ],
)
def test_what_does_not_go_together_is_usage(args):
    result = run(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr


def test_a_file_that_is_no_topology_is_usage_with_file_and_line(tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(two_devices(wires=[{"a": "a", "b": "c", "kind": "pcie"}]))
    result = run("--from", str(path))
    assert result.exit_code == 2
    assert result.stdout == ""
    line = next(line for line in result.stderr.splitlines() if line.startswith("Error: "))
    assert line == f'Error: {path}:5: wires[0].b: no vertex is called "c"'


def test_one_file_for_two_outputs_is_refused(tmp_path):
    same = str(tmp_path / "a"), str(tmp_path / "." / "a")
    result = run("--from", DGX1V, "--json", same[0], "--dot", same[1])
    assert result.exit_code == 2
    assert "written twice" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_xml_of_a_machine_of_which_only_links_are_known_is_usage(tmp_path):
    document = Topology.preset("pair-nvlink").document() | {"vertices": [], "wires": []}
    path = tmp_path / "links.json"
    path.write_text(json.dumps(document))
    result = run("--from", str(path), "--xml")
    assert result.exit_code == 2
    assert "the graph is not known" in result.stderr
    assert run("--from", str(path), "--dot").exit_code == 0


def test_a_plan_is_a_table_of_algorithms_fastest_first_with_the_ring():
    result = run("--preset", "hgx-h200", "--plan", "all_reduce", "--bytes", "64M")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "hgx-h200: all_reduce of 64M a device, predicted"
    rows = [line for line in lines if re.match(r"[a-z_]+ +[\d.]+ [mu]?s ", line)]
    names = [row.split()[0] for row in rows]
    assert {"ring", "one_shot", "two_shot", "hierarchical"} <= set(names)
    machine_ = Topology.preset("hgx-h200")
    seconds = [machine_.predict(name, 64 << 20).seconds for name in names]
    assert seconds == sorted(seconds)
    assert "ring     slowest link" in result.stdout


def test_a_plan_without_rates_is_refused_in_words(tmp_path):
    path = machine("a10_4_old")
    result = run("--from", str(path), "--plan", "all_reduce")
    assert result.exit_code == 0
    assert "weft: ring: " in result.stderr


@pytest.mark.parametrize("size", range(1, 17))
def test_a_drawn_ring_has_every_device_and_link_once(size):
    ring = list(range(size))
    lines = draw_ring(ring, lambda a, b: f"L{a}to{b}", plain=False)
    text = "\n".join(lines)
    for a in ring:
        assert len(re.findall(rf"(?<![\dto]){a}(?![\dt])", text)) == 1
    for a, b in zip(ring, [*ring[1:], ring[0]], strict=True):
        if size > 2:
            assert len(re.findall(rf"L{a}to{b}(?!\d)", text)) == 1
    assert len({len(line) for line in (lines[0], lines[-1])}) <= 2

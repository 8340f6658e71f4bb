"""`weft topo`: the devices of this machine, or of a preset one, and how they are wired."""

from __future__ import annotations

import click

from weft.cli.measure import measured_machine
from weft.cli.output import file_option, note, stdout_console, write_data
from weft.cli.watch import watch
from weft.topology import Topology, default_preset, presets, probe

__all__ = ["command"]

_LEGEND = """\
X    the device itself
NV#  so many bonded NVLinks
PIX  at most one PCIe switch
PXB  several PCIe switches
PHB  a PCIe host bridge
NODE between host bridges of one NUMA node
SYS  between NUMA nodes"""


@click.command("topo")
@file_option("--json", "the topology as JSON (schema weft.topology/1)")
@click.option("--preset", metavar="NAME", help="Draw this known machine instead.")
@click.option("--devices", type=click.IntRange(1, 64), help="How many devices of the preset [all].")
@click.option("--measure", is_flag=True, help="Measure this machine's links, in seconds.")
@click.option(
    "--watch",
    "interval",
    type=click.FloatRange(0.01, 3600),
    is_flag=False,
    flag_value=1.0,
    default=None,
    metavar="[SECONDS]",
    help="Show what NVLinks move, every SECONDS [1].",
)
@click.option("--count", type=click.IntRange(min=1), help="End --watch after so many times.")
def command(
    json_file: str | None,
    preset: str | None,
    devices: int | None,
    measure: bool,
    interval: float | None,
    count: int | None,
) -> None:
    """Draw the machine: devices and links.

    Without a GPU it says what is missing and draws the default simulated machine.
    """
    if interval is not None:
        watch(interval, count)
        return
    if measure and preset:
        raise click.UsageError("--measure is for this machine, not for a preset")
    if preset:
        machine = Topology.preset(preset, devices)
    else:
        machine = measured_machine() if measure else probe()
    for line in machine.notes:
        note(f"weft: {line}")
    if machine.size == 0:
        name = default_preset()
        machine = Topology.preset(name, devices)
        note(f"weft: no CUDA device here; this is the simulated machine {name}")
        note(f"weft: others with --preset: {', '.join(presets())}")
    elif devices and not preset:
        raise click.UsageError("--devices goes with --preset")
    if json_file is not None:
        write_data(json_file, machine.to_json())
        return
    draw(machine)


def draw(machine: Topology) -> None:
    """Print the matrix of `machine` to stdout, and its legend to stderr."""
    from rich.table import Table

    nodes = machine.nodes()
    kind = "simulated, nominal figures" if machine.simulated else "this machine"
    table = Table(title=f"{machine.name} ({kind})", title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for node in nodes:
        table.add_column(str(node["device"]))
    table.add_column("NUMA")
    table.add_column("name")
    for node, row in zip(nodes, machine.matrix(), strict=True):
        numa = "?" if node["numa"] is None else str(node["numa"])
        table.add_row(str(node["device"]), *row, numa, str(node["name"]))
    stdout_console().print(table)
    note(_LEGEND)

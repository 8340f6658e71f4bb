"""`weft topo`: the devices of this machine, of a file or of a preset, and how they are wired."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import click

import weft
from weft.cli.measure import measured_machine
from weft.cli.output import STDOUT, file_option, note, write_bytes, write_data
from weft.cli.topo_plan import draw_plan
from weft.cli.topo_screen import draw
from weft.cli.watch import watch
from weft.topology import Topology, counters, default_preset, presets, probe

__all__ = ["command"]

#: Option -> what it writes, in the order of the help.
_OUTPUTS = {
    "json": "the topology as JSON (schema weft.topology/1)",
    "dot": "a Graphviz graph",
    "svg": "the picture as SVG",
    "png": "the picture as PNG",
    "xml": "XML that NCCL reads",
    "md": "tables of Markdown",
    "prometheus": "rates of links and counters in Prometheus' text format",
}


def _outputs(function: Any) -> Any:
    for name, what in reversed(_OUTPUTS.items()):
        function = file_option(f"--{name}", what)(function)
    return function


class _Size(click.ParamType[int]):
    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        from weft.bench.sizes import parse_size

        try:
            return value if isinstance(value, int) else parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command("topo", epilog="Exit codes: 2 usage, a file that is no topology among it; 6 output "
               "that cannot be written; 130 interrupted.")  # fmt: skip
@_outputs
@click.option("--from", "source", metavar="FILE", help="Draw what this file says, JSON or NCCL's "
              "or RCCL's XML; - is stdin.")  # fmt: skip
@click.option("--preset", metavar="NAME", help="Draw this known machine instead.")
@click.option("--devices", type=click.IntRange(1, 64), help="How many devices of the preset [all].")
@click.option("--measure", is_flag=True, help="Measure this machine's links, in seconds.")
@click.option("--plan", type=click.Choice(["all_reduce"]), help="Predict this collective by every "
              "algorithm.")  # fmt: skip
@click.option("--bytes", "bytes_", type=_Size(), default="64M", show_default=True, metavar="SIZE",
              help="Of --plan, on each device.")  # fmt: skip
@click.option("--watch", "interval", type=click.FloatRange(0.01, 3600), is_flag=False,
              flag_value=1.0, default=None, metavar="[SECONDS]",
              help="Show what NVLinks move, every SECONDS [1].")  # fmt: skip
@click.option("--count", type=click.IntRange(min=1), help="End --watch after so many times.")
def command(
    source: str | None,
    preset: str | None,
    devices: int | None,
    measure: bool,
    plan: str | None,
    bytes_: int,
    interval: float | None,
    count: int | None,
    **files: str | None,
) -> None:
    """Draw the machine: devices, links, NUMA nodes, cliques and the best ring.

    Without a GPU it says what is missing and draws the default simulated machine.
    """
    targets = {n: files[f"{n}_file"] for n in _OUTPUTS if files[f"{n}_file"] is not None}
    _check(targets, source, preset, devices, measure, plan)
    if interval is not None:
        watch(interval, count)
        return
    machine = _machine(source, preset, devices, measure)
    for name, target in targets.items():
        _write(machine, name, str(target))
    if plan:
        draw_plan(machine, bytes_)
    elif not targets:
        draw(machine)


def _check(
    targets: dict[str, str | None],
    source: str | None,
    preset: str | None,
    devices: int | None,
    measure: bool,
    plan: str | None,
) -> None:
    """UsageError, before any work, for options that do not go together."""
    if sum((source is not None, preset is not None, measure)) > 1:
        raise click.UsageError("--from, --preset and --measure exclude one another")
    if source is not None and devices:
        raise click.UsageError("--devices goes with --preset")
    if plan and targets:
        raise click.UsageError("--plan prints a table, and goes with no output")
    if list(targets.values()).count(STDOUT) > 1:
        raise click.UsageError("one output at most goes to stdout: give the others a FILE")
    files = [Path(str(target)).resolve() for target in targets.values() if target != STDOUT]
    for file in files:
        if files.count(file) > 1:
            raise click.UsageError(f"{file} would be written twice: give each output its own FILE")
    for name in ("svg", "png"):
        if name in targets and importlib.util.find_spec("matplotlib") is None:
            raise click.UsageError(f"--{name} needs matplotlib: pip install matplotlib")


def _machine(
    source: str | None, preset: str | None, devices: int | None, measure: bool
) -> Topology:
    """What is to be drawn. What is missing is said on stderr."""
    if source is not None:
        machine = _read(source)
    elif preset is not None:
        machine = Topology.preset(preset, devices)
    else:
        machine = measured_machine() if measure else probe()
    for line in machine.notes:
        note(f"weft: {line}")
    if machine.size == 0 and source is None:
        name = default_preset()
        machine = Topology.preset(name, devices)
        note(f"weft: no CUDA device here; this is the simulated machine {name}")
        note(f"weft: others with --preset: {', '.join(presets())}")
    elif devices and not preset:
        raise click.UsageError("--devices goes with --preset")
    return machine


def _read(source: str) -> Topology:
    """The topology of a file, JSON or XML by its first character. UsageError if it is none."""
    from weft.topology import _source

    try:
        if source == STDOUT:
            data = sys.stdin.buffer.read(_source.LONGEST + 1)
            return _source.topology(_source.decoded(data, "<stdin>"))
        return _source.topology(_source.load(Path(source), ""))
    except weft.TopologyError as error:
        raise click.UsageError(str(error)) from error


def _write(machine: Topology, name: str, target: str) -> None:
    if name == "png":
        write_bytes(target, machine.to_png())
        return
    if name == "prometheus":
        own = not machine.simulated and machine.size > 0
        text = machine.to_prometheus(counters() if own else None)
    else:
        to_text = {"json": machine.to_json, "dot": machine.to_dot, "svg": machine.to_svg,
                   "md": machine.to_markdown, "xml": machine.to_nccl_xml}  # fmt: skip
        try:
            text = to_text[name]()
        except weft.TopologyError as error:
            raise click.UsageError(str(error)) from error
    write_data(target, text)

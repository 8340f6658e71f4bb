"""`weft bench COLLECTIVE`: flags and columns as nccl-tests has them."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from weft.cli.app import ExitCode
from weft.cli.output import STDOUT, file_option, note, write_data
from weft.cli.progress import progress

if TYPE_CHECKING:
    from weft.bench.row import Row
    from weft.bench.runner import Runner
    from weft.bench.sweep import Plan
    from weft.fabric import Fabric

__all__ = ["command"]

_COLLECTIVES = ("all_reduce",)
_RIVALS = ("mpi",)


@dataclass(frozen=True)
class Outputs:
    """Where results go; None: not written, "-": stdout."""

    json: str | None
    csv: str | None
    plot: str | None

    @property
    def table(self) -> bool:
        """Whether the table may have stdout."""
        return STDOUT not in (self.json, self.csv)


class _Size(click.ParamType[int]):
    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        from weft.bench.sizes import parse_size

        try:
            return value if isinstance(value, int) else parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_POSITIVE = click.IntRange(min=1)


@click.command("bench", epilog="Sizes take K, M and G, powers of 1024; rates are in 10^9 B/s.")
@click.argument("collective")
@click.option("-b", "--minbytes", type=_Size(), default="8", show_default=True)
@click.option("-e", "--maxbytes", type=_Size(), default="32M", show_default=True)
@click.option("-f", "--stepfactor", type=_POSITIVE, default=2, show_default=True)
@click.option("-d", "--datatype", default="float32", show_default=True, help="Or all, or a,b,c.")
@click.option("-o", "--op", default="sum", show_default=True, help="sum avg min max prod; all.")
@click.option("-n", "--iters", type=_POSITIVE, default=20, show_default=True, help="A round.")
@click.option("-w", "--warmup_iters", type=click.IntRange(min=0), default=5, show_default=True)
@click.option(
    "--rounds", type=_POSITIVE, help="Of all implementations in turn [5 with --vs, else 1]."
)
@click.option("--devices", help="sim:4, cuda:0,1, cuda:0x4; else all GPUs or 4 simulated devices.")
@click.option("--algo", default="auto", show_default=True)
@click.option("--timeout", type=float, help="Seconds an operation may take [WEFT_TIMEOUT].")
@click.option("--vs", multiple=True, help="Also time this implementation: mpi.")
@file_option("--json", "the record (schema weft.bench/1)")
@file_option("--csv", "the rows as CSV")
@click.option("--plot", metavar="FILE", help="Draw bus bandwidth over size into FILE.")
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Time a collective, check its results and print a table.

    Times are measured on the host. On simulated devices they are those of the simulator; what the
    simulated links would take stands apart, as predicted. Exits with 1 if an element was wrong.
    """
    outputs = Outputs(options["json_file"], options["csv_file"], options["plot"])
    if outputs.json == outputs.csv == STDOUT:
        raise click.UsageError("--json and --csv cannot both have stdout: give one a FILE")
    plan = _plan(options)
    rivals = _rivals(options["vs"], plan)
    if outputs.plot is not None and importlib.util.find_spec("matplotlib") is None:
        raise click.UsageError("--plot needs matplotlib: pip install matplotlib")
    from weft.fabric import Fabric

    with ExitStack() as stack:
        fabric = stack.enter_context(Fabric(options["devices"]))
        _check_memory(plan, fabric, 1 + len(rivals))
        rows = _run(plan, fabric, rivals, options, outputs, stack)
    _write(rows, outputs)
    if any(row.wrong for row in rows):
        ctx.exit(ExitCode.WRONG)


def _plan(options: dict[str, Any]) -> Plan:
    from weft.bench.pattern import DTYPES, FLOATS, OPS
    from weft.bench.sizes import size_steps
    from weft.bench.sweep import Plan

    if options["collective"] not in _COLLECTIVES:
        raise click.UsageError(
            f"{options['collective']!r} is not there; there is: {', '.join(_COLLECTIVES)}"
        )
    kinds = [
        (dtype, op)
        for dtype in _chosen("-d", options["datatype"], DTYPES)
        for op in _chosen("-o", options["op"], OPS)
        if op != "avg" or dtype in FLOATS
    ]
    if not kinds:
        raise click.UsageError(f"there is no avg of {options['datatype']}, only of floats")
    try:
        sizes = size_steps(options["minbytes"], options["maxbytes"], options["stepfactor"])
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    rounds = options["rounds"] or (5 if options["vs"] else 1)
    return Plan("all_reduce", tuple(kinds), tuple(sizes), options["iters"], rounds)


def _chosen(flag: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    chosen = tuple(known) if text == "all" else tuple(text.split(","))
    for name in chosen:
        if name not in known:
            raise click.UsageError(f"{flag} {name!r} is not one of: {', '.join(known)}, all")
    return chosen


def _rivals(names: Sequence[str], plan: Plan) -> list[str]:
    rivals = [name for given in names for name in given.split(",")]
    for name in rivals:
        if name not in _RIVALS:
            raise click.UsageError(f"--vs {name!r} is not there; there is: {', '.join(_RIVALS)}")
    if rivals:
        from weft.bench.mpi import DTYPES, MpiUnavailableError, find_mpiexec

        try:
            find_mpiexec()
        except MpiUnavailableError as error:
            raise click.UsageError(str(error)) from error
        for dtype, op in plan.kinds:
            if op == "avg" or dtype not in DTYPES:
                raise click.UsageError(f"MPI has no {op} of {dtype}; compare without it")
    return rivals


def _check_memory(plan: Plan, fabric: Fabric, implementations: int) -> None:
    from weft.bench.sweep import available_memory, largest_memory

    there = available_memory() if fabric.backend == "sim" else None
    need = largest_memory(plan, fabric.size, implementations)
    if there is not None and need > there:
        raise click.UsageError(
            f"the largest size needs about {need / 1e9:.1f} GB of host memory and "
            f"{there / 1e9:.1f} GB are free; choose a smaller -e"
        )


def _run(
    plan: Plan,
    fabric: Fabric,
    rivals: Sequence[str],
    options: dict[str, Any],
    outputs: Outputs,
    stack: ExitStack,
) -> list[Row]:
    from weft.bench.mpi import MpiRunner
    from weft.bench.record import peak_gbps
    from weft.bench.runner import WeftRunner
    from weft.bench.sweep import cases, sweep
    from weft.bench.table import header, line, summary

    warmup, timeout = options["warmup_iters"], options["timeout"]
    runners: list[Runner] = [
        WeftRunner(fabric, algorithm=options["algo"], warmup=warmup, timeout=timeout)
    ]
    for _ in rivals:
        runners.append(MpiRunner(fabric.size, warmup=warmup, timeout=(timeout or 30.0) * 4))
    for runner in runners:
        stack.callback(runner.close)
    simulated = fabric.backend == "sim"
    peak = None if simulated else peak_gbps(fabric.topology, fabric.devices)
    if outputs.table:
        click.echo(header(simulated))
    rows: list[Row] = []
    waiting: dict[str, Row] = {}
    with progress(f"all_reduce on {fabric.size} ranks", len(cases(plan)) * len(runners)) as advance:
        for row in sweep(plan, runners, peak):
            rows.append(row)
            if not row.in_place:
                waiting[row.impl] = row
            elif outputs.table:
                click.echo(line(waiting.pop(row.impl), row))
            advance(1, f"{row.impl} {row.bytes} B")
    (click.echo if outputs.table else note)(summary(rows))
    return rows


def _write(rows: Sequence[Row], outputs: Outputs) -> None:
    if outputs.json is not None:
        from weft.bench.record import make_record

        command = ["weft", *sys.argv[1:]]
        write_data(outputs.json, json.dumps(make_record(command, rows), indent=2))
    if outputs.csv is not None:
        from weft.bench.table import csv_text

        write_data(outputs.csv, csv_text(rows))
    if outputs.plot is not None:
        from weft.bench.plot import draw

        try:
            draw(rows, outputs.plot)
        except (OSError, ValueError) as error:
            raise click.UsageError(f"cannot draw {outputs.plot}: {error}") from error
        note(f"wrote {outputs.plot}")

"""`weft tune`: measures which algorithm is fastest on this machine, and stores the table."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weft import _weft
from weft.cli.app import ExitCode
from weft.cli.output import STDOUT, file_option, note, stdout_console, write_data
from weft.cli.progress import progress

if TYPE_CHECKING:
    from weft.bench.crossover import Kind, Point
    from weft.bench.tune import Budget, Tuned, Tuner
    from weft.fabric import Fabric
    from weft.tuning import Place

__all__ = ["command"]

_SHARE = 0.95  # of the time is for measuring; the rest for starting and storing


@click.command(
    "tune",
    epilog="Exit codes: 2 usage, 4 a device is missing, 5 the time did not suffice for anything.",
)
@click.option("--devices", help="sim:4, cuda:0,1, cuda:0x4; else all GPUs or 4 simulated devices.")
@click.option("--collective", "names", metavar="A,B,...", help="Only these [all].")
@click.option(
    "--max-seconds",
    type=click.FloatRange(min=0, min_open=True, max=86400),
    default=60.0,
    show_default=True,
    help="The time that it may take.",
)
@click.option("--output", metavar="FILE", help="Where to store the table, - for stdout.")
@click.option("--dry-run", is_flag=True, help="Say what would be measured, and measure nothing.")
@file_option("--json", "what was measured (schema weft.tuning/1)")
@click.pass_context
def command(
    ctx: click.Context,
    devices: str | None,
    names: str | None,
    max_seconds: float,
    output: str | None,
    dry_run: bool,
    json_file: str | None,
) -> None:
    """Measure every algorithm that can serve, and store which is the fastest for which sizes.

    Fabrics of as many ranks on the same kind of devices then go by it: algorithm="auto" takes what
    was fastest here. The table is stored where WEFT_TUNING says, else in ~/.cache/weft/tuning.json,
    beside those for other devices. An algorithm in force stays unless another is faster by more
    than the times spread.
    """
    from weft.bench.tune import Budget, kinds_of
    from weft.fabric import Fabric
    from weft.tuning import SCHEMA

    budget = Budget(_SHARE * max_seconds)
    collectives = _collectives(names)
    if output == STDOUT and json_file == STDOUT:
        raise click.UsageError("--output and --json cannot both have stdout: give one a FILE")
    target = _target(output)
    with ExitStack() as stack:
        fabric = stack.enter_context(Fabric(devices, tuning=_incumbents(target)))
        if fabric.size < 2:
            raise click.UsageError("one rank has nothing to choose: tune two or more")
        tuner = _tuner(fabric, budget, stack)
        kinds = kinds_of(collectives, fabric.backend)
        if dry_run:
            _show_plan(tuner, kinds, fabric, target)
            return
        with progress(f"tuning {fabric.size} ranks", len(tuner.plan(kinds))) as advance:
            tuned = tuner.run(kinds, advance)
        tables = tuned.tables(fabric)
    for kind in tuned.alone:
        note(f"weft: {kind.words}: one algorithm can serve, there is nothing to choose")
    for line in tuned.unmeasured():
        note(f"weft: no time for {line}")
    if not tables:
        note("weft: nothing was measured, and no table is stored")
        ctx.exit(ExitCode.TIMEOUT if tuned.left_out else ExitCode.OK)
    if target is not None:
        _store(target, tables)
    record = {"schema": SCHEMA, "tables": tables, "not_measured": tuned.unmeasured()}
    if target is None:
        write_data(STDOUT, json.dumps(record, indent=2))
    if json_file is not None:
        write_data(json_file, json.dumps(record, indent=2))
    if STDOUT not in (output, json_file):
        _show(tuned)


def _collectives(names: str | None) -> list[str]:
    known = _weft.collectives()
    chosen = known if names is None else list(dict.fromkeys(names.split(",")))
    for name in chosen:
        if name not in known:
            raise click.UsageError(f"--collective {name!r} is not one of: {', '.join(known)}")
    return chosen


def _target(output: str | None) -> Place | None:
    """The file to store the table in; None: stdout. UsageError for one that cannot be written."""
    from weft import tuning

    if output == STDOUT:
        return None
    where = tuning.place() if output is None else tuning.Place(Path(output), "--output")
    if where.path is None:
        note("weft: WEFT_TUNING is off: fabrics will not use the table unless they are told to")
        where = tuning.Place(tuning.default_path(), None)
    path = where.path
    assert path is not None
    above = next((one for one in path.parents if one.exists()), path)
    if path.is_dir() or not above.is_dir() or (where.named_by and above != path.parent):
        raise click.UsageError(f"cannot write {path}: no such folder, or a folder itself")
    if not os.access(path if path.exists() else above, os.W_OK):
        raise click.UsageError(f"cannot write {path}: permission denied")
    return where


def _incumbents(target: Place | None) -> Path | str | None:
    """What the fabric goes by while it is measured: the table that is to be replaced."""
    from weft import tuning

    if target is None:
        return None
    assert target.path is not None
    if not target.path.exists():
        return tuning.OFF
    try:
        tuning.read(target.path)
    except ValueError as error:
        if target.named_by is not None:
            raise click.UsageError(f"{error}; it would be overwritten") from error
        note(f"weft: {error}; it is replaced")
        return tuning.OFF
    return target.path


def _tuner(fabric: Fabric, budget: Budget, stack: ExitStack) -> Tuner:
    from weft.bench.cuda_driver import open_driver
    from weft.bench.link import ordinals_of
    from weft.bench.sweep import available_memory
    from weft.bench.tune import LARGEST, Tuner
    from weft.bench.weft_runner import WeftRunner

    if fabric.backend == "sim":
        free = available_memory()
        # In and out of every rank, and as much again for everything else.
        largest = LARGEST if free is None else min(LARGEST, free // (4 * fabric.size))
        if largest < LARGEST:
            note(f"weft: memory for vectors of up to {largest >> 20} MiB; larger are not measured")
        return Tuner(fabric, WeftRunner(fabric), budget, largest=largest)
    driver = open_driver()
    stack.callback(driver.close)
    ordinals = ordinals_of(fabric.devices)
    runner = WeftRunner(
        fabric,
        flush=lambda size: driver.flush(ordinals, size),
        synchronize=lambda: driver.synchronize(ordinals),
    )
    l2_bytes = max(driver.l2_bytes(ordinal) for ordinal in ordinals)
    return Tuner(fabric, runner, budget, l2_bytes=l2_bytes)


def _store(target: Place, tables: Sequence[dict[str, Any]]) -> None:
    from weft.tuning import store

    assert target.path is not None
    try:
        store(target.path, tables)
    except OSError as error:
        raise click.ClickException(f"cannot write {target.path}: {error.strerror}") from error
    note(f"weft: stored {target.path}")


def _show_plan(tuner: Tuner, kinds: Sequence[Kind], fabric: Fabric, target: Place | None) -> None:
    from weft.bench.sizes import size_text

    sizes = list(dict.fromkeys(size for _, size in tuner.plan(kinds)))
    click.echo(f"{fabric.size} ranks on {', '.join(fabric.devices)}")
    click.echo(f"sizes: {', '.join(size_text(size) for size in sizes)}")
    for kind in kinds:
        click.echo(kind.words)
    where = "stdout" if target is None else str(target.path)
    click.echo(f"the table would go to {where}")


def _show(tuned: Tuned) -> None:
    """A line for each range of sizes with one choice, on stdout."""
    from itertools import groupby

    from rich.table import Table

    table = Table(
        "calls",
        "bytes",
        "algorithm",
        "us",
        "shipped choice",
        "against it",
        box=None,
        pad_edge=False,
    )
    for kind, points in tuned.points.items():
        ordered = sorted(points, key=lambda point: point.bytes)
        for _, group in groupby(ordered, key=lambda point: (point.chosen, point.shipped)):
            table.add_row(kind.words, *_cells(list(group)))
    stdout_console().print(table)


def _cells(points: Sequence[Point]) -> list[str]:
    """Of neighbours with one choice: bytes, algorithm, times, what is shipped, how much faster."""
    from weft.bench.sizes import size_text

    def span(texts: Sequence[str]) -> str:
        return texts[0] if texts[0] == texts[-1] else f"{texts[0]} to {texts[-1]}"

    factors = sorted(point.faster for point in points)
    return [
        span([size_text(point.bytes) for point in points]),
        points[0].chosen,
        span([f"{point.times[point.chosen].us:.2f}" for point in points]),
        points[0].shipped or "-",
        span([f"{factor:.2f}x" for factor in factors]),
    ]

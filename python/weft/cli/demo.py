"""`weft demo`: the main job, with a progress bar and a table at the end."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import click

from weft.cli.app import ExitCode
from weft.cli.output import file_option, note, stdout_console, write_data
from weft.cli.progress import progress

__all__ = ["command"]


@click.command("demo")
@click.option("--devices", help="sim:4, cuda:0,1, cuda:0x4; else all GPUs or 4 simulated devices.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("weft-demo"),
    show_default=True,
    help="The folder for trace.json, loss.png and report.json.",
)
@click.option("--epochs", type=click.IntRange(min=1), default=20, show_default=True)
@file_option("--json", "the report, instead of the table,")
@click.pass_context
def command(
    ctx: click.Context, devices: str | None, output: Path, epochs: int, json_file: str | None
) -> None:
    """Train a classifier of handwritten digits, gradients summed over all ranks at every step.

    Checks the accuracy, and the weights against those of a single rank on the same batches; exits
    with 1 if a check fails.
    """
    missing = [name for name in ("sklearn", "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        raise click.UsageError(f"the demo needs {', '.join(missing)}: pip install 'weft[demo]'")
    from weft.demo.job import Settings, run, steps_in_all
    from weft.fabric import Fabric

    settings = Settings(epochs=epochs)
    with Fabric(devices) as fabric:
        note(f"weft demo: {fabric.size} ranks on {', '.join(fabric.devices)}")
        with progress("training", steps_in_all(settings)) as advance:
            report = run(fabric, output, settings, lambda words: advance(1, words))
    if json_file is None:
        _table(report)
    else:
        import json

        write_data(json_file, json.dumps(report, indent=2))
    note(f"wrote {output}/trace.json (open it in ui.perfetto.dev), loss.png and report.json")
    if not report["passed"]:
        note("weft demo: a check failed")
        ctx.exit(ExitCode.WRONG)


def _table(report: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(
        title="weft demo", title_justify="left", show_header=False, box=None, pad_edge=False
    )
    times = report["times"]
    links = report["bytes_per_link"]
    table.add_row(
        "test accuracy",
        f"{100 * report['accuracy']:.2f} %  (needed: {100 * report['accuracy_needed']:.0f} %)",
    )
    for dtype, check in report["checks"].items():
        verdict = "match" if check["matches_single_rank"] else "DIFFER"
        table.add_row(
            f"weights, {dtype}",
            f"{verdict}: {check['relative_difference']:.1e} from a single rank "
            f"(allowed: {check['tolerance']:.0e})",
        )
    table.add_row("ranks hold equal bits", "yes" if report["replicas_equal"] else "NO")
    table.add_row("steps", str(report["steps"]))
    for link, count in links.items():
        table.add_row(f"bytes moved {link}", f"{count:,}")
    table.add_row("time in communication", f"{1e3 * report['comm_seconds']:.3f} ms ({times})")
    if times == "predicted":
        host = 1e3 * report["comm_host_seconds"]
        table.add_row("the simulator took", f"{host:.0f} ms (measured on the host)")
    stdout_console().print(table)

"""`weft stats`: the statistics of running processes, once or as they change."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weft._config import setting
from weft.cli.output import STDOUT, file_option, note, show_each, stdout_console, write_data
from weft.cli.stats_screen import Looks, screen
from weft.metrics import render_all
from weft.published import Problem, Process, read

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["command", "watch"]


class _Seconds(click.FloatRange):
    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        try:
            return float(super().convert(value, param, ctx))
        except click.BadParameter as error:
            self.fail(f"{error.message} (a FOLDER goes before --watch)", param, ctx)


@click.command("stats", epilog="Exit codes: 2 usage, a file that is no statistics of weft's among "
               "it (the others are shown nevertheless; not with --watch); 6 output that cannot be "
               "written; 130 interrupted.")  # fmt: skip
@click.argument("folder", metavar="[FOLDER]", required=False)
@file_option("--json", "what all processes published as JSON (schema weft.stats-summary/1)")
@file_option("--prometheus", "the live processes' metrics in Prometheus' text format")
@click.option("--watch", "interval", type=_Seconds(0.01, 3600), is_flag=False, flag_value=1.0,
              default=None, metavar="[SECONDS]",
              help="Show it every SECONDS [1], with rates since the last time.")  # fmt: skip
@click.option("--count", type=click.IntRange(min=1), help="End --watch after so many times.")
@click.pass_context
def command(
    ctx: click.Context,
    folder: str | None,
    json_file: str | None,
    prometheus_file: str | None,
    interval: float | None,
    count: int | None,
) -> None:
    """Show the statistics of running processes.

    FOLDER is what they gave to Fabric(stats=) or in WEFT_STATS; without it, what WEFT_STATS says
    here. Tells operations, failures, what is in flight, the times of every kind and algorithm, and
    the links that moved most.
    """
    targets = [one for one in (json_file, prometheus_file) if one is not None]
    if interval is not None and targets:
        raise click.UsageError("--watch shows a screen, and goes with no output")
    if targets.count(STDOUT) > 1:
        raise click.UsageError("one output at most goes to stdout: give the other a FILE")
    if len(targets) == 2 and Path(targets[0]).resolve() == Path(targets[1]).resolve():
        raise click.UsageError(f"{targets[0]} would be written twice: give each its own FILE")
    place = _folder(folder)
    if interval is not None:
        watch(place, interval, count)
        return
    processes, problems = read(place)
    if json_file is not None:
        write_data(json_file, _json(place, processes, problems))
    if prometheus_file is not None:
        write_data(prometheus_file, _prometheus(processes))
    if not targets and processes:
        looks = Looks()
        looks.take(processes)
        stdout_console().print(screen(processes, looks))
    if not processes and not problems:
        note(f"weft: no process publishes statistics in {place}")
    for problem in problems:
        note(_text(problem))
    if problems:
        ctx.exit(2)  # ExitCode.USAGE, of the module that imports this one


def _folder(given: str | None) -> Path:
    name = given if given is not None else str(setting("WEFT_STATS"))
    if not name:
        raise click.UsageError("no FOLDER is given, and WEFT_STATS names none")
    if not Path(name).is_dir():
        raise click.UsageError(f"{name} is no folder")
    return Path(name)


def _text(problem: Problem) -> str:
    text = f"weft: {problem.file}: {problem.reason}"
    return "".join(c if c.isprintable() else "?" for c in text)


def _json(folder: Path, processes: list[Process], problems: list[Problem]) -> str:
    now = datetime.datetime.now(datetime.timezone.utc)
    summary = {
        "schema": "weft.stats-summary/1",
        "time": now.isoformat(),
        "folder": str(folder),
        "processes": [
            {"file": one.file.name, "ended": one.ended, "age_seconds": one.age_seconds}
            | {key: value for key, value in one.document.items() if key != "schema"}
            for one in processes
        ],
        "problems": [{"file": one.file.name, "reason": one.reason} for one in problems],
    }
    return json.dumps(summary, indent=2, allow_nan=False)


def _prometheus(processes: list[Process]) -> str:
    return render_all(
        (
            row["stats"],
            {"process": str(one.number), "fabric": str(row["fabric"]), "backend": row["backend"]},
            one.document["weft"],
        )
        for one in processes
        if not one.ended
        for row in one.fabrics
    )


def watch(
    folder: Path,
    interval: float = 1.0,
    count: int | None = None,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Show it every `interval` seconds, `count` times; None: to Ctrl-C.

    What is wrong with a file is said on stderr, once; it does not end the view.
    """
    show_each(_screens(folder, interval, count, sleep))


def _screens(
    folder: Path, interval: float, count: int | None, sleep: Callable[[float], None]
) -> Iterator[RenderableType]:
    looks = Looks()
    said: set[str] = set()
    done = 0
    while count is None or done < count:
        if done:
            sleep(interval)
        try:
            processes, problems = read(folder)
        except OSError as error:
            processes, problems = [], [Problem(folder, f"cannot be read: {error.strerror}")]
        for line in map(_text, problems):
            if line not in said:
                said.add(line)
                note(line)
        looks.take(processes)
        yield screen(processes, looks)
        done += 1

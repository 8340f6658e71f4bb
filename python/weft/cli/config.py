"""`weft config`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from weft import _weft
from weft._spec import resolve
from weft.cli.app import ExitCode
from weft.cli.output import file_option, note, stdout_console, write_data
from weft.topology import default_preset
from weft.tuning import place

__all__ = ["command"]


# What a text may be is known only to who reads it.
_READERS: dict[str, Callable[[], object]] = {
    "WEFT_DEVICES": resolve,
    "WEFT_SIM_TOPOLOGY": default_preset,
    "WEFT_TUNING": lambda: place().tables(),
}


@click.command("config")
@file_option("--json", "a JSON list")
@click.option("--all", "everything", is_flag=True, help="Also those for tests and debugging.")
@click.pass_context
def command(ctx: click.Context, json_file: str | None, everything: bool) -> None:
    """List the environment variables that weft reads, and their values in force.

    Exits with 2, after that, if the environment holds a value that cannot be used.
    """
    every = [_checked(row) for row in _weft.config()]
    rows = [row for row in every if everything or not row["internal"] or row["problem"]]
    if json_file is not None:
        write_data(json_file, json.dumps(rows, indent=2))
    else:
        _table(rows)
    problems = [row["problem"] for row in every if row["problem"]]
    for problem in problems:
        note(f"weft: ConfigError: {problem}")
    if problems:
        ctx.exit(ExitCode.USAGE)


def _checked(row: dict[str, Any]) -> dict[str, Any]:
    """The row with what only the reader of the variable knows; no value where none is in force."""
    problem = row["problem"]
    if problem is None and row["name"] in _READERS:
        try:
            _READERS[row["name"]]()
        except _weft.ConfigError as error:
            problem = str(error)
        except _weft.InvalidArgument as error:
            problem = f"{row['name']} is '{row['value']}': {error}"
    return row if problem is None else row | {"value": None, "problem": problem}


def _table(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table("variable", "type", "value", "default", "meaning", box=None, pad_edge=False)
    for row in rows:
        value = "unusable" if row["problem"] else str(row["value"])
        table.add_row(row["name"], row["type"], value, str(row["default"]), row["meaning"])
    stdout_console().print(table)

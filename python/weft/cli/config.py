"""`weft config`."""

from __future__ import annotations

import json

import click

from weft import _weft
from weft.cli.output import file_option, stdout_console, write_data

__all__ = ["command"]


@click.command("config")
@file_option("--json", "a JSON list")
@click.option("--all", "everything", is_flag=True, help="Also those for tests and debugging.")
def command(json_file: str | None, everything: bool) -> None:
    """List the environment variables that weft reads, and their values in force."""
    rows = [row for row in _weft.config() if everything or not row["internal"]]
    if json_file is not None:
        write_data(json_file, json.dumps(rows, indent=2))
        return
    from rich.table import Table

    table = Table("variable", "type", "value", "default", "meaning", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(str(row[key]) for key in ("name", "type", "value", "default", "meaning")))
    stdout_console().print(table)

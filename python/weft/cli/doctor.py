"""`weft doctor`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from weft.cli.app import ExitCode
from weft.cli.output import file_option, note, stdout_console, write_data

if TYPE_CHECKING:
    from weft.doctor import Check

__all__ = ["command"]

_COLOURS = {"PASS": "green", "WARN": "yellow", "FAIL": "bold red", "SKIP": "dim"}


@click.command("doctor")
@file_option("--json", "the checks as JSON (schema weft.doctor/1)")
@click.pass_context
def command(ctx: click.Context, json_file: str | None) -> None:
    """Check this machine and this process: what is wrong, why, and how to mend it.

    Exits with 1 if a check failed; with 0 otherwise, whatever was warned of or skipped. A machine
    without a GPU is fine: simulated devices run there.
    """
    from weft.doctor import examine, is_fit

    checks = examine()
    if json_file is not None:
        rows = [asdict(check) for check in checks]
        document = {"schema": "weft.doctor/1", "ok": is_fit(checks), "checks": rows}
        write_data(json_file, json.dumps(document, indent=2, ensure_ascii=False))
    else:
        _table(checks)
    if not is_fit(checks):
        failed = ", ".join(check.name for check in checks if check.status == "FAIL")
        note(f"weft doctor: failed: {failed}")
        ctx.exit(ExitCode.WRONG)


def _table(checks: Sequence[Check]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("", "check", "what was found", box=None, pad_edge=False)
    for check in checks:
        found = Text(check.why)
        if check.hint is not None:
            found.append(f"\nmend: {check.hint}", style="cyan")
        table.add_row(Text(check.status, style=_COLOURS[check.status]), check.name, found)
    stdout_console().print(table)

"""Where commands write: options with an optional FILE, stdout for data, stderr for the rest."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["STDOUT", "file_option", "note", "stdout_console", "write_data"]

STDOUT = "-"


def file_option(flag: str, what: str) -> Callable[[Any], Any]:
    """An option `--json [FILE]`, passed as `json_file`: None if absent, "-" without FILE."""
    return click.option(
        flag,
        flag.lstrip("-") + "_file",
        is_flag=False,
        flag_value=STDOUT,
        default=None,
        metavar="[FILE]",
        help=f"Write {what} to FILE, or to stdout without FILE.",
    )


def write_data(target: str, text: str) -> None:
    """Write `text` to stdout or to the file `target`. Exit code 1 where the file cannot be."""
    if target == STDOUT:
        click.echo(text, nl=not text.endswith("\n"))
        return
    try:
        Path(target).write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"cannot write {target}: {error.strerror}") from error
    note(f"wrote {target}")


def note(text: str) -> None:
    """A line for people, on stderr."""
    click.echo(text, err=True)


def stdout_console() -> Console:
    """A console on stdout; as wide as its content where stdout is no terminal."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise  # what to do is decided once, in app.py

    if sys.stdout is None:  # closed by the caller, who wants no data
        return Plain(quiet=True)
    return Plain() if sys.stdout.isatty() else Plain(width=160)

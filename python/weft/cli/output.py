"""Where commands write: options with an optional FILE, stdout for data, stderr for the rest."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["STDOUT", "check_target", "file_option", "note", "show_each", "stdout_console",
           "write_bytes", "write_data"]  # fmt: skip

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
        callback=_checked,
        help=f"Write {what} to FILE, or to stdout without FILE.",
    )


def _checked(ctx: click.Context, param: click.Parameter, target: str | None) -> str | None:
    if target not in (None, STDOUT):
        check_target("write", target)
    return target


def check_target(verb: str, target: str) -> None:
    """UsageError, before any work is done, for a file that cannot be written."""
    file = Path(target)
    if file.is_dir() or not file.parent.is_dir():
        raise click.UsageError(f"cannot {verb} {target}: no such folder, or a folder itself")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise click.UsageError(f"cannot {verb} {target}: permission denied")


class _OutputError(click.ClickException):
    exit_code = 6  # ExitCode.OUTPUT, of the module that imports this one


def write_data(target: str, text: str) -> None:
    """Write `text` to stdout or to the file `target`. ExitCode.OUTPUT where it fails."""
    text = text if text.endswith("\n") or not text else text + "\n"
    if target == STDOUT:
        click.echo(text, nl=False)
        return
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise _OutputError(f"cannot write {target}: {error.strerror}") from error
    note(f"wrote {target}")


def write_bytes(target: str, data: bytes) -> None:
    """As write_data, for what is no text."""
    if target == STDOUT:
        if sys.stdout is not None:  # else closed by the caller, who wants no data
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
        return
    try:
        Path(target).write_bytes(data)
    except OSError as error:
        raise _OutputError(f"cannot write {target}: {error.strerror}") from error
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


def show_each(pictures: Iterable[RenderableType]) -> None:
    """On a terminal one picture that changes, else one after the other."""
    console = stdout_console()
    if sys.stdout is None or not sys.stdout.isatty():
        for picture in pictures:
            console.print(picture)
            if sys.stdout is not None:
                sys.stdout.flush()
        return
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as live:
        for picture in pictures:
            live.update(picture, refresh=True)

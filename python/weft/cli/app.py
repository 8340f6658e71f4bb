"""The group of commands, loaded one at a time, and how errors become exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from typing import Any

import click

from weft import _weft

__all__ = ["ExitCode", "app", "exit_code"]

_COMMANDS = ("bench", "config", "demo", "doctor", "stats", "topo", "trace", "tune", "version")


class ExitCode:
    """What the process ends with (the same for every command)."""

    OK = 0
    WRONG = 1
    USAGE = 2
    BELOW_BASELINE = 3
    MISSING_DEVICE = 4
    TIMEOUT = 5
    OUTPUT = 6
    INTERRUPTED = 130  # as shells say it: 128 + SIGINT


def exit_code(error: _weft.Error) -> int:
    """The exit code that says what `error` says."""
    if isinstance(error, _weft.CollectiveTimeout):
        return ExitCode.TIMEOUT
    asked_for = error.device is not None and error.rank is None
    if isinstance(error, (_weft.InvalidArgument, _weft.ConfigError)) and asked_for:
        return ExitCode.MISSING_DEVICE
    if isinstance(error, (ValueError, TypeError)):
        return ExitCode.USAGE
    return ExitCode.WRONG


class _LazyGroup(click.Group):
    """Imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"weft.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except _weft.Error as error:
            click.echo(f"weft: {type(error).__name__}: {error}", err=True)
            ctx.exit(exit_code(error))
        except KeyboardInterrupt:
            click.echo("weft: interrupted", err=True)
            ctx.exit(ExitCode.INTERRUPTED)
        except BrokenPipeError:
            # The reader went away, as in `weft topo | head`; nothing is wrong.
            _drop_output()
            ctx.exit(ExitCode.OK)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            try:
                return super().main(*args, **kwargs)
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()  # here, and not where the interpreter ends
        except BrokenPipeError:
            _drop_output()
            sys.exit(ExitCode.OK)
        except OSError as error:
            _drop_output()
            where = "cannot write the output" if error.filename is None else error.filename
            with suppress(OSError):  # stderr may be what is full
                click.echo(f"weft: {where}: {error.strerror or error}", err=True)
            sys.exit(ExitCode.OUTPUT if error.filename is None else ExitCode.USAGE)


def _drop_output() -> None:
    """Let nothing be left to write to a stdout that takes no more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, AttributeError):  # a stdout that is no file, or none
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_weft.__version__, prog_name="weft")
def app() -> None:
    """Collectives between GPUs, or simulated devices, of one process."""

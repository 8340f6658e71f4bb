"""`weft version`."""

from __future__ import annotations

import json
import platform

import click

from weft import _weft
from weft.cli.output import file_option, write_data

__all__ = ["command"]


@click.command("version")
@file_option("--json", "a JSON object")
def command(json_file: str | None) -> None:
    """Print the version of weft and how it was built."""
    build = dict(_weft.build_info())
    facts = {"weft": _weft.__version__, "python": platform.python_version(), **build}
    if json_file is not None:
        write_data(json_file, json.dumps(facts, indent=2))
        return
    architectures = f" for {build['cuda_architectures']}" if build.get("cuda_architectures") else ""
    cuda = f"CUDA{architectures}" if build["cuda"] else "without CUDA"
    click.echo(f"weft {_weft.__version__} ({cuda}, {build['compiler']})")

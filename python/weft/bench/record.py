"""The record of a benchmark run: schema `weft.bench/1`. What is not known is null.

Programs with rows of their own have a schema of their own, and the same heading.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import weft
from weft.bench.link import LinkRates
from weft.bench.row import Row
from weft.topology import probe

__all__ = ["heading", "machine", "make_record"]


def make_record(
    command: Sequence[str],
    rows: Sequence[Row],
    *,
    link: LinkRates | None = None,
    cuda: str | None = None,
    versions: dict[str, Any] | None = None,
    incomplete: str | None = None,
) -> dict[str, Any]:
    """The record of `rows`, made by `command` on this machine, now.

    cuda: the driver's version of CUDA; versions: of the implementations compared with.
    incomplete: why the run ended before its last row, if it did.
    """
    return {
        **heading("weft.bench/1", command, cuda=cuda, versions=versions),
        "link": asdict(link or LinkRates()),
        **({} if incomplete is None else {"incomplete": incomplete}),
        "rows": [row.as_json() for row in rows],
    }


def heading(
    schema: str,
    command: Sequence[str],
    *,
    cuda: str | None = None,
    versions: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What every record begins with: schema, command, date, versions, machine."""
    return {
        "schema": schema,
        "command": list(command),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "weft": _version(),
        "versions": versions or {},
        "machine": machine() | {"cuda": cuda},
    }


def machine() -> dict[str, Any]:
    """This machine: its GPUs, its CPU and its driver. What is not known is None."""
    return {
        "gpus": [str(node["name"]) for node in probe().nodes()],
        "cpu": _cpu(),
        "driver": _driver(),
    }


def _version() -> str:
    """Version and commit, the latter where this is a clone of the repository."""
    commit = None
    git = shutil.which("git")
    if git is not None:
        done = subprocess.run(
            [
                git,
                "-C",
                str(Path(__file__).parent),
                "describe",
                "--always",
                "--dirty",
                "--abbrev=12",
            ],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        commit = done.stdout.strip() if done.returncode == 0 else None
    return f"{weft.__version__} {commit}" if commit else weft.__version__


def _cpu() -> str | None:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or None


def _driver() -> str | None:
    try:
        return Path("/sys/module/nvidia/version").read_text(encoding="utf-8").strip()
    except OSError:
        return None

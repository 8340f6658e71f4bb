"""The record of a benchmark run: schema `weft.bench/1`. What is not known is null."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import weft
from weft.bench.row import Row
from weft.topology import Topology, probe

__all__ = ["make_record", "peak_gbps"]


def make_record(command: Sequence[str], rows: Sequence[Row]) -> dict[str, Any]:
    """The record of `rows`, made by `command` on this machine, now."""
    return {
        "schema": "weft.bench/1",
        "command": list(command),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "weft": _version(),
        "machine": {
            "gpus": [str(node["name"]) for node in probe().nodes()],
            "cpu": _cpu(),
            "driver": _driver(),
            "cuda": weft._weft.build_info()["cuda_architectures"] or None,
        },
        "link": {"copy_engine_bidir_gbps": None, "copy_engine_gbps": None},
        "rows": [row.as_json() for row in rows],
    }


def peak_gbps(topology: Topology, devices: Sequence[str]) -> float | None:
    """The slowest link between the devices of neighbouring ranks, one way, 10^9 bytes per second.

    None where it is not known, or all ranks share a device.
    """
    document = json.loads(topology.to_json())
    places = {node["device"]: place for place, node in enumerate(document["devices"])}
    links = {(link["from"], link["to"]): link["bytes_per_second"] for link in document["links"]}
    pairs = [
        (places.get(one), places.get(other))
        for one, other in zip(devices, [*devices[1:], devices[0]], strict=True)
        if one != other
    ]
    rates = [links.get(pair) for pair in pairs]
    known = [rate for rate in rates if rate is not None]
    return min(known) / 1e9 if known and len(known) == len(rates) else None


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

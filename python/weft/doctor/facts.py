"""What the doctor judges by, gathered without ever failing: what cannot be found out is None."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from weft import _weft

__all__ = ["Facts", "gather"]

T = TypeVar("T")


@dataclass(frozen=True)
class Facts:
    """Of the machine and of this process. Sizes in bytes."""

    environ: Mapping[str, str] = field(default_factory=dict)
    build: Mapping[str, Any] = field(default_factory=dict)  # _weft.build_info()
    usable_devices: int = 0  # CUDA devices that weft can use
    driver: Mapping[str, Any] | None = None  # _weft.topology_driver()
    topology: Mapping[str, Any] | None = None  # weft.topology/1, verified
    system: Mapping[str, Any] | None = None  # _weft.topology_system()
    counters: Mapping[str, Any] | None = None  # _weft.topology_counters()
    config: list[dict[str, Any]] = field(default_factory=list)  # _weft.config()
    unknown_variables: list[str] = field(default_factory=list)  # a sentence each
    toolkit: str | None = None  # version of nvcc, "13.0"
    packages: Mapping[str, str] = field(default_factory=dict)  # versions of what is installed
    cpus: frozenset[int] | None = None  # that this process may run on
    numa_balancing: bool | None = None
    shared_memory_free: int | None = None  # of /dev/shm
    locked_memory: int | None = None  # limit; -1: none


_PACKAGES = ("torch", "nvidia-nccl-cu12", "nvidia-nccl-cu13", "cupy-cuda13x", "cuda-core")


def gather() -> Facts:
    """The facts of this machine and process, now. Blocks; seconds at most."""
    return Facts(
        environ=dict(os.environ),
        build=_or(dict, _weft.build_info) or {},
        usable_devices=_or(int, _weft.cuda_device_count) or 0,
        driver=_or(dict, _weft.topology_driver),
        topology=_or(dict, lambda: _weft.topology_probe(True).document()),
        system=_or(dict, _weft.topology_system),
        counters=_or(dict, _weft.topology_counters),
        config=_or(list, _weft.config) or [],
        unknown_variables=_or(list, _weft.config_warnings) or [],
        toolkit=_or(_same, _nvcc_version),
        packages=_installed(),
        cpus=_or(frozenset, lambda: os.sched_getaffinity(0)),
        numa_balancing=_or(_same, _numa_balancing),
        shared_memory_free=_or(_same, _shared_memory_free),
        locked_memory=_or(_same, _locked_memory),
    )


def _same(value: T) -> T:
    return value


def _or(kind: Callable[[Any], T], ask: Callable[[], Any]) -> T | None:
    """What `ask` gives, as `kind`; None where it fails or has nothing."""
    try:
        answer = ask()
        return None if answer is None else kind(answer)
    except Exception:  # of whatever kind: the doctor must answer
        return None


def _installed() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        version = _or(str, lambda name=name: importlib.metadata.version(name))  # type: ignore[misc]
        if version is not None:
            found[name] = version
    return found


def _nvcc_version() -> str | None:
    nvcc = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    if nvcc is None:
        return None
    command = [nvcc, "--version"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    match = re.search(r"release (\d+\.\d+)", said)
    return match[1] if match else None


def _numa_balancing() -> bool:
    return Path("/proc/sys/kernel/numa_balancing").read_text().strip() != "0"


def _shared_memory_free() -> int:
    found = os.statvfs("/dev/shm")
    return found.f_bavail * found.f_frsize


def _locked_memory() -> int:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return -1 if soft == resource.RLIM_INFINITY else soft

"""`--vs`: what there is, whether it can do what is asked for, and the runners.

Nothing of another implementation is imported or loaded before `start`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from weft.bench.buffers import arena_bytes
from weft.bench.cuda_driver import Driver
from weft.bench.link import ordinals_of
from weft.bench.load import make_load
from weft.bench.runner import RivalUnavailableError, Runner
from weft.bench.sweep import Plan, cases

if TYPE_CHECKING:
    from weft.fabric import Fabric

__all__ = ["NAMES", "check", "start"]

NAMES = ("nccl", "nccl-sym", "torch", "torch-nccl", "mpi")
_ON_GPUS = NAMES[:4]


def check(
    names: Sequence[str],
    plan: Plan,
    backend: str,
    devices: Sequence[str],
    nccl_path: str | None,
) -> None:
    """RivalUnavailableError, before anything is run, where one of `names` cannot do `plan`."""
    for name in names:
        if name in _ON_GPUS and backend != "cuda":
            raise RivalUnavailableError(f"--vs {name} needs CUDA devices; these are simulated")
        if name in _ON_GPUS and len(set(devices)) != len(devices):
            raise RivalUnavailableError(f"--vs {name} needs a device of its own for each rank")
        if name == "mpi":
            from weft.bench.rivals import mpi

            mpi.find_mpiexec()
            for dtype, op in plan.kinds:
                mpi.refuse(dtype, op)
        elif name.startswith("nccl"):
            from weft.bench.rivals import nccl_library

            nccl_library.find(nccl_path)
            for dtype, op in plan.kinds:
                nccl_library.refuse(op, dtype, plan.ranks)
        else:
            from weft.bench.rivals import torch_symm

            for dtype, op in plan.kinds:
                torch_symm.refuse(name, plan.collective, dtype, op)


def start(
    names: Sequence[str],
    plan: Plan,
    fabric: Fabric,
    driver: Driver | None,
    nccl_path: str | None,
    timeout: float,
    stack: ExitStack,
) -> tuple[list[Runner], dict[str, Any]]:
    """The runners, closed by `stack`, and the versions of what they use."""
    runners: list[Runner] = []
    versions: dict[str, Any] = {}
    nccl: Any = None
    for name in names:
        runner: Runner
        if name == "mpi":
            from weft.bench.rivals.mpi import MpiRunner

            runner = MpiRunner(fabric.size, timeout=timeout)
        elif name.startswith("nccl"):
            from weft.bench.rivals import nccl_library
            from weft.bench.rivals.nccl import NcclRunner

            assert driver is not None
            # Its own processes, too, must find multicast off.
            nccl = nccl or nccl_library.load(nccl_library.find(nccl_path))
            versions["nccl"] = nccl.version()
            nccl_library.require(nccl, plan.kinds)
            runner = NcclRunner(
                nccl,
                driver,
                ordinals_of(fabric.devices),
                capacity=_capacity(plan),
                symmetric=name == "nccl-sym",
            )
        else:
            from weft.bench.rivals.torch_symm import TorchRunner

            torch = TorchRunner(
                name, ordinals_of(fabric.devices), capacity=_capacity(plan), timeout=timeout
            )
            versions |= torch.versions
            runner = torch
        stack.callback(runner.close)
        runners.append(runner)
    if nccl is not None:
        versions["NCCL_NVLS_ENABLE"] = os.environ["NCCL_NVLS_ENABLE"]
    return runners, versions


def _capacity(plan: Plan) -> int:
    """Bytes of a rank's arena: all sets of the largest case, one to run ahead, one to stage."""
    largest = 0
    for case in cases(plan):
        largest = max(largest, arena_bytes(case, make_load(case, plan.timing).sets + 2))
    return largest

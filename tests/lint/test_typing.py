"""A user's program is right under mypy's strict rules, by the types and the stub of the package."""

import os
import subprocess
import sys

from lint.source import ROOT

PROGRAM = """
from __future__ import annotations

import numpy as np
import numpy.typing as npt

import weft


def reduced(fab: weft.Fabric, xs: list[npt.NDArray[np.float32]], later: bool) -> None:
    sums: list[npt.NDArray[np.float32]] = fab.all_reduce(xs)
    work: weft.Work = fab.all_reduce(sums, async_op=True)
    work.wait()
    either = fab.all_gather(xs, async_op=later)
    if isinstance(either, weft.Work):
        either.wait()
    fab.rank(0).all_reduce(xs[0], group_size=1, async_op=later)


def filled(tensor: weft.Tensor) -> list[weft.Tensor]:
    tensor.fill_(1).copy_(tensor)
    return [row for row in tensor]
"""


def test_a_program_of_a_user_is_typed(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = ["--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}", str(program)]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *command], env=os.environ | {"MYPYPATH": f"{ROOT}/python"},
        capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    mine = [line for line in done.stdout.splitlines() if line.startswith(str(program))]
    assert mine == []
    assert "Found" in done.stdout or "Success" in done.stdout

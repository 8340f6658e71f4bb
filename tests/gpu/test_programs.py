"""The programs in bench/ on GPUs, with little to do: they end well and their records are whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from weft.bench.rivals import nccl_library
from weft.bench.runner import RivalUnavailableError

pytest.importorskip("torch", reason="the programs use PyTorch's tensors")
BENCH = Path(__file__).parents[2] / "bench"


def run(path: Path, name: str, *flags: str) -> dict[str, Any]:
    """The record that bench/`name`.py writes; it must end well."""
    command = [sys.executable, str(BENCH / f"{name}.py"), *flags, "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "0 wrong elements" in done.stdout
    return dict(json.loads(path.read_text()))


def need_nccl() -> None:
    try:
        nccl_library.load(nccl_library.find())
    except RivalUnavailableError as missing:
        pytest.skip(str(missing))


@pytest.mark.gpu1
def test_opening(tmp_path: Path) -> None:
    record = run(tmp_path / "x.json", "open", "--devices", "cuda:0x2", "--runs", "2")
    assert record["devices"] == ["cuda:0", "cuda:0"]
    assert record["machine"]["cuda"]
    assert all(0 < times["open_ms"] < 60_000 for times in record["runs"])


@pytest.mark.gpu1
def test_eager_calls_on_one_gpu_have_no_nccl_beside_them(tmp_path: Path) -> None:
    few = ("--devices", "cuda:0x2", "--calls", "20", "--rounds", "2", "--samples", "2")
    rows = run(tmp_path / "x.json", "eager", *few)["rows"]
    assert {(row["impl"], row["tensors"], row["wrong"]) for row in rows} == {("weft", "torch", 0)}


@pytest.mark.gpu2
def test_eager_calls_beside_nccl(tmp_path: Path) -> None:
    need_nccl()
    few = ("--devices", "cuda:0,1", "--calls", "20", "--rounds", "2", "--samples", "2")
    rows = run(tmp_path / "x.json", "eager", *few)["rows"]
    assert {row["impl"] for row in rows} == {"weft", "nccl"}
    assert {(row["mode"], row["cache"]) for row in rows} == {("eager", "hot")}


@pytest.mark.gpu2
def test_overlap(tmp_path: Path) -> None:
    few = ("--bytes", str(64 << 20), "--size", "4096", "--products", "30", "--rounds", "2")
    record = run(tmp_path / "x.json", "overlap", "--devices", "cuda:0,1", *few, "--samples", "2")
    assert {row["wrong"] for row in (*record["ring"], *record["gemm"])} == {0}
    assert [row["algorithm"] for row in record["gemm"]] == ["ring", "copy_engine", "auto"]
    for row in record["gemm"]:
        assert row["gemm_beside_us"] > 0.9 * row["gemm_alone_us"] > 0
        assert 0 < row["sm_share"] <= 1
    blocks = {row["max_blocks"]: row["blocks"] for row in record["ring"]}
    assert all(blocks[most] <= most for most in (1, 2, 4, 8, 16))

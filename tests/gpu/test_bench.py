"""`weft bench` on GPUs: weft beside NCCL and PyTorch in one run, every element checked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from weft.bench.collective import COLLECTIVES
from weft.bench.rivals import nccl_library
from weft.bench.runner import RivalUnavailableError
from weft.cli.app import app

pytest.importorskip("torch", reason="the comparison needs PyTorch and the NCCL it brings")
FEW = ("-b", "1K", "-e", "1M", "-f", "32", "-n", "4", "-G", "3", "--rounds", "2", "--json")


def run(*arguments: str) -> dict[str, Any]:
    """The record of one run, which must end well."""
    result = CliRunner().invoke(app, ["bench", *arguments, *FEW])
    assert result.exit_code == 0, result.stderr
    return dict(json.loads(result.stdout))


@pytest.fixture(scope="module", autouse=True)
def _nccl() -> None:
    try:
        nccl_library.load(nccl_library.find())
    except RivalUnavailableError as missing:
        pytest.skip(str(missing))


@pytest.mark.gpu2
@pytest.mark.parametrize("mode", ["graph", "eager"])
def test_all_reduce_beside_nccl_and_torch(mode: str) -> None:
    names = ["nccl", "nccl-sym", "torch"]
    record = run(
        "all_reduce", "--devices", "cuda:0,1", "--mode", mode, "-d", "float32,bfloat16", "--vs",
        ",".join(names),
    )  # fmt: skip
    rows = record["rows"]
    assert {row["impl"] for row in rows} == {"weft", *names}
    assert {row["wrong"] for row in rows} == {0}
    assert {row["mode"] for row in rows} == {mode}
    assert {row["cache"] for row in rows} == {"cold"}
    assert all(row["time_us"] > 1 and 0 < row["pct_peak"] < 110 for row in rows)
    assert 10 < record["link"]["copy_engine_bidir_gbps"] < 2000
    assert record["versions"]["NCCL_NVLS_ENABLE"] == "0"


@pytest.mark.gpu2
@pytest.mark.parametrize("op", ["sum", "max"])
def test_floats_of_8_bits_beside_nccl(op: str) -> None:
    dtypes = ["float8_e4m3fn", "float8_e5m2"]
    rows = run(
        "all_reduce", "--devices", "cuda:0,1", "-d", ",".join(dtypes), "-o", op, "--vs", "nccl"
    )["rows"]
    assert {(row["impl"], row["dtype"]) for row in rows} == {
        (impl, dtype) for impl in ("weft", "nccl") for dtype in dtypes
    }
    assert {row["wrong"] for row in rows} == {0}


@pytest.mark.gpu2
@pytest.mark.parametrize("collective", COLLECTIVES)
def test_every_collective_beside_nccl(collective: str) -> None:
    rows = run(collective, "--devices", "cuda:0,1", "--mode", "eager", "--vs", "nccl")["rows"]
    assert {row["impl"] for row in rows} == {"weft", "nccl"}
    assert {row["wrong"] for row in rows} == {0}


@pytest.mark.gpu1
def test_ranks_that_share_a_device_have_no_link_and_no_nccl() -> None:
    record = run("all_reduce", "--devices", "cuda:0x2", "--mode", "eager")
    assert record["link"] == {"copy_engine_bidir_gbps": None, "copy_engine_gbps": None}
    assert {row["pct_peak"] for row in record["rows"]} == {None}
    refused = CliRunner().invoke(
        app, ["bench", "all_reduce", "--devices", "cuda:0x2", "--vs", "nccl"]
    )
    assert refused.exit_code == 2
    assert "a device of its own" in refused.stderr

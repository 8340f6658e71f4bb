"""Tables of algorithms on GPUs: what is shipped, rows that were measured, and `weft tune`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import weft
from gpu.support import DTYPES, captured, synchronize, torch
from weft import tuning
from weft.cli.app import app

SPECS = [
    pytest.param("cuda:0x3", marks=pytest.mark.gpu1),
    pytest.param("cuda:0,1", marks=pytest.mark.gpu2),
]


def row(algorithm: str, **changed: Any) -> dict[str, Any]:
    return {
        "dtypes": "any",
        "captured": None,
        "in_place": None,
        "from_bytes": 0,
        "up_to_bytes": 1 << 20,
        "algorithm": algorithm,
        "blocks": 0,
    } | changed


def write(path: Path, spec: str, *rows: dict[str, Any], collective: str = "all_reduce") -> Path:
    """A table for fabrics as `spec` opens them."""
    with weft.Fabric(spec, tuning="off") as fabric:
        gpus, ranks = list(fabric._native.gpu_names), fabric.size
    machine = {"gpus": gpus, "driver": None, "cpu": None}
    tuning.store(
        path,
        [
            {
                "collective": collective,
                "backend": "cuda",
                "ranks": ranks,
                "machine": machine,
                "date": "2026-01-01",
                "rows": list(rows),
            }
        ],
    )
    return path


def tensors(fabric: weft.Fabric, size: int, dtype: str = "float32") -> list[Any]:
    kind = DTYPES[dtype]
    return [torch.ones(size // kind.itemsize, dtype=kind, device=d) for d in fabric.devices]


def info(work: weft.Work) -> dict[str, Any]:
    work.wait()
    return work.info


@pytest.mark.gpu2
def test_the_shipped_table_takes_what_the_records_say() -> None:
    with weft.Fabric("cuda:0,1", tuning="off") as fabric:
        for size, dtype, algorithm in [
            (1 << 10, "float32", "lamport"),
            (1 << 10, "int32", "ll"),
            (16 << 20, "bfloat16", "lamport"),
            (16 << 20, "int32", "push_two_shot"),
            ((16 << 20) + 16, "float32", "push_two_shot"),
            ((48 << 20) - 16, "float32", "push_two_shot"),
            (48 << 20, "bfloat16", "copy_engine"),
        ]:
            work = fabric.all_reduce(tensors(fabric, size, dtype), async_op=True)
            assert info(work)["algorithm"] == algorithm, (size, dtype)
        for size, algorithm in [(1 << 10, "ll"), (1 << 20, "one_shot"), (64 << 20, "copy_engine")]:
            work = fabric.broadcast(tensors(fabric, size), async_op=True)
            assert info(work)["algorithm"] == algorithm, size


@pytest.mark.parametrize("spec", SPECS)
def test_a_rows_algorithm_and_blocks_run_and_are_told(spec: str, tmp_path: Path) -> None:
    path = write(tmp_path / "t.json", spec, row("two_shot", blocks=3))
    with weft.Fabric(spec, tuning=path) as fabric:
        data = tensors(fabric, 1 << 20)
        told = info(fabric.all_reduce(data, async_op=True))
        assert (told["algorithm"], told["blocks"]) == ("two_shot", 3)
        event = fabric.events().operations[-1]
        assert event["blocks"] == 3
        assert all(bool((x == fabric.size).all()) for x in data)
        told = info(fabric.all_reduce(data, async_op=True, max_blocks=2))
        assert (told["algorithm"], told["blocks"]) == ("two_shot", 2)
        told = info(fabric.all_reduce(data, async_op=True, algorithm="two_shot"))
        assert told["blocks"] > 3
        assert fabric.tuning()[0]["source"].startswith(str(path))


@pytest.mark.parametrize("spec", SPECS)
def test_captured_calls_have_rows_of_their_own(spec: str, tmp_path: Path) -> None:
    rows = [row("ll", captured=True), row("two_shot", captured=False)]
    with weft.Fabric(spec, tuning=write(tmp_path / "t.json", spec, *rows)) as fabric:
        data = tensors(fabric, 1 << 10)
        assert info(fabric.all_reduce(data, async_op=True))["algorithm"] == "two_shot"
        graph = weft.Graph()
        with graph.capture(fabric):
            fabric.all_reduce(data)
        assert graph.info["algorithm"] == "ll"


@pytest.mark.parametrize("spec", SPECS)
def test_a_row_that_a_capture_cannot_hold_is_passed_over(spec: str, tmp_path: Path) -> None:
    with weft.Fabric(spec, tuning=write(tmp_path / "t.json", spec, row("copy_engine"))) as fabric:
        data = tensors(fabric, 1 << 10)
        assert info(fabric.all_reduce(data, async_op=True))["algorithm"] == "copy_engine"
        streams = [torch.cuda.Stream(d) for d in fabric.devices]
        ran = []

        def together(rank: int | None, stream: Any) -> None:
            if rank is None:
                work = fabric.all_reduce(data, streams=streams, async_op=True)
                ran.append(work.info["algorithm"])

        synchronize(fabric)
        graph = captured(streams, together)
        assert ran == ["lamport"]
        for x in data:
            x.fill_(1)
        synchronize(fabric)
        graph.replay()
        synchronize(fabric)
        assert all(bool((x == fabric.size).all()) for x in data)


@pytest.mark.parametrize("spec", SPECS)
def test_weft_tune_keeps_its_time_and_what_it_found_is_taken(spec: str, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    begin = time.monotonic()
    result = CliRunner().invoke(
        app,
        [
            "tune", "--devices", spec, "--collective", "all_reduce,all_gather",
            "--max-seconds", "15", "--output", str(path), "--json",
        ],
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert time.monotonic() - begin < 25
    tables = json.loads(result.stdout)["tables"]
    assert [table["collective"] for table in tables] == ["all_reduce", "all_gather"]
    assert tables == tuning.read(path)
    rows = tables[0]["rows"]
    assert {row["captured"] for row in rows} == {True, False}
    assert {row["dtypes"] for row in rows} == {"floating", "integral"}
    assert all(us > 0 for row in rows for at in row["measured"] for us in at["us"].values())
    with weft.Fabric(spec, tuning=path) as fabric:
        for row in rows:
            if row["captured"] or not row["in_place"]:
                continue
            dtype = "float32" if row["dtypes"] == "floating" else "int32"
            work = fabric.all_reduce(
                tensors(fabric, row["measured"][-1]["bytes"], dtype), async_op=True
            )
            assert info(work)["algorithm"] == row["algorithm"]

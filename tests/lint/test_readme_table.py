"""The tables of results in README.md are those of the records, and what a record may not hide."""

import importlib.util
import json
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("readme_table", ROOT / "bench" / "readme_table.py")
readme_table = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(readme_table)


def row(**changes):
    values = {
        "impl": "weft", "collective": "all_reduce", "dtype": "float32", "op": "sum", "ranks": 2,
        "bytes": 65536, "devices": ["cuda:0", "cuda:1"], "in_place": True, "mode": "graph",
        "time_us": 4.0, "busbw_gbps": 16.384, "pct_peak": 4.2, "rounds": 5, "wrong": 0,
        "predicted": False, "cache": "cold",
    }  # fmt: skip
    return values | changes


def record(rows):
    machine = {"gpus": ["GPU X", "GPU X"], "cpu": "a CPU", "driver": "1.2", "cuda": "13.0"}
    return {
        "schema": "weft.bench/1", "weft": "0.1.0 abc", "date": "2026-01-02T03:04:05+00:00",
        "versions": {"nccl": "2.28.9"}, "machine": machine, "rows": rows,
        "link": {"copy_engine_bidir_gbps": 386.4, "copy_engine_gbps": 390.0},
    }  # fmt: skip


def test_the_readme_is_current():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme_table._BLOCK.search(text), "README.md has no table of results"
    assert readme_table.renewed(text) == text, "make docs"


def test_a_table_names_the_machine_and_compares_with_the_fastest():
    rows = [
        row(),
        row(impl="nccl", time_us=6.0),
        row(impl="torch", time_us=5.0),
        row(bytes=1 << 30, time_us=2800.0, busbw_gbps=383.5, pct_peak=99.2),
        row(in_place=False, time_us=9.0),
    ]
    text = readme_table.tables(record(rows), "x.json", "in-place")
    for words in ("2 ranks on 2 x GPU X", "driver 1.2", "CUDA 13.0", "nccl 2.28.9", "L2 cold",
                  "386 GB/s", "2026-01-02", "CUDA-graph replay", "times measured"):  # fmt: skip
        assert words in text
    assert "| 64 KiB | 4.00 | 16.4 | 4 | 6.00 | 5.00 | 1.25x |" in text
    assert "| 1 GiB | 2800 | 384 | 99 | - | - | - |" in text
    assert "out of place" not in text
    assert "out of place" in readme_table.tables(record(rows), "x.json")


def test_the_simulator_and_predictions_are_called_so():
    text = readme_table.tables(
        record([row(devices=["sim:0"] * 2, pct_peak=None, predicted=True)]), "x.json"
    )
    assert "2 simulated ranks on a CPU" in text
    assert "times predicted" in text
    assert "GPU X" not in text
    assert "% of the link" not in text


def test_only_the_tables_change(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps(record([row()])))
    text = "before\n<!-- results: x.json -->\nwas here\n<!-- /results -->\nafter\n"
    new = readme_table.renewed(text, tmp_path)
    assert new.startswith("before\n<!-- results: x.json -->\n**all_reduce")
    assert new.endswith("<!-- /results -->\nafter\n")
    assert "was here" not in new
    assert readme_table.renewed(new, tmp_path) == new


@pytest.mark.parametrize("changes", [{"wrong": 1}, {"wrong": None}])
def test_wrong_or_unchecked_results_are_not_shown(changes):
    with pytest.raises(ValueError, match="wrong or unchecked"):
        readme_table.tables(record([row(), row(**changes)]), "x.json")


def test_what_is_no_record_is_refused():
    with pytest.raises(ValueError, match="no record"):
        readme_table.tables({"rows": []}, "x.json")
    with pytest.raises(ValueError, match="incomplete: a reason"):
        readme_table.tables(record([row()]) | {"incomplete": "a reason"}, "x.json")
    with pytest.raises(ValueError, match="no rows"):
        readme_table.tables(record([row()]), "x.json", "out-of-place")

"""The benchmark: sizes, inputs with exact results, rows, records, and the command."""

import csv
import io
import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import weft
from weft.bench import row as rows
from weft.bench.pattern import DTYPES, FLOATS, OPS, Pattern, numpy_dtype
from weft.bench.record import peak_gbps
from weft.bench.runner import WeftRunner
from weft.bench.sizes import parse_size, size_steps, size_text
from weft.bench.sweep import Plan, cases, largest_memory, sweep
from weft.cli.app import app

JOINS = {
    "sum": np.add,
    "avg": np.add,
    "prod": np.multiply,
    "min": np.minimum,
    "max": np.maximum,
}
KINDS = [(dtype, op) for dtype in DTYPES for op in OPS if op != "avg" or dtype in FLOATS]


@given(st.integers(0, 10**14))
def test_sizes_are_read_as_they_are_written(count):
    assert parse_size(size_text(count)) == count


@pytest.mark.parametrize("text", ["", "K", "1.5K", "-8", "8X", "8 8", "0x8"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


@pytest.mark.parametrize("steps", [(8, 4, 2), (8, 64, 1), (0, 8, 2)])
def test_a_sweep_that_would_not_end_is_refused(steps):
    with pytest.raises(ValueError, match=r"sweep|above"):
        size_steps(*steps)


def reference(pattern, count):
    """The result by NumPy alone, in a type wide enough to be exact."""
    inputs = [pattern.values(rank, count) for rank in range(pattern.ranks)]
    if pattern.dtype == "bool":
        return (np.any if pattern.op in ("sum", "max") else np.all)(inputs, axis=0)
    wide = np.array([values.astype(np.float64) for values in inputs])
    if pattern.op == "avg":
        return wide.sum(axis=0) / pattern.ranks
    return {"sum": np.sum, "prod": np.prod, "min": np.min, "max": np.max}[pattern.op](wide, axis=0)


@pytest.mark.parametrize(("dtype", "op"), KINDS)
@pytest.mark.parametrize("ranks", [1, 2, 5, 16, 64])
def test_a_pattern_knows_its_result(dtype, op, ranks):
    pattern = Pattern(dtype, op, ranks)
    exact = reference(pattern, 9000)
    right = exact if dtype in (*FLOATS, "bool") else exact.astype(np.int64)
    if dtype in ("float16", "bfloat16"):
        right = right.astype(np.float32)
    right = right.astype(numpy_dtype(dtype))
    assert pattern.wrong(right) == 0
    if op != "avg":
        assert right.dtype == numpy_dtype(dtype)


@pytest.mark.parametrize(("dtype", "op"), KINDS)
def test_a_pattern_notices_each_missing_rank_and_a_wrong_place(dtype, op):
    ranks = 4
    pattern = Pattern(dtype, op, ranks)
    inputs = [pattern.values(rank, 9000) for rank in range(ranks)]
    join = JOINS[op]
    whole = join.reduce(inputs, dtype=inputs[0].dtype)
    if op == "avg":
        whole = (whole / np.float32(ranks)).astype(inputs[0].dtype)
    assert pattern.wrong(whole) == 0
    assert pattern.wrong(np.roll(whole, 1)) > 0
    assert pattern.wrong(np.roll(whole, 4096)) > 0
    for missing in range(ranks):
        rest = [values for rank, values in enumerate(inputs) if rank != missing]
        partial = join.reduce(rest, dtype=inputs[0].dtype)
        if op == "avg":
            partial = (partial / np.float32(ranks)).astype(inputs[0].dtype)
        assert pattern.wrong(partial) > 0, missing


def test_what_has_no_result_is_refused():
    for dtype, op in [("int32", "avg"), ("bool", "avg"), ("complex64", "sum"), ("int8", "xor")]:
        with pytest.raises(ValueError, match=r"no pattern|no avg"):
            Pattern(dtype, op, 2)


def test_fill_writes_what_values_gives():
    pattern = Pattern("int64", "sum", 3)
    into = np.zeros(20000, np.int64)
    pattern.fill(2, into)
    assert (into == pattern.values(2, 20000)).all()


def test_a_row_is_computed_as_nccl_tests_does():
    case = rows.Case("all_reduce", "float32", "sum", 250_000, 4, True)
    row = rows.make_row(
        case,
        [[0.001, 0.003, 0.002], [0.004, 0.004, 0.004]],
        peak_gbps=1.0,
        impl="weft", algo="ring", ranks=4, devices=["sim:0"] * 4, mode="eager", clock="host",
        blocks=1, scratch_bytes=None, wrong=0, predicted_us=None,
    )  # fmt: skip
    assert row.time_us == pytest.approx(3500)
    assert row.algbw_gbps == pytest.approx(1e6 / 3500e-6 / 1e9)
    assert row.busbw_gbps == pytest.approx(row.algbw_gbps * 1.5)
    assert row.pct_peak == pytest.approx(100 * row.busbw_gbps)
    assert (row.p50_us, row.p99_us, row.spread_us, row.rounds) == (3000, 4000, 2000, 2)
    assert row.bytes == 1_000_000


def test_the_peak_is_the_slowest_link_of_the_ring():
    machine = weft.topology.Topology.preset("hgx-h200", 4)
    rates = [link["bytes_per_second"] for link in json.loads(machine.to_json())["links"]]
    names = [f"sim:{i}" for i in range(4)]
    assert peak_gbps(machine, names) == pytest.approx(min(rates) / 1e9)
    assert peak_gbps(machine, ["sim:0", "sim:0", "sim:1"]) == pytest.approx(min(rates) / 1e9)
    assert peak_gbps(machine, ["sim:0", "sim:0"]) is None
    assert peak_gbps(machine, ["sim:0", "sim:9"]) is None


def small_plan(**changes):
    values = {
        "collective": "all_reduce",
        "kinds": (("float32", "sum"),),
        "sizes": (8, 4100),
        "iterations": 3,
        "rounds": 2,
    }
    return Plan(**(values | changes))


def test_a_sweep_times_and_checks_every_case():
    plan = small_plan(kinds=(("float32", "sum"), ("bfloat16", "avg"), ("bool", "max")))
    with weft.Fabric("sim:3") as fabric:
        runner = WeftRunner(fabric, algorithm="auto", warmup=1, timeout=None)
        result = list(sweep(plan, [runner]))
    assert [(r.dtype, r.op, r.bytes, r.in_place) for r in result] == [
        (c.dtype, c.op, c.bytes, c.in_place) for c in cases(plan)
    ]
    assert [r.bytes for r in result[:4]] == [8, 8, 4100, 4100]
    for one in result:
        assert one.wrong == 0
        assert 0 < one.time_us <= one.p99_us
        assert one.rounds == 2
        assert one.predicted is False
        assert one.predicted_us > 0


class AsOnGpus:
    """A simulated fabric whose tensors are made on its devices, as for a CUDA fabric."""

    backend = "cuda"

    def __init__(self, fabric):
        self.size, self.devices, self.all_reduce = fabric.size, fabric.devices, fabric.all_reduce


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "bool"])
def test_tensors_on_devices(dtype):
    with weft.Fabric("sim:3") as fabric:
        runner = WeftRunner(AsOnGpus(fabric), algorithm="ring", warmup=1, timeout=5.0)
        plan = small_plan(kinds=((dtype, "max"),))
        result = list(sweep(plan, [runner]))
        assert [one.wrong for one in result] == [0] * 4


def test_wrong_elements_are_counted(monkeypatch):
    with weft.Fabric("sim:2") as fabric:
        runner = WeftRunner(fabric, algorithm="auto", warmup=0, timeout=None)
        right = fabric.all_reduce

        def damaged(tensors, op, *, out=None, **rest):
            result = right(tensors, op, out=out, **rest)
            if isinstance(result, weft.Work):
                result.wait()
            (out or tensors)[1][3] += 1
            return result

        monkeypatch.setattr(fabric, "all_reduce", damaged)
        assert [one.wrong for one in sweep(small_plan(sizes=(4100,)), [runner])] == [1, 1]


def test_memory_is_estimated_for_all_implementations():
    assert largest_memory(small_plan(), 4, 2) == 4100 * 18


def run(*args):
    return CliRunner().invoke(app, ["bench", *args])


FEW = ("-b", "8", "-e", "1K", "-f", "16", "-n", "2", "-w", "1", "--devices", "sim:2")


def test_the_table_has_the_columns_of_nccl_tests():
    result = run("all_reduce", *FEW)
    assert result.exit_code == 0, result.stderr
    heads = [line for line in result.stdout.splitlines() if "redop" in line]
    names = heads[0].split()
    assert names[:6] == ["#", "size", "count", "type", "redop", "root"]
    assert names[6:14] == ["time", "algbw", "busbw", "#wrong"] * 2
    for column in ("algo", "p50", "p99", "%peak", "predicted"):
        assert column in names
    lines = [line.split() for line in result.stdout.splitlines() if not line.startswith("#")]
    assert [line[0] for line in lines] == ["8", "128"]
    assert all(line[8] == line[12] == "0" for line in lines)
    assert "# Out of bounds values : 0 OK" in result.stdout
    assert "measured on the host" in result.stdout


def test_the_record_has_the_schema():
    result = run("all_reduce", *FEW, "--json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert record["schema"] == "weft.bench/1"
    assert record["weft"].startswith(weft.__version__)
    assert set(record["machine"]) == {"gpus", "cpu", "driver", "cuda"}
    assert set(record["link"]) == {"copy_engine_bidir_gbps", "copy_engine_gbps"}
    wanted = {
        "impl", "collective", "algo", "dtype", "op", "bytes", "ranks", "devices", "in_place",
        "mode", "time_us", "p50_us", "p99_us", "spread_us", "rounds", "algbw_gbps", "busbw_gbps",
        "pct_peak", "blocks", "scratch_bytes", "wrong", "predicted",
    }  # fmt: skip
    for row in record["rows"]:
        assert wanted <= set(row)
        assert row["algo"] == "ring"
        assert row["predicted"] is False
    assert "Out of bounds" in result.stderr


def test_csv_and_files(tmp_path):
    json_path, csv_path, plot_path = (str(tmp_path / f"x.{end}") for end in ("json", "csv", "png"))
    result = run(
        "all_reduce", *FEW, "--json", json_path, "--csv", csv_path, "--plot", plot_path
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    with open(csv_path, newline="") as file:
        table = list(csv.DictReader(file))
    record = json.loads((tmp_path / "x.json").read_text())
    assert len(table) == len(record["rows"]) == 4
    assert float(table[0]["time_us"]) == record["rows"][0]["time_us"]
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    to_stdout = run("all_reduce", *FEW, "--csv").stdout
    assert len(list(csv.DictReader(io.StringIO(to_stdout)))) == 4


def test_all_dtypes_and_ops():
    result = run("all_reduce", *FEW, "-d", "all", "-o", "all", "-e", "8", "--json")
    assert result.exit_code == 0, result.stderr
    found = {(row["dtype"], row["op"]) for row in json.loads(result.stdout)["rows"]}
    assert found == set(KINDS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["all_gather"], "all_reduce"),
        (["all_reduce", "-d", "float8"], "float32"),
        (["all_reduce", "-o", "mean"], "avg"),
        (["all_reduce", "-o", "avg", "-d", "int32"], "avg"),
        (["all_reduce", "-b", "8X"], "not a size"),
        (["all_reduce", "-b", "8", "-e", "4"], "above"),
        (["all_reduce", "-f", "1"], "factor"),
        (["all_reduce", "--vs", "nccl"], "mpi"),
        (["all_reduce", "--vs", "mpi", "-d", "bfloat16"], "MPI has no"),
        (["all_reduce", "--vs", "mpi", "-o", "avg"], "MPI has no"),
        (["all_reduce", "--algo", "star", "-e", "8"], "ring"),
        (["all_reduce", "--timeout", "0", "-e", "8"], "timeout"),
        (["all_reduce", "--devices", "gpu:1"], "64 simulated"),
        (["all_reduce", "-b", "8T", "-e", "8T"], "GB"),
        (["all_reduce", "-e", "8", "--plot", "/no/such/folder/x.png"], "cannot draw"),
    ],
)
def test_wrong_use_is_exit_code_2_and_says_what_there_is(arguments, words):
    result = run(*arguments, *([] if "--devices" in arguments else ["--devices", "sim:2"]))
    assert result.exit_code == 2, result.output
    assert words in result.stderr


def test_wrong_elements_are_exit_code_1(monkeypatch):
    monkeypatch.setattr(WeftRunner, "wrong", lambda self: 3)
    result = run("all_reduce", *FEW)
    assert result.exit_code == 1
    assert "FAILED" in result.stdout


def test_a_timeout_is_exit_code_5(monkeypatch):
    def late(self, count):
        raise weft.CollectiveTimeout("late")

    monkeypatch.setattr(WeftRunner, "round", late)
    assert run("all_reduce", *FEW).exit_code == 5

"""`weft bench`: the table, records, files, exit codes, and what is refused before anything runs."""

import csv
import io
import json

import pytest
from click.testing import CliRunner

import weft
from python.bench.fakes import FakeGraph
from weft.bench.pattern import DTYPES, FLOATS, OPS
from weft.bench.rivals import mpi
from weft.bench.runner import RivalUnavailableError
from weft.bench.weft_runner import WeftRunner
from weft.cli.app import app

KINDS = [(dtype, op) for dtype in DTYPES for op in OPS if op != "avg" or dtype in FLOATS]
FEW = ("-b", "8", "-e", "1K", "-f", "16", "-n", "2", "-w", "1", "--devices", "sim:2")


def run(*args):
    return CliRunner().invoke(app, ["bench", *args])


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
    assert record["link"] == {"copy_engine_bidir_gbps": None, "copy_engine_gbps": None}
    wanted = {
        "impl", "collective", "algo", "dtype", "op", "bytes", "ranks", "devices", "in_place",
        "mode", "time_us", "p50_us", "p99_us", "spread_us", "rounds", "algbw_gbps", "busbw_gbps",
        "pct_peak", "blocks", "scratch_bytes", "wrong", "predicted",
    }  # fmt: skip
    for row in record["rows"]:
        assert wanted <= set(row)
        assert row["mode"] == "eager"
        assert row["predicted"] is False
        assert row["pct_peak"] is None
    assert "Out of bounds" in result.stderr


def test_graphs_are_replayed_where_they_are_asked_for(monkeypatch):
    monkeypatch.setattr(weft, "Graph", FakeGraph, raising=False)
    result = run("all_reduce", *FEW, "--mode", "graph", "-G", "3", "--json")
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)["rows"]
    assert {(row["mode"], row["iterations"], row["samples"]) for row in rows} == {("graph", 2, 3)}
    assert {row["wrong"] for row in rows} == {0}


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


def test_the_plot_has_a_curve_for_each_implementation_and_place(tmp_path):
    try:
        mpi.find_mpiexec()
    except RivalUnavailableError as missing:
        pytest.skip(str(missing))
    path = tmp_path / "x.svg"
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        arguments = ("-d", "float32,int8", "--vs", "mpi", "--rounds", "2", "--plot", str(path))
        result = run("all_reduce", *FEW, *arguments)
    assert result.exit_code == 0, result.stderr
    text = path.read_text()
    for label in ("weft, in place", "weft, out of place", "mpi, in place", "mpi, out of place"):
        assert text.count(label) == 2  # a panel for each dtype
    assert "Against the fastest other" in result.stdout


def test_all_dtypes_and_ops():
    result = run("all_reduce", *FEW, "-d", "all", "-o", "all", "-e", "8", "--json")
    assert result.exit_code == 0, result.stderr
    found = {(row["dtype"], row["op"]) for row in json.loads(result.stdout)["rows"]}
    assert found == set(KINDS)


def test_a_step_in_bytes():
    result = run("all_reduce", *FEW, "-i", "500", "--json")
    rows = json.loads(result.stdout)["rows"]
    assert sorted({row["bytes"] for row in rows}) == [8, 508, 1008]


def test_explain_says_what_bounds_each_row():
    result = run("all_reduce", *FEW, "--explain")
    assert result.exit_code == 0
    assert "busbw" in result.stdout
    assert result.stdout.count(" float32 sum, in place: ") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["all_scatter"], "all_reduce"),
        (["all_reduce", "-d", "float8"], "float32"),
        (["all_reduce", "-o", "mean"], "avg"),
        (["all_reduce", "-o", "avg", "-d", "int32"], "avg"),
        (["all_reduce", "-b", "8X"], "not a size"),
        (["all_reduce", "-b", "8", "-e", "4"], "above"),
        (["all_reduce", "-f", "1"], "factor"),
        (["all_reduce", "-i", "0"], "step"),
        (["all_reduce", "-r", "2"], "there are 2 ranks"),
        (["all_reduce", "--vs", "gloo"], "mpi"),
        (["all_reduce", "--vs", "nccl"], "needs CUDA devices"),
        (["all_reduce", "--vs", "nccl-sym,torch"], "needs CUDA devices"),
        (["all_reduce", "--algo", "star", "-e", "8"], "ring"),
        (["all_reduce", "--timeout", "0", "-e", "8"], "timeout"),
        (["all_reduce", "--devices", "gpu:1"], "64 simulated"),
        (["all_reduce", "-b", "8T", "-e", "8T"], "GB"),
        (["all_reduce", "-e", "8", "--plot", "/no/such/folder/x.png"], "cannot draw"),
        (["all_reduce", "-e", "8", "--plot", "x.doc"], "must end in one of"),
        (["all_reduce", "-e", "8", "--json", "/no/such/folder/x.json"], "cannot write"),
        (["all_reduce", "-e", "8", "--baseline", "/no/such/file"], "cannot read"),
        (["all_reduce", "-e", "8", "--tolerance", "-1"], "tolerance"),
    ],
)
def test_wrong_use_is_exit_code_2_and_says_what_there_is(arguments, words):
    result = run(*arguments, *([] if "--devices" in arguments else ["--devices", "sim:2"]))
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert result.stdout == ""  # no header before arguments are refused


@pytest.mark.parametrize(
    ("flag", "value"), [("-d", "bfloat16"), ("-d", "float8_e5m2"), ("-o", "avg")]
)
def test_what_mpi_does_not_have_is_refused(flag, value):
    try:
        mpi.find_mpiexec()
    except RivalUnavailableError as missing:
        pytest.skip(str(missing))
    result = run("all_reduce", *FEW, "--vs", "mpi", flag, value)
    assert result.exit_code == 2
    assert "MPI has no" in result.stderr


def test_a_bad_path_is_refused_before_anything_runs(monkeypatch):
    monkeypatch.setattr(weft, "Fabric", None)
    monkeypatch.setattr("weft.fabric.Fabric", None)
    result = run("all_reduce", "-e", "8", "--plot", "/no/such/folder/x.png")
    assert result.exit_code == 2
    assert "cannot draw" in result.stderr


def test_a_baseline_is_held_against_the_rows(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    assert run("all_reduce", *FEW, "--json", str(path)).exit_code == 0
    generous = run("all_reduce", *FEW, "--baseline", str(path), "--tolerance", "1e9")
    assert generous.exit_code == 0, generous.stderr
    record = json.loads(path.read_text())
    for row in record["rows"]:
        row["time_us"] /= 1e6
    path.write_text(json.dumps(record))
    slow = run("all_reduce", *FEW, "--baseline", str(path))
    assert slow.exit_code == 3
    assert slow.stderr.count("below the baseline") == 4
    other = run("all_reduce", *FEW, "-d", "int8", "--baseline", str(path))
    assert other.exit_code == 2
    assert "nothing could be compared" in other.stderr
    monkeypatch.setattr(WeftRunner, "wrong", lambda self: 3)
    assert run("all_reduce", *FEW, "--baseline", str(path)).exit_code == 1


def test_wrong_elements_are_exit_code_1(monkeypatch):
    monkeypatch.setattr(WeftRunner, "wrong", lambda self: 3)
    result = run("all_reduce", *FEW)
    assert result.exit_code == 1
    assert "FAILED" in result.stdout


def test_unchecked_results_are_not_called_right(monkeypatch):
    monkeypatch.setattr(WeftRunner, "wrong", lambda self: 3)
    result = run("all_reduce", *FEW, "-c", "0")
    assert result.exit_code == 0
    assert "not checked" in result.stdout


def test_a_timeout_is_exit_code_5(monkeypatch):
    def late(self):
        raise weft.CollectiveTimeout("late")

    monkeypatch.setattr(WeftRunner, "round", late)
    assert run("all_reduce", *FEW).exit_code == 5


def test_what_was_measured_before_a_failure_is_kept_and_called_incomplete(tmp_path, monkeypatch):
    right, seen = WeftRunner.round, []

    def late(self):
        seen.append(1)
        if len(seen) == 3:
            raise weft.CollectiveTimeout("late")
        return right(self)

    monkeypatch.setattr(WeftRunner, "round", late)
    path = tmp_path / "x.json"
    result = run("all_reduce", *FEW, "--json", str(path))
    assert result.exit_code == 5
    record = json.loads(path.read_text())
    assert len(record["rows"]) == 2
    assert record["incomplete"] == "CollectiveTimeout: late"
    refused = run("all_reduce", *FEW, "--baseline", str(path))
    assert refused.exit_code == 2
    assert "incomplete" in refused.stderr


def test_nothing_of_the_others_is_loaded_unless_asked_for():
    import subprocess
    import sys

    program = (
        "import sys; from weft.cli.app import app;"
        "app(['bench', 'all_reduce', '-e', '8', '--devices', 'sim:2'], standalone_mode=False);"
        "found = [m for m in sys.modules if m.split('.')[0] in ('torch', 'mpi4py', 'nvidia')];"
        "found += [m for m in sys.modules if m.startswith('weft.bench.rivals.nccl')];"
        "assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

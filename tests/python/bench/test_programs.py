"""The programs in bench/: arguments, records and tables, on simulated devices and stand-ins."""

import importlib.util
import json
import pathlib
import stat
import subprocess
import sys

import pytest

import weft
from python.bench.fakes import FakeCuda, FakeTorch
from weft.bench.cuda_driver import Driver
from weft.bench.script import middle, wait_until

ROOT = pathlib.Path(__file__).parents[3]
HEADING = {"schema", "command", "date", "weft", "versions", "machine"}


def program(name):
    """bench/`name`.py as a module."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", ROOT / "bench" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_waits_have_a_deadline_and_say_what_they_wait_for():
    seen = []
    wait_until(lambda: len(seen) == 3 or seen.append(1), 5.0, "three")
    with pytest.raises(TimeoutError, match=r"the end of days has not ended after 0\.01 s"):
        wait_until(lambda: False, 0.01, "the end of days")


def test_the_middle_of_rounds():
    assert middle("x", [5.0]) == {"x": 5.0, "x_spread": 0.0}
    assert middle("x", [4.0, 1.0, 2.0, 9.0]) == {"x": 3.0, "x_spread": 8.0}


def test_a_process_past_its_limit_ends_and_says_where_it_stood():
    code = "import time; from weft.bench.script import end_after; end_after(0.2); time.sleep(60)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert done.returncode == 1
    assert "Timeout" in done.stderr


# open.py


def test_opening_is_timed_in_fresh_processes(tmp_path, capsys):
    module = program("open")
    path = tmp_path / "open.json"
    assert module.main(["--devices", "sim:3", "--runs", "2", "--json", str(path)]) == 0
    record = json.loads(path.read_text())
    assert set(record) == HEADING | {"devices", "bytes", "runs", "row"}
    assert record["schema"] == "weft.open/1"
    assert record["devices"] == ["sim:0", "sim:1", "sim:2"]
    assert len(record["runs"]) == 2
    for name in module.TIMES:
        times = [run[name] for run in record["runs"]]
        assert min(times) > 0
        assert record["row"][name] == pytest.approx(sum(times) / 2)
        assert record["row"][f"{name}_spread"] == pytest.approx(max(times) - min(times))
    said = capsys.readouterr().out
    assert said.startswith("sim:0 sim:1 sim:2, median of 2 processes: import ")
    assert "0 wrong elements" in said


def test_a_process_that_fails_is_told(capfd):
    assert program("open").main(["--devices", "sim:65", "--runs", "1"]) == 1
    assert "simulated devices" in capfd.readouterr().err


@pytest.mark.parametrize("flags", [["--runs", "0"], ["--bytes", "6"], ["--limit", "0"]])
def test_what_cannot_be_opened_or_timed_is_refused(flags, capsys):
    with pytest.raises(SystemExit) as refused:
        program("open").main(flags)
    assert refused.value.code == 2
    assert "above 0" in capsys.readouterr().err


# eager.py

FEW = ["--devices", "sim:2", "--tensors", "weft", "--calls", "2", "--rounds", "2", "--samples", "2"]
CPP_ROW = {
    "impl": "weft", "bytes": 1024, "in_place": True, "time_us": 5.0, "wrong": 0, "mode": "eager",
}  # fmt: skip


def cpp_program(tmp_path, rows, code=0):
    """Writes a record with those rows, as weft_bench_eager does."""
    record = {"versions": {"nccl": "2.28.9"}, "machine": {"cuda": "13.0"}, "rows": rows}
    path = tmp_path / "cpp"
    path.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\n"
        "flags = dict(zip(sys.argv[1::2], sys.argv[2::2]))\n"
        "assert flags['--devices'] == 'sim:0,sim:1' and flags['--calls'] == '2'\n"
        "assert flags['--bytes'].split(',')[0] == '1024'\n"
        "file = open(flags['--json'], 'w')\n"
        f"file.write({json.dumps(record)!r})\n"
        f"sys.exit({code})\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_calls_from_both_languages_stand_in_one_record(tmp_path, capfd):
    path = tmp_path / "eager.json"
    cpp = cpp_program(tmp_path, [CPP_ROW, CPP_ROW | {"impl": "nccl", "time_us": 20.0}])
    assert program("eager").main([*FEW, "--cpp", cpp, "--json", str(path)]) == 0
    record = json.loads(path.read_text())
    assert set(record) == HEADING | {"link", "rows"}
    assert record["schema"] == "weft.bench/1"
    assert record["versions"]["nccl"] == "2.28.9"
    assert record["machine"]["cuda"] == "13.0"
    kinds = [(row["language"], row["impl"], row["tensors"]) for row in record["rows"]]
    assert kinds == [("C++", "weft", None), ("C++", "nccl", None)] + 12 * [
        ("Python", "weft", "weft")
    ]
    for row in record["rows"][2:]:
        assert (row["mode"], row["rounds"], row["wrong"]) == ("eager", 2, 0)
    lines = capfd.readouterr().out.splitlines()
    (line,) = (one.split() for one in lines if one.split()[:2] == ["1024", "in"])
    assert line[2:5] == ["5.00", "20.00", "0.25"]
    python = next(row for row in record["rows"][2:] if row["in_place"])
    assert float(line[7]) == pytest.approx(python["time_us"] / 20.0, abs=0.01)
    assert lines[-1] == "0 wrong elements"


def test_wrong_elements_of_either_program_are_exit_code_1(tmp_path, capfd):
    cpp = cpp_program(tmp_path, [CPP_ROW | {"wrong": 7}], code=1)
    assert program("eager").main([*FEW, "--cpp", cpp]) == 1
    assert "7 wrong elements" in capfd.readouterr().out


def test_a_program_that_fails_is_named_with_its_exit_code(tmp_path, capfd):
    assert program("eager").main([*FEW, "--cpp", cpp_program(tmp_path, [], code=5)]) == 5
    assert "C++ ended with exit code 5" in capfd.readouterr().err
    with pytest.raises(SystemExit):
        program("eager").main([*FEW, "--cpp", str(tmp_path / "none")])
    assert "no such program" in capfd.readouterr().err


def test_an_nccl_that_is_not_there_is_refused(monkeypatch, capfd):
    module = program("eager")
    monkeypatch.setattr(module, "resolve", lambda spec: ["cuda:0", "cuda:1"])
    assert module.main(["--cpp", sys.executable, "--nccl", "/no/such/library"]) == 2
    assert "--nccl /no/such/library: no such file" in capfd.readouterr().err


def test_nccl_runs_where_each_rank_has_a_gpu(monkeypatch):
    module = program("eager")
    options = module.options_of(["--devices", "cuda:0,1", "--cpp", sys.executable])
    monkeypatch.setattr(module.nccl_library, "find", lambda path: "/there/libnccl.so.2")
    both = ["cuda:0", "cuda:1"]
    assert module.cpp_command(options, both, "x")[-2:] == ["--nccl", "/there/libnccl.so.2"]
    assert module.python_command(options, both, "x")[-2:] == ["--vs", "nccl"]
    for devices in (["cuda:0", "cuda:0"], ["sim:0", "sim:1"]):
        assert "--nccl" not in module.cpp_command(options, devices, "x")
        assert "--vs" not in module.python_command(options, devices, "x")


# overlap.py


class Rig:
    """overlap.py over two simulated devices, with streams and a clock of FakeTorch's."""

    def __init__(self, monkeypatch):
        self.torch = FakeTorch(product=1e-3)
        monkeypatch.setitem(sys.modules, "torch", self.torch)
        monkeypatch.setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32")
        self.module = program("overlap")
        driver = Driver(FakeCuda(2))
        monkeypatch.setattr(self.module, "open_driver", lambda: driver)
        monkeypatch.setattr(self.module, "end_after", lambda seconds: None)
        right = weft.Fabric.all_reduce
        self.call, self.damage, rig = 0.41e-3, 0, self

        def timed(fabric, tensors, op="sum", *, streams=None, **more):
            if streams is None:
                return right(fabric, tensors, op, **more)
            for stream in streams:
                stream.enqueue(rig.call)
            more["algorithm"] = "ring"  # simulated devices have no copy engines
            result = right(fabric, tensors, op, **more)
            if isinstance(result, weft.Work):
                result.wait()
            more["out"][1][3] += rig.damage
            return result

        monkeypatch.setattr(weft.Fabric, "all_reduce", timed)

    def run(self, path, *flags):
        few = ["--devices", "sim:2", "--bytes", "65536", "--size", "4", "--products", "10"]
        few += ["--rounds", "3", "--samples", "2", "--json", str(path)]
        code = self.module.main([*few, *flags])
        return code, json.loads(path.read_text())


@pytest.fixture
def rig(monkeypatch):
    return Rig(monkeypatch)


def test_overlap_is_measured_and_recorded(rig, tmp_path, capsys):
    code, record = rig.run(tmp_path / "x.json")
    assert code == 0
    assert set(record) == HEADING | {"sms", "ring", "gemm"}
    assert (record["schema"], record["sms"]) == ("weft.overlap/1", 132)
    assert [row["max_blocks"] for row in record["ring"]] == [1, 2, 4, 8, 16, None] * 2
    assert [row["in_place"] for row in record["ring"]] == [False] * 6 + [True] * 6
    assert {(row["mode"], row["algo"], row["wrong"]) for row in record["ring"]} == {
        ("graph", "ring", 0)
    }
    assert [(row["algorithm"], row["max_blocks"]) for row in record["gemm"]] == [
        ("ring", 8), ("copy_engine", None), ("auto", None),
    ]  # fmt: skip
    for row in record["gemm"]:
        assert row["gemm_alone_us"] == pytest.approx(1000)
        assert row["gemm_beside_us"] == pytest.approx(1000)
        assert row["call_alone_us"] == pytest.approx(410)
        assert row["call_beside_us"] == pytest.approx(410)
        assert row["sm_share"] == pytest.approx(row["blocks"] / 132)
        assert row["excess"] == pytest.approx(-row["sm_share"])
        assert (row["wrong"], row["rounds"], row["products"]) == (0, 3, 10)
        assert row["calls"] == 3 + 51  # for 1.6 times 13 products
    said = capsys.readouterr().out
    assert "ring, max_blocks" in said
    assert said.endswith("0 wrong elements\n")


def test_calls_that_end_before_the_products_are_asked_for_again(rig, tmp_path, capsys):
    right, turns = rig.module.Overlap.calls_alone, []

    def slow(self, kind, count):  # as if calls took so long that few would do
        turns.append(kind)
        return (10 if len(turns) == 1 else 1) * right(self, kind, count)

    rig.module.Overlap.calls_alone = slow
    code, record = rig.run(tmp_path / "x.json")
    assert code == 0
    assert record["gemm"][0]["calls"] == 4 * (3 + 6)
    assert record["gemm"][1]["calls"] == 3 + 51
    assert "again with more" in capsys.readouterr().err


def test_products_that_are_never_covered_leave_the_record_incomplete(rig, tmp_path, capsys):
    rig.module.COVER = 0.01
    code, record = rig.run(tmp_path / "x.json", "--products", "100")
    assert code == 1
    assert record["gemm"] == []
    assert len(record["ring"]) == 12
    assert "products until" in record["incomplete"]
    assert "incomplete" in capsys.readouterr().err


def test_wrong_sums_beside_products_are_exit_code_1(rig, tmp_path):
    rig.damage = 1
    code, record = rig.run(tmp_path / "x.json")
    assert code == 1
    assert [row["wrong"] for row in record["gemm"]] == [1, 1, 1]


def test_a_wait_that_does_not_end_is_exit_code_5(rig, tmp_path, capsys):
    rig.torch.stuck = True
    few = ["--devices", "sim:2", "--bytes", "4096", "--size", "4", "--rounds", "1"]
    assert rig.module.main([*few, "--samples", "1", "--timeout", "0.2"]) == 5
    assert "a product has not ended after 0.2 s" in capsys.readouterr().err


def test_only_calls_within_the_products_count(rig):
    within = rig.module.within
    marks = [0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 20.0]
    assert within(marks, 1.5, 9.0) == pytest.approx(2.0)
    assert within(marks, 3.0, 6.5) is None  # one call alone
    for begin, end in ((-1.0, 9.0), (1.0, 21.0)):
        with pytest.raises(rig.module.UncoveredError):
            within(marks, begin, end)
    assert rig.module.slowest([1.0, None]) is None
    assert rig.module.slowest([1.0, 2.0]) == 2.0


def test_a_slowdown_is_of_the_times_of_its_own_round(rig):
    times = [rig.module.Times(1.2, 3.0), rig.module.Times(3.3, None), rig.module.Times(2.2, 3.0)]
    row = rig.module.compared([1.0, 3.0, 2.0], times, [1.0, 1.0, 1.0])
    assert row["slowdown"] == pytest.approx(0.1)
    assert row["slowdown_spread"] == pytest.approx(0.1)
    assert (row["call_beside_us"], row["gemm_alone_us"]) == (None, 2e6)


@pytest.mark.parametrize("flags", [["--bytes", "6"], ["--rounds", "0"], ["--samples", "0"]])
def test_what_cannot_overlap_is_refused(rig, flags):
    with pytest.raises(SystemExit) as refused:
        rig.module.main(flags)
    assert refused.value.code == 2


def test_ranks_that_share_a_device_are_refused(rig):
    with pytest.raises(SystemExit, match="a device of its own"):
        rig.module.main(["--devices", "sim:1"])


# Tensors of torch's


def test_torchs_tensors_are_timed_and_checked():
    pytest.importorskip("torch", reason="this is about PyTorch's tensors")
    command = [sys.executable, "-m", "weft", "bench", "all_reduce", "-b", "8", "-e", "4M", "-f"]
    command += ["128", "-d", "float32,bfloat16,bool", "-o", "max", "-n", "2", "--tensors", "torch"]
    command += ["--devices", "sim:2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert len(rows) == 3 * 3 * 2
    assert {row["wrong"] for row in rows} == {0}


# soak.py


COUNTS = """import json, sys
first, count = map(int, sys.argv[1:])
print(json.dumps({"first": first, "count": count, "done": 10 * count, "most_ms": float(first),
                  "kinds": {"odd": first % 2}}))
sys.exit(1 if first == 6 else 0)
"""


@pytest.fixture
def counting(tmp_path):
    """A program of seeds that finds something wrong with seed 6."""
    path = tmp_path / "counting"
    path.write_text(f"#!{sys.executable}\n{COUNTS}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_ranges_of_seeds_add_up_and_none_is_run_twice(tmp_path, counting, capsys):
    module = program("soak")
    path = tmp_path / "soak.json"

    def run(seeds, step):
        arguments = [str(counting), "--seeds", seeds, "--step", step, "--json", str(path)]
        status = module.main(arguments)
        return status, json.loads(path.read_text())

    assert run("2:4", "1")[0] == 0
    status, record = run("0:6", "5")
    assert status == 0
    assert set(record) == {"schema", "program", "runs", "totals"}
    assert (record["schema"], record["program"]) == ("weft.soak/1", "counting")
    assert set(record["runs"][0]) == (HEADING - {"schema"}) | {
        "first", "count", "done", "most_ms", "kinds",
    }  # fmt: skip
    assert [(run["first"], run["count"]) for run in record["runs"]] == [(0, 2), (2, 2), (4, 2)]
    assert record["totals"] == {"seeds": 6, "done": 60, "most_ms": 4.0, "kinds": {"odd": 1}}
    again = run("0:6", "1")
    assert again == (0, record)


def test_a_soak_ends_with_what_its_program_found_wrong(tmp_path, counting, capsys):
    module = program("soak")
    path = tmp_path / "soak.json"
    arguments = [str(counting), "--seeds", "5:9", "--step", "1", "--json", str(path)]
    assert module.main(arguments) == 1
    assert json.loads(path.read_text())["totals"]["seeds"] == 2


@pytest.mark.parametrize("seeds", ["3:3", "5:2", "-1:4", "four:5", ""])
def test_seeds_are_a_range(seeds, tmp_path):
    module = program("soak")
    with pytest.raises(SystemExit):
        module.main(["true", f"--seeds={seeds}", "--json", str(tmp_path / "x.json")])


def test_a_record_of_something_else_is_left_alone(tmp_path, counting):
    path = tmp_path / "soak.json"
    path.write_text('{"schema": "weft.open/1"}')
    arguments = [str(counting), "--seeds", "0:1", "--json", str(path)]
    assert program("soak").main(arguments) == 2
    assert path.read_text() == '{"schema": "weft.open/1"}'


# events.py


def test_the_cost_of_events_is_told_with_its_interval(tmp_path, capfd):
    module = program("events")
    path = tmp_path / "events.json"
    arguments = ["--devices", "sim:2", "--pairs", "30", "--most", "16384", "--json", str(path)]
    assert module.main(arguments) == 0
    record = json.loads(path.read_text())
    assert set(record) == HEADING | {"devices", "rows"}
    assert record["schema"] == "weft.events-cost/1"
    assert [row["bytes"] for row in record["rows"]] == [1024, 16384]
    for row in record["rows"]:
        assert row["pairs"] == 30
        assert row["cost_us_low"] <= row["cost_us"] <= row["cost_us_high"]
        assert row["bound_us"] == max(0.01 * row["off_us"], 0.1)
    assert capfd.readouterr().out.count("events cost") == 2


def test_the_interval_of_a_median_widens_with_what_is_apart():
    module = program("events")
    assert module.interval([1.0] * 50) == (1.0, 1.0)
    low, high = module.interval([float(i) for i in range(1000)])
    assert low < 499.5 < high
    assert high - low == pytest.approx(62, abs=2)  # 2 * 0.98 * sqrt(1000)

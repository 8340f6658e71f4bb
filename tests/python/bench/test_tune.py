"""`weft tune`: what is measured in which order, budgets, crossovers, and the command."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

import weft
from weft import tuning
from weft.bench.crossover import Timed, pick
from weft.bench.tune import Budget, Tuner, kinds_of, sizes_of
from weft.bench.weft_runner import WeftRunner
from weft.cli.app import app


class Clock:
    """Moves only when something takes time."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class FakeRunner:
    """`seconds(algorithm, case)` is what an operation takes; None: it cannot serve."""

    def __init__(self, clock, seconds):
        self.clock, self.seconds, self.cases, self.rounds = clock, seconds, [], []

    def make_room(self, case, load):
        self.case = case
        self.cases.append(case)

    def beside(self, algorithm):
        taken = self.seconds(algorithm, self.case)
        if taken is None:
            raise weft.InvalidArgument(f"{algorithm} cannot serve")

        def one_round():
            self.clock.now += taken
            self.rounds.append((algorithm, self.case.bytes))
            return [taken]

        return SimpleNamespace(round=one_round)

    def close(self):
        pass


class FakeFabric:
    backend, size, devices = "sim", 4, ["sim:0", "sim:1", "sim:2", "sim:3"]

    def __init__(self, preferred=("ring", "two_shot")):
        self._native = SimpleNamespace(backend="sim", gpu_names=[])
        self._native.preference = lambda *call: list(preferred)


def tuned(seconds, budget=1e9, collectives=("all_gather",), preferred=("ring",), **more):
    """The outcome, and the runner that saw what was asked for."""
    clock = Clock()
    runner = FakeRunner(clock, seconds)
    tuner = Tuner(FakeFabric(preferred), runner, Budget(budget, clock), **more)
    kinds = kinds_of(collectives, "sim")
    return tuner.run(kinds, lambda amount, words: None), runner


def linear(**latency_and_rate):
    """Seconds of algorithms, each with a latency and bytes per second; others cannot serve."""

    def seconds(algorithm, case):
        if algorithm not in latency_and_rate:
            return None
        latency, rate = latency_and_rate[algorithm]
        return latency + case.bytes / rate

    return seconds


def test_the_crossover_is_found_between_the_sizes_of_the_plan():
    result, _ = tuned(linear(ll=(1e-6, 1e9), ring=(101e-6, 1e10)))  # equal at 111,111 bytes
    (table,) = result.tables(FakeFabric())
    first, second = table["rows"]
    assert (first["algorithm"], second["algorithm"]) == ("ll", "ring")
    assert first["from_bytes"] == 0
    assert second["from_bytes"] == first["up_to_bytes"] + 1
    # Bytes of a rank's input: of four shares that all_gather joins.
    assert 111_111 / 4 / 1.5 < first["up_to_bytes"] < 111_111 / 4 * 1.5
    assert second["up_to_bytes"] == 64 << 20
    assert first["measured"][0]["bytes"] == 256
    assert first["measured"][0]["us"]["ll"] == pytest.approx(2.024)
    assert not result.left_out
    assert table["collective"] == "all_gather"
    assert (table["backend"], table["ranks"], table["machine"]["gpus"]) == ("sim", 4, [])


def test_what_is_slow_in_the_first_round_has_no_other():
    _, runner = tuned(
        linear(ll=(1e-6, 1e9), ring=(1.5e-6, 1e9), one_shot=(9e-6, 1e8)), largest=1024
    )
    algorithms = [algorithm for algorithm, _ in runner.rounds]
    assert sorted(algorithms) == ["ll"] * 3 + ["one_shot"] + ["ring"] * 3
    assert algorithms[:3] == ["ring", "ll", "one_shot"]
    assert algorithms[3:5] == ["ll", "ring"]  # they take turns in going first


def test_a_kind_with_one_algorithm_is_looked_at_once():
    result, runner = tuned(linear(one_shot=(1e-6, 1e9)))
    assert len(runner.cases) == 1
    assert runner.rounds == []
    assert [kind.words for kind in result.alone] == ["all_gather eager"]
    assert result.tables(FakeFabric()) == []


def test_no_more_is_begun_than_the_time_suffices_for():
    seconds = linear(ll=(0.01, 1e8), ring=(0.02, 1e8))
    budget = 1.5
    result, runner = tuned(seconds, budget, ("all_gather", "broadcast"))
    assert runner.clock.now <= budget
    assert set(result.left_out) == set(kinds_of(["all_gather", "broadcast"], "sim"))
    for kind, points in result.points.items():
        done = [point.size for point in points]
        assert [*done, *result.left_out[kind]] == sizes_of()  # the small ones came first
    assert "all_gather eager: " in result.unmeasured()[0]


def test_a_size_that_outlasts_the_budget_is_not_measured():
    result, runner = tuned(lambda algorithm, case: 0.4, 1.0)
    assert result.points == {}
    assert result.left_out[kinds_of(["all_gather"], "sim")[0]] == sizes_of()
    assert runner.clock.now < 1.5


def test_all_kinds_come_to_a_size_before_any_comes_to_the_next():
    _, runner = tuned(
        linear(ll=(1e-6, 1e9), ring=(1.5e-6, 6e8)), collectives=("all_reduce", "gather")
    )
    sizes = [case.bytes for case in runner.cases]
    assert sizes == sorted(sizes)
    first = {(c.collective, c.dtype, c.in_place) for c in runner.cases if c.bytes == 1024}
    assert first == {
        ("all_reduce", "float32", True), ("all_reduce", "float32", False),
        ("all_reduce", "int32", True), ("all_reduce", "int32", False),
        ("gather", "float32", False),
    }  # fmt: skip


def test_the_incumbent_stays_where_nothing_is_clearly_faster():
    result, _ = tuned(linear(ll=(1.000e-6, 1e18), ring=(1.005e-6, 1e18)), largest=1024)
    (point,) = next(iter(result.points.values()))
    assert (point.chosen, point.shipped) == ("ring", "ring")
    result, _ = tuned(linear(ll=(1.0e-6, 1e18), ring=(1.2e-6, 1e18)), largest=1024)
    (point,) = next(iter(result.points.values()))
    assert (point.chosen, point.faster) == ("ll", pytest.approx(1.2))


def test_a_wild_incumbent_is_not_excused_by_its_own_spread():
    times = {"ll": Timed(10.0, 0.2), "ring": Timed(14.0, 30.0), "two_shot": Timed(12.0, 30.0)}
    assert pick(times, "ring") == "ll"
    assert pick(times, "two_shot") == "two_shot"


def test_on_cuda_captured_and_eager_calls_are_told_apart():
    kinds = kinds_of(["all_reduce", "scatter"], "cuda")
    assert {(kind.mode, kind.captured) for kind in kinds} == {("graph", True), ("eager", False)}
    assert len(kinds) == len(set(kinds)) == 10


def test_runners_beside_each_other_share_buffers_and_run_what_they_are_told():
    from weft.bench.collective import make_case
    from weft.bench.load import Timing, make_load

    case = make_case("all_reduce", "int32", "max", 4096, 2, in_place=True)
    with weft.Fabric("sim:2") as fab:
        runner = WeftRunner(fab)
        runner.make_room(case, make_load(case, Timing("eager", iterations=2, blocking=True)))
        assert fab.stats()["operations"] == 0
        both = [runner.beside(algorithm=name) for name in ("ring", "two_shot")]
        assert [one.facts()["algo"] for one in both] == ["ring", "two_shot"]
        assert all(len(one.round()) == 2 for one in both)
        with pytest.raises(weft.InvalidArgument, match="no algorithm is called"):
            runner.beside(algorithm="star")
        with pytest.raises(weft.InvalidArgument, match="cannot serve"):
            runner.beside(algorithm="lamport")


FEW = ("--devices", "sim:2", "--collective", "all_gather", "--max-seconds", "2")


def run(*arguments):
    return CliRunner().invoke(app, ["tune", *arguments])


@pytest.fixture
def small(monkeypatch):
    """Sizes that take no time."""
    monkeypatch.setattr("weft.bench.tune.LARGEST", 4096)
    monkeypatch.setattr("weft.bench.tune._ROUNDS", 2)


def algorithm_of(fabric):
    work = fabric.all_gather([np.ones(4) for _ in range(fabric.size)], async_op=True)
    work.wait()
    return work.info["algorithm"]


@pytest.mark.usefixtures("small")
def test_what_was_measured_is_what_auto_takes_afterwards(tmp_path, monkeypatch):
    path = tmp_path / "t.json"
    slow = WeftRunner.round

    def only_the_ring_is_fast(self):
        factor = 1 if self.facts()["algo"] == "ring" else 1.5
        return [factor * 1e-4 for _ in slow(self)]

    monkeypatch.setattr(WeftRunner, "round", only_the_ring_is_fast)
    result = run(*FEW, "--output", str(path))
    assert result.exit_code == 0, result.stderr
    assert f"stored {path}" in result.stderr
    line = next(one for one in result.stdout.splitlines() if one.startswith("all_gather"))
    assert line.split() == [
        "all_gather", "eager", "512", "to", "2K", "ring", "100.00", "one_shot", "1.50x",
    ]  # fmt: skip
    with weft.Fabric("sim:2", tuning=path) as fab:
        assert algorithm_of(fab) == "ring"
        source = fab.tuning()[0]["source"]
    assert source.startswith(f"{path}, 20")
    for other in ("sim:3", "sim:4"):
        with weft.Fabric(other, tuning=path) as fab:
            assert algorithm_of(fab) == "one_shot"


@pytest.mark.usefixtures("small")
def test_the_record_goes_where_it_is_wanted(tmp_path):
    path = tmp_path / "t.json"
    stored = run(*FEW, "--output", str(path), "--json")
    assert stored.exit_code == 0, stored.stderr
    record = json.loads(stored.stdout)
    assert record["schema"] == "weft.tuning/1"
    assert record["not_measured"] == []
    assert record["tables"] == tuning.read(path)
    only_shown = run(*FEW, "--output", "-")
    assert only_shown.exit_code == 0, only_shown.stderr
    (table,) = json.loads(only_shown.stdout)["tables"]
    assert set(table["machine"]) == {"gpus", "cpu", "driver"}
    for row in table["rows"]:
        for measured in row["measured"]:
            assert measured["us"][row["algorithm"]] > 0
            assert measured["us"].keys() == measured["spread_us"].keys()
    assert "stored" not in only_shown.stderr


@pytest.mark.usefixtures("small")
def test_the_default_place_is_used_and_other_tables_there_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = tmp_path / "weft" / "tuning.json"
    for devices, count in (("sim:2", 1), ("sim:3", 2), ("sim:2", 2)):
        result = run(*FEW, "--devices", devices)
        assert result.exit_code == 0, result.stderr
        assert len(tuning.read(path)) == count
        assert "WEFT_TUNING is off" in result.stderr
    path.write_text("{")
    result = run(*FEW)
    assert result.exit_code == 0, result.stderr
    assert "is not JSON" in result.stderr
    assert len(tuning.read(path)) == 1


@pytest.mark.usefixtures("small")
def test_nothing_to_choose_is_no_failure_and_stores_nothing(tmp_path):
    path = tmp_path / "t.json"
    result = run("--devices", "sim:2", "--collective", "reduce", "--output", str(path))
    assert result.exit_code == 0
    assert "nothing to choose" in result.stderr
    assert not path.exists()


def test_no_time_at_all_is_exit_code_5_and_stores_nothing(tmp_path):
    path = tmp_path / "t.json"
    result = run(*FEW, "--max-seconds", "1e-9", "--output", str(path))
    assert result.exit_code == 5
    assert "no time for all_gather eager: 1K, 4K" in result.stderr
    assert not path.exists()


def test_a_dry_run_measures_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(WeftRunner, "make_room", None)
    path = tmp_path / "t.json"
    result = run("--devices", "sim:4", "--dry-run", "--output", str(path))
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "4 ranks on sim:0, sim:1, sim:2, sim:3"
    assert lines[1].startswith("sizes: 1K, 4K, 16K")
    assert "all_reduce integral eager out of place" in lines
    assert lines[-1] == f"the table would go to {path}"
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--collective", "all_scatter"], "all_reduce, reduce_scatter"),
        (["--max-seconds", "0"], "max-seconds"),
        (["--devices", "sim:1"], "nothing to choose"),
        (["--devices", "gpu:1"], "64 simulated"),
        (["--output", "/no/such/folder/t.json"], "cannot write"),
        (["--output", "/"], "cannot write"),
        (["--output", "-", "--json"], "stdout"),
        (["--output", __file__], "is not JSON"),
    ],
)
def test_wrong_use_is_exit_code_2(arguments, words):
    result = run(*(["--devices", "sim:2"] if "--devices" not in arguments else []), *arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert result.stdout == ""

"""The benchmark: sizes, inputs with exact results, rows, sweeps over weft."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import weft
from python.bench.fakes import FakeFabric, FakeGraph
from weft.bench.baseline import Baseline
from weft.bench.collective import COLLECTIVES, bus_factor, make_case
from weft.bench.compare import ratios, verdict
from weft.bench.explain import bound, explain
from weft.bench.load import Timing, make_load
from weft.bench.pattern import DTYPES, FLOATS, OPS, PERIOD, Pattern, numpy_dtype
from weft.bench.row import make_row
from weft.bench.sizes import parse_size, size_steps, size_text
from weft.bench.sweep import Plan, cases, largest_memory, sweep
from weft.bench.weft_runner import WeftRunner

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
    if dtype in FLOATS and numpy_dtype(dtype).itemsize < 4:
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


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_part_of_a_rank_s_input_is_found_at_its_place_only(dtype):
    pattern = Pattern(dtype, "none", 4)
    whole = pattern.values(2, 40 * PERIOD)
    part = whole[PERIOD - 3 : 36 * PERIOD]
    assert pattern.wrong(part, source=2, start=PERIOD - 3) == 0
    assert pattern.wrong(part, source=2, start=PERIOD - 2) > 0
    assert pattern.wrong(part, source=1, start=PERIOD - 3) > 0
    damaged = part.copy()
    damaged[-1] = not damaged[-1]
    assert pattern.wrong(damaged, source=2, start=PERIOD - 3) == 1


def told(**changes):
    values = {
        "impl": "weft", "algo": "ring", "devices": ["sim:0"] * 4, "mode": "eager", "clock": "host",
        "cache": None, "iterations": 1, "blocks": 1, "scratch_bytes": None, "wrong": 0,
        "predicted_us": None,
    }  # fmt: skip
    return values | changes


def test_a_row_is_computed_as_nccl_tests_does():
    case = make_case("all_reduce", "float32", "sum", 1_000_000, 4, in_place=True)
    row = make_row(case, [[0.001, 0.003, 0.002], [0.004, 0.004, 0.004]], peak_gbps=1.0, **told())
    assert row.time_us == pytest.approx(3500)
    assert row.algbw_gbps == pytest.approx(1e6 / 3500e-6 / 1e9)
    assert row.busbw_gbps == pytest.approx(row.algbw_gbps * 1.5)
    assert row.pct_peak == pytest.approx(100 * row.busbw_gbps)
    assert (row.p50_us, row.p99_us, row.spread_us, row.rounds) == (3000, 4000, 2000, 2)
    assert (row.bytes, row.count, row.root) == (1_000_000, 250_000, -1)


@pytest.mark.parametrize(
    ("collective", "factor", "given", "got"),
    [
        ("all_reduce", 1.5, 64, 64),
        ("reduce_scatter", 0.75, 64, 16),
        ("all_gather", 0.75, 16, 64),
        ("all_to_all", 0.75, 64, 64),
        ("scatter", 0.75, 64, 16),
        ("gather", 0.75, 16, 64),
        ("broadcast", 1, 64, 64),
        ("reduce", 1, 64, 64),
        ("send_recv", 1, 64, 64),
        ("p2p", 1, 64, 64),
    ],
)
def test_sizes_and_factors_are_those_of_nccl_tests(collective, factor, given, got):
    assert bus_factor(collective, 4) == factor
    op = (COLLECTIVES[collective].ops or ("sum",))[0]
    case = make_case(collective, "float32", op, 258, 4)
    assert case.bytes == 256
    assert (case.input_elements, case.output_elements) == (given, got)
    for rank in range(4):
        found = sum(segment.count for segment in case.expected(rank))
        assert found in (0, case.output_elements)


def test_no_share_is_empty_and_equal_cases_are_run_once():
    assert make_case("all_gather", "float64", "none", 8, 16).count == 1
    plan = small_plan(collective="all_gather", kinds=(("float32", "none"),), sizes=(4, 8, 12, 24))
    assert [case.bytes for case in cases(plan)] == [12, 24]


TIMING = Timing("eager", iterations=3, warmup=1, blocking=True)


def small_plan(**changes):
    values = {
        "collective": "all_reduce",
        "kinds": (("float32", "sum"),),
        "sizes": (8, 4100),
        "ranks": 3,
        "rounds": 2,
        "timing": TIMING,
        "root": 1,
    }
    return Plan(**(values | changes))


def test_a_sweep_times_and_checks_every_case():
    plan = small_plan(
        kinds=(("float32", "sum"), ("bfloat16", "avg"), ("float8_e5m2", "sum"), ("bool", "max"))
    )
    with weft.Fabric("sim:3") as fabric:
        result = list(sweep(plan, [WeftRunner(fabric)]))
    assert [(r.dtype, r.op, r.bytes, r.in_place) for r in result] == [
        (c.dtype, c.op, c.bytes, c.in_place) for c in cases(plan)
    ]
    assert [r.bytes for r in result[:4]] == [8, 8, 4100, 4100]
    for one in result:
        assert one.wrong == 0
        assert 0 < one.time_us <= one.p99_us
        assert (one.rounds, one.samples, one.iterations) == (2, 6, 1)
        assert one.predicted is False
        assert one.predicted_us > 0


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("collective", COLLECTIVES)
@pytest.mark.parametrize("ranks", [2, 5])
def test_every_collective_is_timed_and_checked(monkeypatch, collective, ranks, mode):
    monkeypatch.setattr(weft, "Graph", FakeGraph, raising=False)
    ops = COLLECTIVES[collective].ops or ("sum", "min")
    plan = small_plan(
        collective=collective,
        kinds=tuple((dtype, op) for dtype in ("float32", "uint8") for op in ops),
        ranks=ranks,
        timing=Timing(mode, iterations=3, samples=2, warmup=1, blocking=True),
    )
    result = list(sweep(plan, [WeftRunner(FakeFabric(ranks))]))
    assert [row.wrong for row in result] == [0] * len(result)
    assert {row.mode for row in result} == {mode}
    assert {row.iterations for row in result} == {3 if mode == "graph" else 1}
    assert {(row.algo, row.blocks, row.scratch_bytes) for row in result} == {("fake", 3, 4096)}
    root = 1 if COLLECTIVES[collective].rooted else -1
    assert {row.root for row in result} == {root}


@pytest.mark.parametrize("collective", COLLECTIVES)
def test_every_collective_of_a_fabric(collective):
    ops = COLLECTIVES[collective].ops or ("sum", "prod")
    kinds = tuple((dtype, op) for dtype in ("float8_e4m3fn", "bfloat16", "int64") for op in ops)
    with weft.Fabric("sim:3") as fabric:
        rows = list(sweep(small_plan(collective=collective, kinds=kinds), [WeftRunner(fabric)]))
    assert len(rows) == len(kinds) * 2 * (2 if COLLECTIVES[collective].in_place else 1)
    assert {row.wrong for row in rows} == {0}


@pytest.mark.parametrize("collective", COLLECTIVES)
def test_one_wrong_element_of_the_last_rank_that_gets_any_is_counted(collective):
    op = (COLLECTIVES[collective].ops or ("sum",))[-1]
    case = make_case(collective, "int32", op, 4100, 3, root=1)
    receiver = max(rank for rank in range(3) if case.expected(rank))

    def damage(outputs):
        outputs[receiver][-1] ^= 1

    plan = small_plan(collective=collective, kinds=(("int32", op),), sizes=(4100,))
    rows = list(sweep(plan, [WeftRunner(FakeFabric(3, damage))]))
    assert [row.wrong for row in rows] == [1] * len(rows)


def test_without_a_check_wrong_is_not_known():
    plan = small_plan(check=False)
    assert {row.wrong for row in sweep(plan, [WeftRunner(FakeFabric(3))])} == {None}


class Turns:
    """Writes down whose turn it is."""

    def __init__(self, impl, log):
        self.impl, self.log = impl, log

    def prepare(self, case, load):
        self.log.append(f"{self.impl}+")

    def round(self):
        self.log.append(self.impl)
        return [1e-6]

    def wrong(self):
        return 0

    def facts(self):
        return {
            key: value
            for key, value in told(impl=self.impl).items()
            if key not in ("wrong", "cache")
        }


def test_all_take_turns_and_each_goes_first():
    log = []
    plan = small_plan(sizes=(8,), kinds=(("float32", "sum"),), rounds=3)
    list(sweep(plan, [Turns(name, log) for name in "abc"]))
    assert "".join(log[:12]) == "a+b+c+abcbcacab"


def test_buffers_rotate_past_the_cache_and_small_ones_are_flushed():
    l2 = 50 << 20
    small = make_case("all_reduce", "float32", "sum", 1 << 10, 2)
    large = make_case("all_reduce", "float32", "sum", 1 << 30, 2, in_place=True)
    load = make_load(small, Timing("graph", l2_bytes=l2))
    assert (load.sets, load.flush_bytes, load.lead, load.iterations) == (20, 2 * l2, True, 20)
    medium = make_load(
        make_case("all_reduce", "float32", "sum", 8 << 20, 2), Timing("graph", l2_bytes=l2)
    )
    assert medium.sets * 16 << 20 >= 2 * l2
    assert (medium.flush_bytes, medium.lead) == (0, False)
    load = make_load(large, Timing("graph", l2_bytes=l2))
    assert (load.sets, load.flush_bytes, load.iterations, load.samples) == (1, 0, 5, 6)
    # In place a sum grows: each set once.
    assert load.check_iterations(large) == 1
    assert load.check_iterations(make_case("all_reduce", "int8", "max", 8, 2, in_place=True)) == 5
    hot = make_load(small, Timing("graph", hot=True, l2_bytes=l2))
    assert (hot.sets, hot.flush_bytes) == (1, 0)
    asked = make_load(large, Timing("eager", iterations=7, samples=3))
    assert (asked.iterations, asked.samples, asked.sets, asked.lead) == (7, 3, 1, False)


class AsOnGpus:
    """A simulated fabric whose tensors are made on its devices, as for a CUDA fabric."""

    backend = "cuda"

    def __init__(self, fabric):
        self.size, self.devices, self.all_reduce = fabric.size, fabric.devices, fabric.all_reduce


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "bool"])
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_tensors_on_devices(monkeypatch, dtype, mode):
    monkeypatch.setattr(weft, "Graph", FakeGraph, raising=False)
    flushed, waits = [], []
    # A last case larger than what is uploaded: the rest is copied on the device.
    plan = small_plan(
        kinds=((dtype, "max"),),
        sizes=(8, 4100, 2_500_000),
        timing=Timing(mode, iterations=2, samples=2, warmup=1, l2_bytes=1 << 20),
    )
    with weft.Fabric("sim:3") as fabric:
        runner = WeftRunner(
            AsOnGpus(fabric),
            flush=flushed.append,
            synchronize=lambda: waits.append(1),
            algorithm="ring",
            timeout=5.0,
        )
        result = list(sweep(plan, [runner], peak=lambda case: 400.0))
        runner.close()
    assert [one.wrong for one in result] == [0] * 6
    assert {one.cache for one in result} == {"cold"}
    assert all(one.pct_peak > 0 for one in result)
    assert set(flushed) == {2 << 20}
    assert waits


def test_wrong_elements_are_counted(monkeypatch):
    with weft.Fabric("sim:2") as fabric:
        right = fabric.all_reduce

        def damaged(tensors, op, *, out=None, **rest):
            result = right(tensors, op, out=out, **rest)
            if isinstance(result, weft.Work):
                result.wait()
            (out or tensors)[1][3] += 1
            return result

        monkeypatch.setattr(fabric, "all_reduce", damaged)
        plan = small_plan(sizes=(4100,), ranks=2)
        assert [one.wrong for one in sweep(plan, [WeftRunner(fabric)])] == [1, 1]


def test_memory_is_estimated_for_all_implementations():
    assert largest_memory(small_plan(ranks=4), 2) == 4100 * 18


def a_row(**changes):
    case = make_case("all_reduce", "float32", "sum", changes.pop("bytes", 1 << 20), 2)
    peak = changes.pop("peak", 400.0)
    seconds = changes.pop("seconds", 1e-5)
    values = {"devices": ["cuda:0", "cuda:1"], "mode": "graph", **changes}
    return make_row(case, [[seconds]], peak_gbps=peak, **told(**values))


def test_what_bounds_a_row():
    assert "the link: 8" in bound(a_row(bytes=1 << 30, seconds=(1 << 30) / 330e9))
    assert "latency (kernel start, signals)" in bound(a_row(bytes=1 << 10))
    assert "launches from the host" in bound(a_row(bytes=1 << 10, mode="eager"))
    assert bound(a_row(bytes=1 << 20, seconds=1e-5)).startswith("both: the link would need 2.6 of")
    assert "not known" in bound(a_row(peak=None))
    assert "host" in bound(a_row(devices=["sim:0", "sim:1"]))
    text = explain([a_row()])
    for word in ("algbw", "busbw", "%peak", "2 (n - 1) / n, here 1", "#wrong"):
        assert word in text
    assert all(line.startswith("#") for line in text.splitlines())


def test_the_fastest_other_is_what_counts():
    rows = [
        a_row(seconds=2e-6, bytes=8),
        a_row(seconds=3e-6, bytes=8, impl="nccl"),
        a_row(seconds=2.5e-6, bytes=8, impl="torch"),
        a_row(seconds=9e-6, bytes=64),
        a_row(seconds=9e-6, bytes=64, impl="nccl"),
        a_row(seconds=9e-6, bytes=128),
    ]
    found = list(ratios([row.as_json() for row in rows]).values())
    assert found == [(pytest.approx(1.25), "torch"), (pytest.approx(1.0), "nccl")]
    line = verdict([row.as_json() for row in rows])
    assert "1.12 times as fast (median), 1.00 at least (nccl at 64 B" in line
    assert verdict([rows[-1].as_json()]) == ""


def write_record(path, rows):
    import json

    record = {"schema": "weft.bench/1", "rows": [row.as_json() for row in rows]}
    path.write_text(json.dumps(record))
    return str(path)


def test_a_baseline_names_what_is_slower(tmp_path):
    path = write_record(tmp_path / "x.json", [a_row(bytes=8), a_row(bytes=64, seconds=2e-5)])
    baseline = Baseline(path)
    case = make_case("all_reduce", "float32", "sum", 8, 2)
    assert baseline.covers([case], "graph", ["cuda:0", "cuda:1"]) == 1
    assert baseline.covers([case], "eager", ["cuda:0", "cuda:1"]) == 0
    assert baseline.covers([case], "graph", ["sim:0", "sim:1"]) == 0
    assert baseline.covers([case], "graph", ["cuda:0", "cuda:0"]) == 0
    now = [
        a_row(bytes=8, seconds=1.04e-5),
        a_row(bytes=64, seconds=2.2e-5),
        a_row(bytes=64, seconds=9e-5, impl="nccl"),
        a_row(bytes=128, seconds=9e-5),
    ]
    assert baseline.slower(now, 11.0) == []
    (line,) = baseline.slower(now, 5.0)
    assert "64 B float32 sum, out of place: 22.00 us, 10 % above 20.00 us" in line


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "other"}'])
def test_what_is_no_record_is_no_baseline(tmp_path, text):
    (tmp_path / "x").write_text(text)
    with pytest.raises(ValueError, match=r"JSON|no record"):
        Baseline(str(tmp_path / "x"))
    with pytest.raises(ValueError, match="cannot read"):
        Baseline(str(tmp_path / "y"))

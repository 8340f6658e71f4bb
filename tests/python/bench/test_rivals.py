"""The other implementations: NCCL over stand-ins of the libraries, processes, what is refused."""

import os
import sys
import time
from ctypes import c_void_p

import pytest

import weft
from python.bench.fakes import FakeCuda, FakeNccl
from weft.bench import link
from weft.bench.collective import COLLECTIVES, make_case
from weft.bench.cuda_driver import Driver, Lane, LaneGraph
from weft.bench.load import Timing
from weft.bench.rivals import choose, mpi, nccl_library, torch_symm
from weft.bench.rivals.lines import LineProcess
from weft.bench.rivals.nccl import NcclRunner
from weft.bench.rivals.nccl_library import Nccl
from weft.bench.rivals.torch_symm import TorchRunner
from weft.bench.runner import RivalUnavailableError
from weft.bench.sweep import Plan, sweep

SIZES = (8, 4096, 100_000)


def plan_for(collective, ranks, mode="graph", dtype="float32", l2=64 << 10):
    ops = COLLECTIVES[collective].ops or ("sum", "max")
    timing = Timing(mode, iterations=4, samples=3, warmup=1, l2_bytes=l2)
    return Plan(collective, tuple((dtype, op) for op in ops), SIZES, ranks, 2, timing, root=1)


class Rig:
    """The fake libraries, and a runner over them."""

    def __init__(self, plan, symmetric=False, version=22809):
        self.cuda = FakeCuda(plan.ranks)
        self.library = FakeNccl(self.cuda, version)
        self.driver = Driver(self.cuda, timeout=0.2)
        self.runner = NcclRunner(
            Nccl(self.library),
            self.driver,
            range(plan.ranks),
            capacity=choose._capacity(plan),
            symmetric=symmetric,
        )

    def close(self):
        """Everything is given back."""
        self.runner.close()
        self.driver.close()
        assert not self.cuda.memory
        assert not self.cuda.streams
        assert not self.cuda.events
        assert not self.cuda.graphs
        assert not self.library.comms
        assert not self.library.windows
        assert not self.cuda.stack


@pytest.mark.parametrize("mode", ["graph", "eager"])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("collective", COLLECTIVES)
@pytest.mark.parametrize("ranks", [2, 3])
def test_nccl_is_called_for_every_collective(collective, ranks, symmetric, mode):
    plan = plan_for(collective, ranks, mode)
    rig = Rig(plan, symmetric)
    rows = list(sweep(plan, [rig.runner], peak=lambda case: 400.0))
    assert {row.wrong for row in rows} == {0}
    assert {row.impl for row in rows} == {"nccl-sym" if symmetric else "nccl"}
    assert {row.mode for row in rows} == {mode}
    assert {row.clock for row in rows} == {"device" if mode == "graph" else "host"}
    assert {row.cache for row in rows} == {"cold"}
    assert all(row.pct_peak > 0 and row.rounds == 2 and row.samples == 6 for row in rows)
    if symmetric:
        assert len(rig.library.windows) == ranks
    rig.close()


def test_a_replay_is_timed_by_the_clock_of_the_devices():
    plan = plan_for("all_reduce", 2)
    rig = Rig(plan)
    row = next(iter(sweep(plan, [rig.runner])))
    # The two lanes share the fake's clock: two ticks for each operation.
    assert row.time_us == pytest.approx(2.0)
    assert row.spread_us == pytest.approx(0.0, abs=1e-6)
    rig.close()


@pytest.mark.parametrize(
    "dtype", ["float8_e4m3fn", "float8_e5m2", "bfloat16", "float16", "int64", "uint8"]
)
@pytest.mark.parametrize("collective", ["all_reduce", "reduce_scatter", "all_to_all"])
def test_nccl_dtypes(collective, dtype):
    plan = plan_for(collective, 2, dtype=dtype)
    rig = Rig(plan)
    assert {row.wrong for row in sweep(plan, [rig.runner])} == {0}
    rig.close()


@pytest.mark.parametrize("mode", ["graph", "eager"])
def test_wrong_elements_of_nccl_are_counted_in_every_set(mode):
    plan = plan_for("all_reduce", 2, mode)
    rig = Rig(plan)
    rig.library.damage = True
    for row in sweep(plan, [rig.runner]):
        # A large case has fewer sets; what is idempotent in place stays damaged in rank 1 alone.
        assert row.wrong >= 1
    rig.close()


def test_an_older_nccl_exchanges_by_messages_and_has_no_windows():
    plan = plan_for("all_to_all", 3)
    rig = Rig(plan, version=22005)
    assert {row.wrong for row in sweep(plan, [rig.runner])} == {0}
    assert rig.library.names["Send"] > 0
    assert rig.library.names["AlltoAll"] == 0
    rig.close()
    with pytest.raises(RivalUnavailableError, match=r"2\.27 or newer"):
        Rig(plan, symmetric=True, version=22005)


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_an_older_nccl_moves_floats_of_8_bits_and_does_not_reduce_them(dtype):
    nccl = Nccl(FakeNccl(FakeCuda(2), 22305))
    with pytest.raises(RivalUnavailableError, match=rf"{dtype} from 2\.24 on; this is 2\.23\.5"):
        nccl_library.require(nccl, [("float32", "sum"), (dtype, "max")])
    nccl_library.require(nccl, [("float32", "sum"), (dtype, "none")])
    nccl_library.require(Nccl(FakeNccl(FakeCuda(2), 22403)), [(dtype, "sum")])


def test_small_cases_find_a_cold_cache_and_large_ones_rotate():
    plan = plan_for("all_reduce", 2)
    rig = Rig(plan)
    list(sweep(plan, [rig.runner]))
    # 2 kinds of 8 and 4096 bytes out of place and in place; 3 samples of 2 rounds and one before.
    assert rig.cuda.flushed >= 2 * 2 * 2 * (3 * 2) * 2 * (2 * 64 << 10)
    before = rig.cuda.flushed
    hot = Plan(**{**vars(plan), "timing": Timing("graph", 4, 3, 1, True, 64 << 10)})
    assert {row.cache for row in sweep(hot, [rig.runner])} == {"hot"}
    assert rig.cuda.flushed == before
    rig.close()


def test_a_device_that_does_not_answer_is_a_timeout():
    plan = plan_for("all_reduce", 2)
    rig = Rig(plan)
    rig.cuda.slow = True
    with pytest.raises(weft.CollectiveTimeout, match="cuda:0 not done within"):
        list(sweep(plan, [rig.runner]))
    rig.cuda.slow = False
    rig.close()


def test_a_failed_capture_leaves_no_stream_capturing():
    cuda = FakeCuda()
    driver = Driver(cuda)
    lanes = [Lane(driver, 0), Lane(driver, 1)]

    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        LaneGraph(driver, lanes, fail)
    assert not cuda.capturing


def test_a_start_of_nccl_that_does_not_end_is_a_timeout():
    library = FakeNccl(FakeCuda())
    library.ncclCommInitAll = lambda *arguments: time.sleep(2) or 0
    with pytest.raises(weft.CollectiveTimeout, match="ncclCommInitAll did not end"):
        Nccl(library).communicators([0, 1], 0.05)


def test_errors_of_the_libraries_are_named():
    cuda = FakeCuda()
    with pytest.raises(weft.CudaError, match=r"cuDeviceGet: fake 101 \(CUDA error 101\)"):
        Driver(cuda).l2_bytes(5)
    with pytest.raises(weft.InternalError, match=r"ncclX: fake \(NCCL error 5\)"):
        Nccl(FakeNccl(cuda)).check(5, "ncclX")
    assert Nccl(FakeNccl(cuda)).version() == "2.28.9"
    assert Driver(cuda).version() == "13.1"


def test_the_link_is_measured_one_way_and_both_ways():
    cuda = FakeCuda(3)
    driver = Driver(cuda)
    vectors = [(0, 10, 20), (1, 30, 40), (2, 50, 60)]
    rates = link.measure_link(driver, vectors)
    assert rates.copy_engine_gbps == pytest.approx((256 << 20) / 1e-6 / 1e9)
    assert rates.copy_engine_bidir_gbps > 0
    ring = [(10, 40), (30, 60), (50, 20)]  # from each device to the next
    copies = 8 * 5
    assert set(cuda.copies) == set(ring)
    assert [cuda.copies.count(route) for route in ring] == [2 * copies, copies, copies]
    assert link.measure_link(driver, vectors[:1]) == link.LinkRates()
    assert not cuda.streams
    rates = link.LinkRates(386.0, 390.0)
    both = make_case("all_reduce", "float32", "sum", 64, 2)
    one = make_case("p2p", "float32", "one_way", 64, 2)
    assert link.peak_gbps(rates, both) == rates.copy_engine_bidir_gbps
    assert link.peak_gbps(rates, one) == rates.copy_engine_gbps


def test_multicast_is_off_before_nccl_is_loaded(monkeypatch, tmp_path):
    monkeypatch.setenv("NCCL_NVLS_ENABLE", "1")
    seen = []

    def loads(path):
        seen.append(os.environ["NCCL_NVLS_ENABLE"])
        raise OSError("no such library")

    monkeypatch.setattr(nccl_library.ctypes, "CDLL", loads)
    with pytest.raises(RivalUnavailableError, match="does not load"):
        nccl_library.load(str(tmp_path))
    assert seen == ["0"]


def test_where_nccl_is_looked_for(monkeypatch, tmp_path):
    with pytest.raises(RivalUnavailableError, match="no such file"):
        nccl_library.find(str(tmp_path / "x.so"))
    library = tmp_path / "nvidia" / "nccl" / "lib" / "libnccl.so.2"
    library.parent.mkdir(parents=True)
    library.write_bytes(b"")
    assert nccl_library.find(str(library)) == str(library)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "nvidia"]:
        monkeypatch.delitem(sys.modules, name)
    assert nccl_library.find() == str(library)


@pytest.mark.parametrize(
    ("names", "devices", "changes", "words"),
    [
        (["nccl"], ["sim:0", "sim:1"], {}, "needs CUDA devices"),
        (["torch"], ["sim:0", "sim:1"], {}, "needs CUDA devices"),
        (["nccl"], ["cuda:0", "cuda:0"], {}, "a device of its own"),
        (["nccl"], ["cuda:0", "cuda:1"], {"kinds": (("bool", "sum"),)}, "NCCL has no sum of bool"),
        (["nccl-sym"], ["cuda:0"] * 1, {"kinds": (("float32", "avg"),), "ranks": 3}, "exact only"),
        (["mpi"], ["cuda:0", "cuda:1"], {"kinds": (("float16", "sum"),)}, "MPI has no"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(names, devices, changes, words):
    if names == ["mpi"]:
        mpi_or_skip()
    plan = Plan(**{**vars(plan_for("all_reduce", 2)), **changes})
    backend = "sim" if devices[0].startswith("sim") else "cuda"
    with pytest.raises(RivalUnavailableError, match=words):
        choose.check(names, plan, backend, devices, None)


def mpi_or_skip():
    try:
        mpi.find_mpiexec()
    except RivalUnavailableError as missing:
        pytest.skip(str(missing))


def test_torch_is_refused_where_it_has_nothing_to_offer(monkeypatch):
    monkeypatch.setattr(torch_symm.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RivalUnavailableError, match="needs PyTorch"):
        torch_symm.refuse("torch", "all_reduce", "float32", "sum")
    monkeypatch.setattr(torch_symm.importlib.util, "find_spec", lambda name: name)
    torch_symm.refuse("torch", "all_reduce", "bfloat16", "sum")
    for collective, dtype, op in [
        ("all_gather", "float32", "none"),
        ("all_reduce", "float16", "sum"),
        ("all_reduce", "float32", "max"),
    ]:
        with pytest.raises(RivalUnavailableError, match="torch"):
            torch_symm.refuse("torch", collective, dtype, op)
    for impl in ("torch", "torch-nccl"):
        with pytest.raises(RivalUnavailableError, match="no sum of float8_e5m2"):
            torch_symm.refuse(impl, "all_reduce", "float8_e5m2", "sum")


WORKER = """
import json, os, sys
rank = int(os.environ["RANK"])
assert os.environ["NCCL_NVLS_ENABLE"] == "0"
assert os.environ["TORCH_SYMM_MEM_DISABLE_MULTICAST"] == "1"
for line in sys.stdin:
    request = json.loads(line)
    answer = {
        "hello": {"torch": "2.x"},
        "prepare": {"algo": "one_shot"},
        "round": {"seconds": [1e-6 * (1 + rank), 1e-6 * (5 - rank)]},
        "check": {"wrong": rank},
    }[request["do"]]
    print(json.dumps(answer), flush=True)
"""


def test_the_slowest_of_the_processes_of_torch_counts(monkeypatch):
    monkeypatch.setattr(torch_symm, "WORKER", [sys.executable, "-c", WORKER])
    runner = TorchRunner("torch", [0, 1], capacity=1 << 20, timeout=30)
    plan = Plan(**{**vars(plan_for("all_reduce", 2)), "sizes": (64,)})
    row = next(iter(sweep(plan, [runner])))
    runner.close()
    assert row.p50_us == pytest.approx(2.0)
    assert row.p99_us == pytest.approx(5.0)
    assert (row.algo, row.wrong, row.devices) == ("one_shot", 1, ["cuda:0", "cuda:1"])
    assert runner.versions == {"torch": "2.x"}


def test_a_process_that_ends_is_reported_with_its_last_words():
    process = LineProcess("it", [sys.executable, "-c", "raise SystemExit('broken')"], timeout=30)
    with pytest.raises(RivalUnavailableError, match="it ended: broken"):
        process.receive()
    process.close()


def test_a_process_that_reports_an_error_is_believed():
    answer = 'print(\'{"error": "no GPU"}\')'
    process = LineProcess("it", [sys.executable, "-c", answer], timeout=30)
    with pytest.raises(RivalUnavailableError, match="it: no GPU"):
        process.receive()
    process.close()


def test_a_process_that_does_not_answer_is_a_timeout_and_is_ended():
    waits = "import signal, time; signal.signal(signal.SIGTERM, lambda *a: None); time.sleep(60)"
    process = LineProcess("it", [sys.executable, "-c", waits], timeout=0.5)
    with pytest.raises(weft.CollectiveTimeout, match="no reply from it within"):
        process.receive()
    process.close()
    assert process._process.returncode is not None


def test_scatter_and_gather_go_by_messages():
    library = Nccl(FakeNccl(FakeCuda()))
    case = make_case("scatter", "float32", "none", 64, 2, root=1)
    calls = library.calls(case, 1, c_void_p(1), c_void_p(2), 1 << 20, 1 << 21)
    sent = [arguments[0].value - (1 << 20) for _, arguments in calls[:-1]]
    assert sent == [0, 32]
    assert [arguments[3].value for _, arguments in calls] == [0, 1, 1]

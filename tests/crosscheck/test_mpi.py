"""An independent check: MPI.Allreduce between 4 processes and weft between 4 ranks agree.

The inputs are random, made from the rank's number in every process. Integers agree exactly; floats
within twice the bound of a sum of n numbers, (n + 1) u sum|x|, since the orders of addition differ.
"""

import subprocess
import sys

import numpy as np
import pytest

import weft
from weft.bench.collective import COLLECTIVES, make_case
from weft.bench.load import Timing, make_load
from weft.bench.rivals.mpi import MpiRunner, find_mpiexec
from weft.bench.runner import RivalUnavailableError
from weft.bench.sweep import Plan, sweep

try:
    MPIEXEC = find_mpiexec()
except RivalUnavailableError as unavailable:
    pytest.skip(str(unavailable), allow_module_level=True)

RANKS = 4
SIZES = (0, 1, 3, 1000, 100_003)
KINDS = ("float32", "float64", "int32")

PROGRAM = """
import sys
import numpy as np
from mpi4py import MPI

sys.path.insert(0, sys.argv[2])
from test_mpi import KINDS, SIZES, vector

comm = MPI.COMM_WORLD
results = {}
for kind in KINDS:
    for size in SIZES:
        mine = vector(comm.rank, kind, size)
        total = np.empty_like(mine)
        comm.Allreduce(mine, total, MPI.SUM)
        results[f"{kind}-{size}"] = total
every = comm.gather({name: total.tobytes() for name, total in results.items()})
if comm.rank == 0:
    assert all(other == every[0] for other in every[1:])
    np.savez(sys.argv[1], ranks=comm.size, **results)
"""


def vector(rank, kind, size):
    """Rank's input: any 32 bits for integers, normal numbers of many magnitudes for floats."""
    rng = np.random.default_rng([rank, size])
    if kind == "int32":
        return rng.integers(-(2**31), 2**31, size).astype(np.int32)
    return (rng.normal(size=size) * 10.0 ** rng.integers(-3, 4, size)).astype(kind)


@pytest.fixture(scope="module")
def by_mpi(tmp_path_factory):
    """What MPI computed, from one start of its processes."""
    import pathlib

    path = tmp_path_factory.mktemp("mpi") / "sums.npz"
    here = str(pathlib.Path(__file__).parent)
    command = [MPIEXEC, "-n", str(RANKS), sys.executable, "-c", PROGRAM, str(path), here]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(path) as results:
        assert results["ranks"] == RANKS
        return dict(results)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_sums_agree(by_mpi, kind, size):
    inputs = [vector(rank, kind, size) for rank in range(RANKS)]
    magnitude = np.sum(np.abs([x.astype(np.float64) for x in inputs]), axis=0)
    with weft.Fabric(f"sim:{RANKS}") as fabric:
        ours = fabric.all_reduce(inputs)
    theirs = by_mpi[f"{kind}-{size}"]
    for result in ours:
        assert result.shape == theirs.shape
        if kind == "int32":
            assert (result == theirs).all()
        else:
            unit = np.finfo(kind).eps / 2
            apart = np.abs(result.astype(np.float64) - theirs.astype(np.float64))
            assert (apart <= 2 * (RANKS + 1) * unit * magnitude).all()


EAGER = Timing("eager", iterations=2, warmup=1, blocking=True)


def test_the_benchmark_runs_every_collective_by_mpi_and_checks_it():
    runner = MpiRunner(RANKS, timeout=60)
    found = {}
    try:
        for name, collective in COLLECTIVES.items():
            ops = collective.ops or ("sum", "max")
            kinds = tuple((dtype, op) for dtype in ("float64", "int16") for op in ops)
            plan = Plan(name, kinds, (8, 40_000), RANKS, 2, EAGER, root=2)
            found[name] = list(sweep(plan, [runner]))
    finally:
        runner.close()
    assert {row.wrong for rows in found.values() for row in rows} == {0}
    assert all(row.time_us > 0 and row.ranks == RANKS for row in found["all_to_all"])
    assert {row.in_place for row in found["all_reduce"]} == {False, True}
    assert {row.in_place for row in found["all_gather"]} == {False}


def test_processes_that_end_are_reported_with_their_message():
    runner = MpiRunner(2, timeout=60)
    case = make_case("all_reduce", "uint8", "no-such-op", 8, 2)
    try:
        with pytest.raises(RivalUnavailableError, match="no pattern"):
            runner.prepare(case, make_load(case, EAGER))
    finally:
        runner.close()

"""An independent check: MPI.Allreduce between 4 processes and weft between 4 ranks agree.

The inputs are random, made from the rank's number in every process. Integers agree exactly; floats
within twice the bound of a sum of n numbers, (n + 1) u sum|x|, since the orders of addition differ.
"""

import subprocess
import sys

import numpy as np
import pytest
from weft.bench.mpi import DTYPES, MpiRunner, MpiUnavailableError, find_mpiexec

import weft
from weft.bench.row import Case
from weft.bench.sweep import Plan, sweep

try:
    MPIEXEC = find_mpiexec()
except MpiUnavailableError as unavailable:
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


def test_the_benchmark_compares_with_mpi_and_checks_both():
    plan = Plan("all_reduce", (("float64", "max"),), (4096,), iterations=2, rounds=2)
    runner = MpiRunner(RANKS, warmup=1, timeout=60)
    try:
        rows = list(sweep(plan, [runner]))
    finally:
        runner.close()
    assert [(row.impl, row.in_place, row.wrong) for row in rows] == [
        ("mpi", False, 0),
        ("mpi", True, 0),
    ]
    assert all(row.time_us > 0 and row.ranks == RANKS for row in rows)


def test_processes_that_end_are_reported_with_their_message():
    runner = MpiRunner(2, warmup=0, timeout=60)
    try:
        with pytest.raises(MpiUnavailableError, match="KeyError"):
            runner.prepare(Case("all_reduce", DTYPES[0], "no-such-op", 8, 1, True))
    finally:
        runner.close()

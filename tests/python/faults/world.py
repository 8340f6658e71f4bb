"""Section W, the number of ranks and the machine below them."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from typing import Any

import pytest

import weft
from python.faults.calls import COLLECTIVES, accepted, call, listed, oracle, works
from python.faults.table import checked, covered, does_not_apply
from weft.topology import Topology

SECONDS = 60


def in_process(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in a process and an empty folder of its own, with a deadline."""
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, **environment}, cwd=folder,
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip


@checked("W-01", "one rank", "the identity, and nothing sent", cases=COLLECTIVES)
def one_rank(name: str) -> None:
    made = call(name, 2)
    inputs = made.inputs[:1] if name != "scatter" else made.inputs[1:]
    arguments: dict[str, Any] = {"root": 0} if "root" in made.arguments else {}
    if name == "send_recv":
        arguments = {"to": [0]}
    with weft.Fabric("sim:1") as fabric:
        got = getattr(fabric, made.method)(inputs, **arguments)
        given = inputs[0][1] if name == "bucket" else inputs[0]
        had = got[0][1] if name == "bucket" else got[0]
        assert had.tobytes() == given.tobytes()
        assert fabric.stats()["links"] == {}


@checked(
    "W-02",
    "any number of ranks",
    "the exact result of every collective (test_matrix.py has every dtype and algorithm)",
    cases=COLLECTIVES,
)
def any_world(name: str) -> None:
    for world in (2, 3, 4, 5, 6, 7, 8, 16):
        accepted(call(name, world, rows=37), (listed,))
    made = call(name, 64, rows=3)
    with weft.Fabric("sim:64") as fabric:
        assert listed(fabric, made) == [None]
        got = made.get("outputs", 1)
        assert got.tobytes() == oracle(made)[1].tobytes()


@checked(
    "W-03",
    "no rank, fewer than none, more than there can be, a device that is not there",
    "InvalidArgument, as documented, that says what there is; nothing is opened",
)
def impossible_worlds() -> None:
    for spec in ("", "sim:0", "sim:-1", "sim:65", "cuda:99", "gpu:1", "sim", "sim:1.5", [], 0, -1,
                 ["sim:64"], ["sim:0"] * 65, ["sim:0", "cpu"], ["sim:0", 3]):  # fmt: skip
        with pytest.raises(weft.InvalidArgument) as caught:
            weft.Fabric(spec)
        assert any(word in str(caught.value) for word in ("64 simulated", "at most", "not both"))


covered(
    "W-04",
    "a device without access to a peer's memory",
    "PeerAccessError, before anything is launched; every device call of opening may fail",
    ("tests/collectives/test_all_reduce.cc",
     "a rank's memory without peer access is refused before launch"),
    ("tests/core/device/test_conformance.cc",
     "simulated: no access without enable_peer, none past the end"),
    ("tests/gpu/test_collectives.py", "test_memory_that_is_not_mapped_for_peers_is_opened_to_them"),
)  # fmt: skip


def machine(size: int) -> dict[str, Any]:
    """A machine of which only its links are known."""
    document = json.loads(Topology.preset("pcie-4", size).to_json())
    for name in ("cliques", "matrix"):
        del document[name]
    document.update(vertices=[], wires=[], measurements=[])
    return document


def reach_each_other(size: int, pairs: set[tuple[int, int]]) -> Topology:
    """Devices of which only the ordered pairs have access."""
    document = machine(size)
    for link in document["links"]:
        access = (link["from"], link["to"]) in pairs
        link.update(peer_access=access, reason=None if access else "not told")
    return Topology.from_json(json.dumps(document))


def has_ring(size: int, pairs: set[tuple[int, int]]) -> bool:
    """Whether some order of the devices goes round by pairs with access both ways."""
    for order in itertools.permutations(range(1, size)):
        ring = (0, *order, 0)
        if all({(a, b), (b, a)} <= pairs for a, b in itertools.pairwise(ring)):
            return True
    return False


@checked(
    "W-05",
    "a machine on which no ring goes round over peer access",
    "no ring is found where there is none, on each of the 64 graphs of 4 devices",
)
def no_ring() -> None:
    edges = list(itertools.combinations(range(4), 2))
    found = 0
    for chosen in itertools.product([False, True], repeat=len(edges)):
        kept = [edge for edge, keep in zip(edges, chosen, strict=True) if keep]
        pairs = {*kept, *((b, a) for a, b in kept)}
        rings = reach_each_other(4, pairs).rings()
        assert bool(rings) == has_ring(4, pairs), kept
        found += bool(rings)
        for a, b in itertools.pairwise([*rings[0], rings[0][0]] if rings else []):
            assert (a, b) in pairs
    assert found == 10  # with a ring: the full graph, 6 without an edge, 3 plain rings


@checked(
    "W-06",
    "peer access in one direction alone",
    "the pair is in no clique, and a ring goes only where there is access in its direction",
)
def one_way_access() -> None:
    every = set(itertools.permutations(range(4), 2))
    for missing in every:
        found = reach_each_other(4, every - {missing})
        assert not any(set(missing) <= set(clique) for clique in found.cliques())
        (ring, *_) = found.rings()
        assert set(itertools.pairwise([*ring, ring[0]])) <= every - {missing}


@checked(
    "W-07",
    "peer access that is enabled already",
    "success, and it stays when one of the two that enabled it ends",
)
def enabled_twice() -> None:
    with weft.Fabric("sim:3") as first:
        for _ in range(3):
            with weft.Fabric("sim:3") as second:
                works(second)
        works(first)


covered(
    "W-08",
    "to enable a peer fails midway",
    "a named error and nothing left behind, whichever call it is; to open again works",
    ("tests/collectives/test_faults.cc",
     "every device call of opening may fail: named error, nothing left behind"),
    ("tests/fabric/test_fabric.cc",
     "scratch that cannot be prepared: the error comes out and nothing is left behind"),
)  # fmt: skip
covered(
    "W-09",
    "the driver has no room for another peer",
    "the CUDA error by name, with the call and the device, and nothing left behind",
    ("tests/core/device/cuda/test_cuda_device.cc",
     "a CUDA error becomes the error it means, names the call and leaves nothing behind"),
    ("tests/collectives/test_faults.cc",
     "every device call of opening may fail: named error, nothing left behind"),
)  # fmt: skip
does_not_apply(
    "W-10",
    "links without native atomics",
    "everything works",
    "Every signal has one writer and is a plain store, so that no atomic ever goes over a link.",
)


@checked(
    "W-11",
    "peer access that gives wrong data",
    "TopologyError that names the pair and what was found, when a fabric is opened over it",
)
def pair_that_lies() -> None:
    for liar in itertools.permutations(range(3), 2):
        document = machine(3)
        for link in document["links"]:
            if (link["from"], link["to"]) == liar:
                link.update(verified=False, peer_access=False,
                            reason="quarantined: 4 of 65536 bytes did not arrive")  # fmt: skip
        sick = Topology.from_json(json.dumps(document))
        with pytest.raises(weft.TopologyError, match=r"4 of 65536 bytes did not arrive") as caught:
            weft.Fabric("sim:3", topology=sick)
        assert f"between sim:{liar[0]} and sim:{liar[1]}" in str(caught.value)
        well = next(rank for rank in range(3) if rank not in liar)
        with weft.Fabric([f"sim:{liar[0]}", f"sim:{well}"], topology=sick) as fabric:
            works(fabric)


@checked(
    "W-12",
    "CUDA_VISIBLE_DEVICES that is empty, names nothing, or a device twice",
    "simulated devices, or an error that says so; never a crash",
)
def odd_visible_devices() -> None:
    program = (
        "import numpy as np, weft\n"
        "assert weft.cuda.device_count() >= 0\n"
        "try:\n"
        "    with weft.Fabric() as fab:\n"
        "        fab.all_reduce([np.ones(3) for _ in range(fab.size)])"
        " if fab.backend == 'sim' else None\n"
        "except weft.Error as error:\n"
        "    assert str(error)\n"
        "weft.topology.probe()\n"
        "print('ended well')"
    )
    for value in ("", "-1", "junk", "0,0", "99", "GPU-0", "1" * 5000):
        done = in_process(program, CUDA_VISIBLE_DEVICES=value)
        assert (done.returncode, done.stdout) == (0, "ended well\n"), (value, done.stderr)


@checked(
    "W-13",
    "no driver, or one that is no driver",
    "the import works, and what is asked for devices says why there are none",
)
def no_driver() -> None:
    program = (
        "import weft\n"
        "assert not weft.cuda.is_available() and weft.cuda.device_count() == 0\n"
        "assert weft.Fabric().backend == 'sim'\n"
        "try:\n"
        "    weft.Fabric('cuda:0')\n"
        "except weft.InvalidArgument as error:\n"
        "    assert 'this machine has no CUDA device' in str(error) and error.device == 'cuda:0'\n"
        "print(weft.topology.probe().notes[0])"
    )
    if weft.cuda.is_available():
        done = in_process(program, CUDA_VISIBLE_DEVICES="")
    else:
        done = in_process(program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("devices: ")
    assert len(done.stdout) > 20

"""Traces of real operations on simulated devices: a rank that is late is named, and why."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import weft
from weft import tracing
from weft.topology import Topology

# A busy machine, too, keeps threads waiting, and that is told, and rightly: but not every time the
# same one.
DELAY = 0.05
TIMES = 5


@pytest.mark.parametrize(
    ("algorithm", "ranks"),
    [("ring", n) for n in range(2, 9)]
    + [(a, n) for a in ("two_shot", "push_two_shot") for n in (2, 5)],
)
def test_a_late_rank_is_named_with_the_step(tmp_path, algorithm, ranks):
    with weft.Fabric(f"sim:{ranks}") as fabric:
        data = [np.ones(20_000, np.float32) for _ in range(ranks)]
        fabric.all_reduce(data, algorithm=algorithm)
        for late in range(ranks):
            fabric._native.plan_fault(late, 1, "delay", DELAY)
            with fabric.trace(tmp_path / "t.json", detail="chunks"):
                for _ in range(TIMES):
                    fabric.all_reduce(data, algorithm=algorithm)
            fabric._native.plan_fault(-1, -1, "none")
            found = tracing.summary(tracing.read(tmp_path / "t.json"))["stragglers"]
            worst = found["overall"][0]
            assert (worst["rank"], worst["cause"]) == (late, "slow at step 1")
            assert worst["waited_us"] > 0.5e6 * DELAY * TIMES


def test_sums_of_a_trace_are_those_of_the_statistics(tmp_path):
    with weft.Fabric("sim:3") as fabric:
        data = [np.ones(50_000, np.float32) for _ in range(3)]
        with fabric.trace(tmp_path / "t.json", detail="chunks"):
            for _ in range(4):
                fabric.all_reduce(data, algorithm="ring")
        stats = fabric.stats()
    told = tracing.summary(tracing.read(tmp_path / "t.json"))
    links = {f"{row['from']}->{row['to']}": row["bytes"] for row in told["chunks"]["links"]}
    assert links == stats["links"]
    (row,) = (row for row in told["operations"] if row["kind"] == "all_reduce")
    assert (row["count"], row["bytes"]) == (stats["operations"], stats["bytes"])


def slow_machine(ranks, link):
    """A preset in which one link alone takes a millisecond longer."""
    document = json.loads(Topology.preset("hgx-h200", ranks).to_json())
    for row in document["links"]:
        if (row["from"], row["to"]) == link:
            row["latency_seconds"] += 1e-3
    return Topology.from_json(json.dumps(document))


@pytest.mark.parametrize("algorithm", ["ring", "push_two_shot"])
@pytest.mark.parametrize("ranks", range(2, 9))
def test_a_slow_link_of_the_machine_is_named_in_what_is_predicted(tmp_path, ranks, algorithm):
    data = [np.ones(20_000, np.float32) for _ in range(ranks)]
    for rank in range(ranks):
        link = (rank, (rank + 1) % ranks)
        machine = slow_machine(ranks, link)
        with (
            weft.Fabric(f"sim:{ranks}", topology=machine) as fabric,
            fabric.trace(tmp_path / "t.json", detail="chunks"),
        ):
            fabric.all_reduce(data, algorithm=algorithm)
        chunks = tracing.summary(tracing.read(tmp_path / "t.json"))["chunks"]
        worst = chunks["predicted"]["stragglers"]["overall"][0]
        assert (worst["rank"], worst["link"]) == (rank, list(link))
        assert worst["cause"] == f"slow link {link[0]}->{link[1]}"


def test_nobody_is_blamed_in_what_is_predicted_of_a_machine_whose_links_are_alike(tmp_path):
    data = [np.ones(20_000, np.float32) for _ in range(4)]
    with weft.Fabric("sim:4") as fabric, fabric.trace(tmp_path / "t.json", detail="chunks"):
        for algorithm in ("ring", "push_two_shot", "one_shot", "halving_doubling"):
            fabric.all_reduce(data, algorithm=algorithm)
    found = tracing.summary(tracing.read(tmp_path / "t.json"))["chunks"]["predicted"]["stragglers"]
    assert (found["examined"], found["overall"]) == (4, [])


@pytest.mark.parametrize("ranks", range(2, 9))
def test_a_rank_that_calls_late_is_named(tmp_path, ranks):
    with weft.Fabric(f"sim:{ranks}") as fabric, ThreadPoolExecutor(ranks) as pool:
        data = [np.ones(1000, np.float32) for _ in range(ranks)]

        def call(rank, late):
            for _ in range(TIMES):
                if rank == late:
                    time.sleep(DELAY)
                fabric.rank(rank).all_reduce(data[rank])

        for late in range(ranks):
            with fabric.trace(tmp_path / "t.json"):
                list(pool.map(call, range(ranks), [late] * ranks))
            found = tracing.summary(tracing.read(tmp_path / "t.json"))
            assert found["chunks"] is None
            worst = found["stragglers"]["overall"][0]
            assert (worst["rank"], worst["cause"]) == (late, "late call")
            assert worst["waited_us"] > 0.5e6 * DELAY * TIMES * (ranks - 1)


def test_ranks_that_are_called_for_in_one_go_are_not_late(tmp_path):
    with weft.Fabric("sim:3") as fabric, fabric.trace(tmp_path / "t.json"):
        fabric.all_reduce([np.ones(1000, np.float32) for _ in range(3)])
    found = tracing.summary(tracing.read(tmp_path / "t.json"))["stragglers"]
    assert (found["examined"], found["overall"]) == (0, [])

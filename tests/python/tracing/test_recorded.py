"""Traces of real operations on simulated devices: a rank that is late is named, and why."""

import numpy as np
import pytest

import weft
from weft import tracing

# Longer than a busy machine keeps a thread waiting: that, too, would be told, and rightly.
DELAY = 0.1


@pytest.mark.parametrize("algorithm", ["ring", "two_shot", "push_two_shot"])
@pytest.mark.parametrize("ranks", range(2, 9))
def test_a_late_rank_is_named_with_the_step(tmp_path, ranks, algorithm):
    with weft.Fabric(f"sim:{ranks}") as fabric:
        data = [np.ones(20_000, np.float32) for _ in range(ranks)]
        fabric.all_reduce(data, algorithm=algorithm)
        for late in range(ranks):
            fabric._native.plan_fault(late, 1, "delay", DELAY)
            with fabric.trace(tmp_path / "t.json", detail="chunks"):
                fabric.all_reduce(data, algorithm=algorithm)
            fabric._native.plan_fault(-1, -1, "none")
            found = tracing.summary(tracing.read(tmp_path / "t.json"))["chunks"]["stragglers"]
            worst = found["overall"][0]
            assert (worst["rank"], worst["cause"]) == (late, "slow at step 1")
            assert worst["waited_us"] > 0.9e6 * DELAY


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

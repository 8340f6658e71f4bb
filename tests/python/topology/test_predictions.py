"""Predictions beside what was measured on the same machine, both recorded in one go."""

from __future__ import annotations

import json
import pathlib

import pytest

from weft.topology import Topology

RESULTS = pathlib.Path(__file__).parents[3] / "bench" / "results"
MEASURED = {"ring": "h200x2-links-ring.json", "two_shot": "h200x2-links-two-shot.json"}


def recorded_machine() -> Topology:
    return Topology.from_json(RESULTS / "h200x2-topology.json")


@pytest.mark.parametrize("algorithm", MEASURED)
def test_predictions_from_measured_links_are_within_10_per_cent(algorithm: str) -> None:
    """From 16 MiB on, where links decide; the ring's own figures come from 1 and 64 KiB."""
    machine = recorded_machine()
    rows = json.loads((RESULTS / MEASURED[algorithm]).read_text())["rows"]
    compared = [row for row in rows if row["bytes"] >= 1 << 24]
    assert {row["bytes"] for row in compared} == {1 << 24, 1 << 26, 1 << 28, 1 << 30}
    for row in compared:
        assert (row["algo"], row["ranks"], row["predicted"]) == (algorithm, 2, False)
        predicted = machine.predict(algorithm, row["bytes"])
        assert predicted.seconds == pytest.approx(row["time_us"] * 1e-6, rel=0.1)
        assert predicted.lower_bound_seconds <= row["time_us"] * 1e-6


def test_only_a_machine_that_is_real_pays_for_launches_and_hops() -> None:
    machine = recorded_machine()
    document = json.loads(machine.to_json())
    simulated = Topology.from_json(json.dumps({**document, "simulated": True}))

    def overhead(algorithm: str, size: int) -> float:
        real = machine.predict(algorithm, size)
        bare = simulated.predict(algorithm, size)
        assert real.lower_bound_seconds == bare.lower_bound_seconds
        return real.seconds - bare.seconds

    assert 2e-6 < overhead("two_shot", 1024) < 5e-6
    assert overhead("two_shot", 1 << 30) == pytest.approx(overhead("two_shot", 1024))
    # The ring's hops: longer for a whole piece, and no longer for many, which overlap.
    assert overhead("ring", 1024) > overhead("two_shot", 1024) + 2e-6
    assert overhead("ring", 1 << 16) > overhead("ring", 1024) + 2e-6
    assert overhead("ring", 1 << 30) == pytest.approx(overhead("ring", 1 << 16))

"""Probing and measuring from Python, where there may be no GPU."""

from __future__ import annotations

import json

import pytest

import weft
from weft import _weft
from weft.topology import Topology, counters, probe

no_gpu = pytest.mark.skipif(weft.cuda.is_available(), reason="there is a GPU here")


@no_gpu
def test_without_a_gpu_probe_says_why_it_is_empty_and_measures_nothing():
    found = probe()
    assert found.size == 0
    assert found.notes[0].startswith("devices: ")
    calls = []
    measured = probe(measure=True, progress=lambda done, following: calls.append(done))
    assert measured.size == 0
    assert measured.notes[-1] == "measure: there is no CUDA device"
    assert json.loads(measured.to_json())["measurements"] == []
    assert calls == []


def test_simulated_devices_are_not_measured():
    with pytest.raises(weft.InvalidArgument, match="simulated"):
        _weft.topology_measure(Topology.preset("hgx-h200", 2)._native)


@pytest.mark.parametrize("budget", [0, -1, float("nan"), float("inf"), "5"])
def test_an_odd_budget_is_refused(budget):
    with pytest.raises(weft.InvalidArgument, match="budget"):
        probe(measure=True, budget=budget)


def test_odd_arguments_are_refused():
    with pytest.raises(weft.InvalidArgument, match="verified"):
        probe(measure=True, verify=False)
    with pytest.raises(weft.InvalidArgument, match="callable"):
        probe(measure=True, progress="bar")


def test_blocking_launches_are_refused_before_anything_is_measured(monkeypatch):
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    with pytest.raises(weft.ConfigError, match="CUDA_LAUNCH_BLOCKING is '1'"):
        probe(measure=True)
    assert probe().size == weft.cuda.device_count()


def test_counters_never_raise():
    found = counters()
    assert found["links"] or found["notes"]


def test_what_linux_tells_of_a_machine_without_sysfs_is_nothing(tmp_path):
    found = _weft.topology_system(str(tmp_path), str(tmp_path))
    assert found == {
        "cpu": None, "numa_nodes": [], "iommu": None, "virtual_machine": False, "has_pci": False,
        "pci": [],
    }  # fmt: skip

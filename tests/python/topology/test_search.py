"""Rings, trees, groups, and what an all-reduce takes on machines that need not exist."""

import time

import numpy as np
import pytest

import weft
from weft import _weft
from weft.topology import Topology, presets

ALGORITHMS = [
    *("ring", "ll", "lamport", "one_shot", "one_shot_pull", "two_shot", "push_two_shot"),
    *("copy_engine", "halving_doubling", "hierarchical"),
]


def changed(machine, **link):
    """The machine with fields of every link set."""
    document = machine._native.document()
    for row in document["links"]:
        row |= link
    return Topology(_weft.topology_from_document(document))


def test_several_rings_come_best_first_and_details_say_why():
    machine = Topology.preset("dgx-1v")
    rings = machine.rings(8)
    details = machine.ring_details(8)
    assert [ring["devices"] for ring in details] == rings
    assert rings[0] == [0, 3, 2, 1, 5, 6, 7, 4]
    rates = [ring["bytes_per_second"] for ring in details]
    assert rates == sorted(rates, reverse=True)
    a, b = details[0]["bottleneck"]
    assert machine.matrix()[a][b] == "NV2"
    assert all(ring["proven"] for ring in details)
    assert details[0]["bytes_per_second_together"] == rates[0]  # wires of its own


def test_trees_share_no_pair_and_keep_to_their_children():
    machine = Topology.preset("hgx-h200")
    trees = machine.trees(2)
    pairs = [frozenset((i, p)) for tree in trees for i, p in enumerate(tree) if p is not None]
    assert len(set(pairs)) == len(pairs) == 14
    assert machine.trees(children=None) == [[None, 0, 0, 0, 0, 0, 0, 0]]
    assert machine.trees(children=1)[0].count(None) == 1


def test_what_has_no_ring_gives_none():
    empty = Topology(_weft.topology_from_document({"schema": "weft.topology/1", "name": "none"}))
    assert empty.rings() == empty.trees() == empty.cliques() == empty.groups() == []
    assert changed(Topology.preset("pair-nvlink"), verified=False).rings() == []


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "1", None])
def test_numbers_of_rings_and_trees_are_whole_and_from_1(bad):
    machine = Topology.preset("hgx-h200")
    with pytest.raises(weft.InvalidArgument, match="k must be a whole number from 1"):
        machine.rings(bad)
    with pytest.raises(weft.InvalidArgument, match="k must be a whole number from 1"):
        machine.trees(bad)
    if bad is not None:
        with pytest.raises(weft.InvalidArgument, match="children must be a whole number from 1"):
            machine.trees(children=bad)


def test_a_cluster_is_whole_machines():
    assert Topology.preset("dgx-h100", machines=2).groups() == [
        list(range(8)),
        list(range(8, 16)),
    ]
    with pytest.raises(weft.InvalidArgument, match="devices= goes with one"):
        Topology.preset("dgx-h100", 4, machines=2)
    with pytest.raises(weft.InvalidArgument, match="1 to 128 machines, not 129"):
        Topology.preset("dgx-h100", machines=129)
    for bad in (0, 1.5, "2"):
        with pytest.raises(weft.InvalidArgument, match="machines must be a whole number"):
            Topology.preset("dgx-h100", machines=bad)


def test_a_preset_has_at_most_the_devices_of_its_machine():
    assert Topology.preset("gb200-nvl72").size == 72
    assert Topology.preset("gb200-nvl72", 65).size == 65
    with pytest.raises(weft.InvalidArgument, match="from 1 to 72"):
        Topology.preset("gb200-nvl72", 73)


@pytest.mark.parametrize("name", presets())
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_prediction_is_below_its_bound(name, algorithm):
    machine = Topology.preset(name)
    for size in (0, 1, 4096, 1 << 20, (1 << 26) + 4):
        seen = machine.predict(algorithm, size)
        assert seen.lower_bound_seconds <= seen.seconds
        assert seen.link_bytes.shape == seen.utilisation.shape == (machine.size, machine.size)
        assert np.all(seen.utilisation >= 0)
        assert np.all(seen.utilisation <= 1 + 1e-9)
        if size == 0:
            assert seen.seconds == 0
            assert seen.bottleneck is None
            assert seen.bytes_per_second is None
        else:
            a, b = seen.bottleneck
            assert seen.link_bytes[a, b] > 0
            # All reduce by sending at least (n - 1) / n of the vector, wherever it goes.
            assert seen.link_bytes.sum() >= (machine.size - 1) * size


def test_a_prediction_of_two_devices_is_what_the_model_says():
    machine = Topology.preset("pair-nvlink")
    link = machine._native.document()["links"][0]
    rate, latency = link["bytes_per_second"], link["latency_seconds"]
    size = 1 << 28
    seen = machine.predict("push_two_shot", size)
    assert seen.link_bytes.tolist() == [[0, size], [size, 0]]
    assert seen.lower_bound_seconds == pytest.approx(size / rate + latency)
    assert seen.seconds == pytest.approx(size / rate + 2 * latency)
    assert seen.bytes_per_second == pytest.approx(rate, rel=0.01)
    assert seen.utilisation[0, 1] == pytest.approx(size / rate / seen.seconds)
    assert seen.bottleneck in ((0, 1), (1, 0))
    assert machine.predict("ring", size).seconds == pytest.approx(size / rate, rel=0.02)


def test_a_device_sends_to_many_through_a_switch_no_faster_than_to_one():
    machine = Topology.preset("hgx-h200")
    size = 1 << 30
    for algorithm in ("ring", "two_shot", "push_two_shot"):
        seconds = machine.predict(algorithm, size).seconds
        assert seconds == pytest.approx(2 * 7 / 8 * size / 386e9, rel=0.02)
    direct = changed(machine, via="direct")
    assert direct.predict("two_shot", size).seconds < seconds / 5


def test_predictions_follow_the_links():
    machine = Topology.preset("hgx-h200", 4)
    slow = changed(machine, bytes_per_second=1e9)
    size = 1 << 28
    assert slow.predict("ring", size).seconds == pytest.approx(1.5 * size / 1e9, rel=0.02)
    assert slow.predict("ring", size) != machine.predict("ring", size)
    with pytest.raises(weft.TopologyError, match="no rate is known"):
        changed(machine, bytes_per_second=None).predict("ring", size)


def test_a_measured_machine_is_predicted_by_the_engine_of_the_algorithm():
    document = Topology.preset("pair-nvlink")._native.document()
    rates = {"copy_engine": 386e9, "sm_push": 361e9, "sm_pull": 332e9}
    document["measurements"] = [
        {
            **{"from": i, "to": 1 - i, "what": "bandwidth", "engine": engine, "median": rate},
            **{"both_directions": True, "bytes": 1 << 28, "spread": 0.0, "samples": 5},
        }
        for engine, rate in rates.items()
        for i in (0, 1)
    ]
    size = 1 << 30
    simulated = Topology(_weft.topology_from_document(document))
    real = Topology(_weft.topology_from_document(document | {"simulated": False}))
    both = 2 / (1 / 361e9 + 1 / 332e9)
    for algorithm, rate in (
        *(("copy_engine", 386e9), ("push_two_shot", 361e9), ("ring", 361e9)),
        *(("two_shot", both), ("one_shot_pull", 332e9)),
    ):
        seconds = simulated.predict(algorithm, size).seconds
        assert seconds == pytest.approx(size / rate, rel=0.02)
        # A launch, and the hops of a ring, which take simulated devices no time.
        hops = 2 * (2.7e-6 + 16384 / 11e9) if algorithm == "ring" else 0
        assert real.predict(algorithm, size).seconds == pytest.approx(seconds + 3.2e-6 + hops)
    assert real.predict("ring", 0).seconds == 0


def test_hierarchical_pays_where_machines_are_joined_by_a_network():
    cluster = Topology.preset("dgx-h100", machines=4)
    size = 1 << 28
    hierarchical = cluster.predict("hierarchical", size).seconds
    assert hierarchical < cluster.predict("two_shot", size).seconds / 2
    assert hierarchical < cluster.predict("hierarchical", size, group_size=2).seconds


def test_what_cannot_be_predicted_is_refused():
    machine = Topology.preset("hgx-h200")
    for bad, message in (
        (("magic", 1), "no algorithm is called"),
        (("auto", 1), 'no algorithm "auto"'),
        ((3, 1), "a schedule is named by a text"),
        (("ring", -1), "bytes must be a whole number from 0"),
        (("ring", 1.5), "bytes must be a whole number from 0"),
        (("ring", 1 << 70), "bytes must be a whole number from 0"),
    ):
        with pytest.raises(weft.InvalidArgument, match=message):
            machine.predict(*bad)
    with pytest.raises(weft.InvalidArgument, match="groups of 3 do not divide 8"):
        machine.predict("hierarchical", 1, group_size=3)
    with pytest.raises(weft.InvalidArgument, match='group_size= is for "hierarchical"'):
        machine.predict("ring", 1, group_size=2)
    with pytest.raises(weft.InvalidArgument, match="group_size must be"):
        machine.predict("hierarchical", 1, group_size=0)
    empty = Topology(_weft.topology_from_document({"schema": "weft.topology/1", "name": "none"}))
    with pytest.raises(weft.InvalidArgument, match="none has no devices"):
        empty.predict("ring", 1)


def test_a_device_alone_reduces_at_once():
    assert Topology.preset("hgx-h200", 1).predict("ring", 1 << 20).seconds == 0


@pytest.mark.parametrize("machines", [1, 8])
def test_72_and_576_devices_are_searched_and_predicted_in_seconds(machines, record_property):
    start = time.perf_counter()
    cluster = Topology.preset("gb200-nvl72", machines=machines)
    ring = cluster.rings()[0]
    record_property("ring", time.perf_counter() - start)
    assert sorted(ring) == list(range(72 * machines))
    for algorithm in ("ring", "two_shot", "hierarchical"):
        start = time.perf_counter()
        seen = cluster.predict(algorithm, 1 << 28)
        record_property(algorithm, time.perf_counter() - start)
        assert seen.lower_bound_seconds <= seen.seconds
    assert time.perf_counter() - start < 20  # a loaded machine, or a sanitizer; alone it is 0.5 s


# Simulated devices


@pytest.mark.parametrize("algorithm", ["ring", "two_shot", "hierarchical"])
def test_simulated_devices_take_their_times_from_the_topology_they_are_given(algorithm):
    data = [np.ones(1 << 18, np.float32) for _ in range(4)]

    def predicted(machine):
        with weft.Fabric("sim:4", topology=machine) as fab:
            assert isinstance(fab.topology, Topology)
            assert fab.topology.to_json() == machine.to_json()
            work = fab.all_reduce(data, algorithm=algorithm, async_op=True)
            work.wait()
            return work.info["predicted_seconds"]

    machine = Topology.preset("hgx-h200", 4)
    nominal = predicted(machine)
    slow = changed(machine, bytes_per_second=386e9 / 4, latency_seconds=4 * 0.64e-6)
    assert predicted(slow) == pytest.approx(4 * nominal, rel=0.01)
    far = changed(machine, latency_seconds=1e-3)
    assert predicted(far) > 1e-3 > nominal


def test_a_description_of_real_devices_serves_simulated_ones():
    document = Topology.preset("dgx-a100", 2)._native.document()
    document["simulated"] = False
    for i, row in enumerate(document["devices"]):
        row |= {"device": f"cuda:{i}", "pci": f"0000:1{i}:00.0", "uuid": f"GPU-{i}"}
    machine = Topology(_weft.topology_from_document(document))
    with weft.Fabric("sim:2", topology=machine) as fab:
        assert fab.topology.nodes()[1]["uuid"] == "GPU-1"
        assert [x.tolist() for x in fab.all_reduce([np.ones(2), np.ones(2)])] == [[2.0, 2.0]] * 2

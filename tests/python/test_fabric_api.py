"""The Python surface of a fabric: arguments, results, handles, statistics, life and death."""

import gc
import json
import re
import threading
import weakref

import numpy as np
import pytest

import weft


@pytest.fixture
def fabric():
    with weft.Fabric("sim:4") as fab:
        yield fab


def ones(fabric, count=5, dtype=np.float32):
    return [np.ones(count, dtype) for _ in range(fabric.size)]


# What a fabric says of itself


def test_properties(fabric):
    assert fabric.size == 4
    assert fabric.devices == ["sim:0", "sim:1", "sim:2", "sim:3"]
    assert fabric.backend == "sim"
    assert fabric.peer_access.shape == (4, 4)
    assert fabric.peer_access.dtype == np.bool_
    assert fabric.peer_access.all()
    assert fabric.topology.size == 4
    assert fabric.topology.simulated
    assert "4 ranks" in repr(fabric)


def test_a_list_may_name_one_device_for_several_ranks():
    with weft.Fabric(["sim:2", "sim:2", weft.Device("sim:0")]) as fab:
        assert fab.devices == ["sim:2", "sim:2", "sim:0"]
        assert [x.tolist() for x in fab.all_reduce(ones(fab, 1))] == [[3.0]] * 3


def test_the_machine_of_simulated_devices_can_be_chosen():
    name = weft.topology.presets()[-1]
    with weft.Fabric("sim:2", topology=name) as fab:
        assert fab.topology.name == weft.topology.Topology.preset(name, 2).name
    with weft.Fabric("sim:2", topology=weft.topology.Topology.preset(name, 2)) as fab:
        assert fab.topology.size == 2
    with pytest.raises(weft.InvalidArgument, match=re.escape(name)):
        weft.Fabric("sim:2", topology="no-such-machine")
    with pytest.raises(weft.InvalidArgument, match="preset"):
        weft.Fabric("sim:2", topology=3)


def test_a_preset_is_not_asked_for_more_devices_than_it_has():
    preset = weft.topology.Topology.preset
    weft.Fabric("sim:4", topology="pcie-4").close()
    for name, size in (("pair-nvlink", 2), ("pcie-4", 4), ("dgx-h100", 8)):
        assert preset(name).size == preset(name, np.int64(size)).size == size
        for call in (
            lambda name=name, size=size: preset(name, size + 1),
            lambda name=name, size=size: weft.Fabric(f"sim:{size + 1}", topology=name),
        ):
            with pytest.raises(weft.InvalidArgument, match=f'"{name}" has {size} devices'):
                call()


def test_simulated_devices_beyond_the_default_machine_repeat_its_links():
    with weft.Fabric("sim:9") as fab:
        assert fab.topology.size == 9


def test_an_unknown_default_machine_names_the_variable(monkeypatch):
    monkeypatch.setattr(weft.topology, "setting", {"WEFT_SIM_TOPOLOGY": "toaster"}.__getitem__)
    with pytest.raises(weft.ConfigError, match="WEFT_SIM_TOPOLOGY is 'toaster'") as caught:
        weft.Fabric("sim:2")
    assert caught.value.code == "config"


def test_a_single_device_is_a_list_of_one():
    with weft.Fabric(weft.Device("sim:2")) as fab:
        assert fab.devices == ["sim:2"]


def test_a_kind_in_a_list_is_its_first_device():
    with weft.Fabric(["sim"]) as fab:
        assert fab.devices == ["sim:0"] == [str(weft.Device("sim"))]


@pytest.mark.parametrize(
    "timeout",
    [0, -1, float("inf"), float("nan"), "soon", [1], True, False, "3", b"3", np.bool_(True)],
)
def test_a_timeout_is_finite_and_above_zero(fabric, timeout):
    with pytest.raises(weft.InvalidArgument, match="timeout"):
        weft.Fabric("sim:2", timeout=timeout)
    data = ones(fabric)
    calls = [
        lambda: fabric.all_reduce(data, timeout=timeout),
        lambda: fabric.barrier(timeout),
        lambda: fabric.rank(0).all_reduce(data[0], timeout=timeout),
        lambda: fabric.rank(0).barrier(timeout),
    ]
    for call in calls:
        with pytest.raises(weft.InvalidArgument, match="timeout"):
            call()
    assert data[0].tolist() == [1.0] * 5
    work = fabric.all_reduce(ones(fabric), async_op=True)
    with pytest.raises(weft.InvalidArgument, match="timeout"):
        work.wait(timeout)
    work.wait()


@pytest.mark.parametrize("timeout", [20, 20.0, np.float32(20), np.int64(20)])
def test_a_timeout_is_any_number(fabric, timeout):
    fabric.all_reduce(ones(fabric), timeout=timeout)
    fabric.barrier(timeout)


# Results


def test_in_place_returns_the_tensors_given(fabric):
    data = ones(fabric)
    result = fabric.all_reduce(data)
    assert all(a is b for a, b in zip(result, data, strict=True))
    assert all((x == 4).all() for x in data)


def test_out_receives_the_result_and_inputs_stay(fabric):
    data, out = ones(fabric), [np.zeros(5, np.float32) for _ in range(4)]
    result = fabric.all_reduce(data, out=out)
    assert all(a is b for a, b in zip(result, out, strict=True))
    assert all((x == 4).all() for x in out)
    assert all((x == 1).all() for x in data)


@pytest.mark.parametrize(
    ("op", "expected"), [("sum", 10), ("avg", 2.5), ("min", 1), ("max", 4), ("prod", 24)]
)
def test_operations(fabric, op, expected):
    data = [np.full(3, rank + 1, np.float64) for rank in range(4)]
    for result in fabric.all_reduce(data, op):
        assert result.tolist() == [expected] * 3


def test_a_tuple_is_a_list(fabric):
    assert isinstance(fabric.all_reduce(tuple(ones(fabric))), list)


@pytest.mark.parametrize("bad", [None, np.ones((4, 3)), 3, "sum", {1: 2}])
def test_tensors_must_be_a_list(fabric, bad):
    with pytest.raises(weft.InvalidArgument, match="tensors must be a list"):
        fabric.all_reduce(bad)
    if bad is not None:
        with pytest.raises(weft.InvalidArgument, match="out must be a list"):
            fabric.all_reduce(ones(fabric), out=bad)


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (weft.WorldSizeError, lambda f: f.all_reduce(ones(f)[:3])),
        (weft.WorldSizeError, lambda f: f.all_reduce([])),
        (weft.WorldSizeError, lambda f: f.all_reduce(ones(f), out=ones(f)[:1])),
        (weft.ShapeMismatch, lambda f: f.all_reduce([*ones(f)[:3], np.ones(6, np.float32)])),
        (weft.DTypeMismatch, lambda f: f.all_reduce([*ones(f)[:3], np.ones(5)])),
        (weft.DTypeMismatch, lambda f: f.all_reduce(ones(f, dtype=np.int32), "avg")),
        (weft.DTypeMismatch, lambda f: f.all_reduce(ones(f, dtype=np.complex64))),
        (weft.InvalidArgument, lambda f: f.all_reduce(ones(f), "mean")),
        (weft.InvalidArgument, lambda f: f.all_reduce(ones(f), algorithm="star")),
        (weft.InvalidArgument, lambda f: f.all_reduce(ones(f), max_blocks=0)),
        (weft.InvalidArgument, lambda f: f.all_reduce(ones(f), max_blocks=1.5)),
        (weft.InvalidArgument, lambda f: f.all_reduce(ones(f), streams=["x"] * 4)),
        (weft.AliasError, lambda f: f.all_reduce([np.ones(5)] * 4)),
    ],
)
def test_a_refused_call_names_the_error(fabric, error, call):
    with pytest.raises(error) as caught:
        call(fabric)
    assert isinstance(caught.value, weft.Error)
    assert caught.value.code
    fabric.all_reduce(ones(fabric))  # and nothing is broken


@pytest.mark.parametrize("streams", [[], [0], [0] * 5])
def test_streams_are_one_a_rank_also_on_a_simulated_fabric(fabric, streams):
    data = ones(fabric)
    with pytest.raises(weft.WorldSizeError, match=f"{len(streams)} streams"):
        fabric.all_reduce(data, streams=streams)
    with pytest.raises(weft.InvalidArgument, match=r"rank 0's stream: .* is a weft\.Stream"):
        fabric.all_reduce(data, streams=[0] * 4)
    assert data[0].tolist() == [1.0] * 5


def test_an_error_that_concerns_one_rank_names_its_device(fabric):
    data = ones(fabric)
    streams = [weft.Stream(device) for device in fabric.devices]
    calls = [
        (2, lambda: fabric.all_reduce([*data[:2], [data[2]], data[3]])),
        (1, lambda: fabric.all_reduce(data, out=[data[0], (), *data[2:]])),
        (3, lambda: fabric.all_reduce(data, streams=[*streams[:3], "x"])),
        (1, lambda: fabric.rank(1).broadcast([data[1]])),
        (0, lambda: fabric.rank(0).all_reduce(data[0], stream="x")),
    ]
    for rank, call in calls:
        with pytest.raises(weft.InvalidArgument) as caught:
            call()
        assert (caught.value.rank, caught.value.device) == (rank, f"sim:{rank}")


def test_a_read_only_output_is_refused(fabric):
    data = ones(fabric)
    data[2].flags.writeable = False
    with pytest.raises(weft.ReadOnlyBuffer):
        fabric.all_reduce(data)
    assert data[0].tolist() == [1.0] * 5


# Work


def test_work_waits_and_tells(fabric):
    data = ones(fabric, 1000)
    work = fabric.all_reduce(data, async_op=True)
    work.wait(10)
    work.wait()
    assert work.done()
    assert work.exception() is None
    assert work.outputs[3] is data[3]
    assert data[0].tolist() == [4.0] * 1000
    assert work.info["algorithm"] == "two_shot"
    assert work.info["bytes"] == 4000
    assert work.info["path"] == "zero_copy"
    assert work.info["predicted_seconds"] > 0
    with pytest.raises(weft.InvalidArgument, match="timeout"):
        work.wait(0)


def test_tensors_under_way_outlive_their_names(fabric):
    data = ones(fabric, 1 << 18)
    ghost = weakref.ref(data[1])
    work = fabric.all_reduce(data, async_op=True)
    del data
    gc.collect()
    assert ghost() is not None
    work.wait()
    del work
    fabric.settle()
    gc.collect()
    assert ghost() is None


# One rank at a time


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8])
def test_a_rank_is_any_whole_number(fabric, kind):
    view = fabric.rank(kind(1))
    assert view.index == 1
    assert type(view.index) is int
    assert view.device == "sim:1"


@pytest.mark.parametrize("index", [True, np.bool_(True), 1.0, "1", None, -1, 4, np.int64(4)])
def test_what_is_no_rank_is_refused(fabric, index):
    with pytest.raises(weft.InvalidArgument, match="from 0 to 3"):
        fabric.rank(index)


def on_threads(fabric, call):
    """`call(rank view)` on a thread for each rank; what each returned or raised."""
    results = [None] * fabric.size

    def run(index):
        try:
            results[index] = call(fabric.rank(index))
        except weft.Error as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(fabric.size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return results


def test_ranks_on_their_own_threads(fabric):
    data = [np.full(7, rank, np.int64) for rank in range(4)]
    results = on_threads(fabric, lambda r: r.all_reduce(data[r.index], "max"))
    for rank, result in enumerate(results):
        assert result is data[rank]
        assert result.tolist() == [3] * 7


def test_ranks_with_out_and_async(fabric):
    data = ones(fabric)
    out = [np.zeros(5, np.float32) for _ in range(4)]

    def call(rank):
        work = rank.all_reduce(data[rank.index], out=out[rank.index], async_op=True)
        work.wait()
        return work

    works = on_threads(fabric, call)
    assert [work.outputs[0].tolist() for work in works] == [[4.0] * 5] * 4
    assert data[0].tolist() == [1.0] * 5


def test_a_rank_that_never_comes_is_named(fabric):
    data = ones(fabric)

    def call(rank):
        return rank.all_reduce(data[rank.index], timeout=0.2) if rank.index != 2 else None

    results = on_threads(fabric, call)
    for index in (0, 1, 3):
        assert isinstance(results[index], weft.CollectiveTimeout)
        assert tuple(results[index].culprits) == (2,)


@pytest.mark.parametrize("index", [-1, 4, 1.0, True, "0", None])
def test_a_rank_is_an_index(fabric, index):
    with pytest.raises(weft.InvalidArgument, match="from 0 to 3"):
        fabric.rank(index)


def test_barriers(fabric):
    fabric.barrier()
    assert on_threads(fabric, lambda r: r.barrier(10)) == [None] * 4
    view = fabric.rank(1)
    assert (view.index, view.size, view.device) == (1, 4, "sim:1")


# Statistics


def test_stats_are_json_and_count_operations_bytes_and_links(fabric):
    fabric.reset_stats()
    fabric.all_reduce(ones(fabric, 1000), algorithm="ring")
    fabric.all_reduce(ones(fabric, 0))
    stats = json.loads(json.dumps(fabric.stats()))
    assert stats["operations"] == 2
    assert stats["empty"] == 1
    assert stats["failed"] == 0
    assert stats["bytes"] == 4000
    assert stats["ranks"] == [2, 2, 2, 2]
    assert stats["predicted"] is True
    assert stats["seconds"] > 0
    assert set(stats["links"]) == {"0->1", "1->2", "2->3", "3->0"}
    # A ring moves 2 (n - 1) chunks from each rank to the next.
    assert sum(stats["links"].values()) == 2 * 3 * 4000
    fabric.reset_stats()
    assert fabric.stats()["operations"] == 0
    assert fabric.stats()["kinds"] == []


def test_stats_tell_kinds_and_algorithms_apart(fabric):
    fabric.reset_stats()
    for _ in range(3):
        fabric.all_reduce(ones(fabric, 1000), algorithm="ring")
    fabric.all_reduce(ones(fabric, 10), algorithm="two_shot")
    fabric.broadcast(ones(fabric, 10))
    kinds = {(row["kind"], row["algorithm"]): row for row in fabric.stats()["kinds"]}
    assert len(kinds) == 3
    ring = kinds["all_reduce", "ring"]
    assert (ring["operations"], ring["failed"], ring["bytes"]) == (3, 0, 12000)
    assert 0 < ring["p50_us"] <= ring["p99_us"] < 1e6
    assert ring["p50_us"] * 1e-6 < ring["host_seconds"]
    assert sum(row["bytes"] for row in kinds.values()) == fabric.stats()["bytes"]
    assert fabric.stats()["errors"] == {}
    text = fabric.metrics()
    assert 'weft_kind_operations_total{backend="sim",kind="all_reduce",algorithm="ring"' in text
    assert 'quantile="0.99"' in text


def test_stats_count_failures_by_error_and_kind():
    with weft.Fabric("sim:2", timeout=0.2) as fabric:
        fabric._native.plan_fault(1, 0, "stop")
        with pytest.raises(weft.CollectiveTimeout):
            fabric.all_reduce(ones(fabric, 10), algorithm="ring")
        fabric._native.plan_fault(-1, -1, "none")
        fabric.recover()
        with pytest.raises(weft.CollectiveTimeout):
            fabric.rank(0).barrier(0.05)
        stats = fabric.stats()
        assert stats["errors"] == {"CollectiveTimeout": 2}
        (row,) = stats["kinds"]
        assert (row["kind"], row["failed"], row["operations"]) == ("all_reduce", 1, 0)
        assert row["p50_us"] is None
        assert 'weft_errors_total{backend="sim",error="CollectiveTimeout"} 2' in fabric.metrics()


SAMPLE = re.compile(r'[a-z_]+(\{([a-z]+="[^"]*",?)+\})? [-+0-9.e]+')


def test_metrics_are_prometheus_text(fabric):
    fabric.all_reduce(ones(fabric, 16))
    text = fabric.metrics()
    assert text.endswith("\n")
    declared = set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            declared.add(line.split()[2])
        elif not line.startswith("# HELP "):
            assert SAMPLE.fullmatch(line), line
            assert re.match(r"[a-z_]+", line)[0] in declared
    assert 'weft_operations_total{backend="sim",status="ok"} 1' in text
    assert 'weft_link_bytes_total{backend="sim",from="3",to="0"}' in text


def test_label_values_are_escaped(fabric):
    from weft.metrics import render

    assert r'{x="a\"b\\c\nd",version=' in render(fabric.stats(), {"x": 'a"b\\c\nd'})


# Faults and the end


def test_a_rank_that_stops_is_named_and_the_fabric_recovers():
    with weft.Fabric("sim:3", timeout=0.3) as fab:
        fab._native.plan_fault(1, 1, "stop")
        data = ones(fab)
        with pytest.raises(weft.CollectiveTimeout) as caught:
            fab.all_reduce(data)
        assert isinstance(caught.value, TimeoutError)
        assert tuple(caught.value.culprits) == (1,)
        with pytest.raises(weft.FabricPoisoned):
            fab.all_reduce(data)
        assert fab.stats()["failed"] == 1
        fab._native.plan_fault(-1, -1, "none")
        fab.recover()
        for _ in range(100):
            assert fab.all_reduce(ones(fab))[2].tolist() == [3.0] * 5


def test_an_abort_from_another_thread_ends_the_call():
    with weft.Fabric("sim:2", timeout=30) as fab:
        fab._native.plan_fault(0, 1, "delay", 20.0)
        timer = threading.Timer(0.1, fab.abort)
        timer.start()
        with pytest.raises(weft.CollectiveAborted):
            fab.all_reduce(ones(fab))
        timer.join()
        fab._native.plan_fault(-1, -1, "none")
        fab.recover()
        fab.all_reduce(ones(fab))


def test_an_error_of_async_work_is_kept():
    with weft.Fabric("sim:2", timeout=0.2) as fab:
        fab._native.plan_fault(0, 0, "stop")
        work = fab.all_reduce(ones(fab), async_op=True)
        for _ in range(2):
            with pytest.raises(weft.CollectiveTimeout):
                work.wait()
        assert isinstance(work.exception(), weft.CollectiveTimeout)
        fab.settle()


def test_a_closed_fabric_says_so():
    fab = weft.Fabric("sim:2")
    fab.close()
    fab.close()
    assert fab.closed
    assert "closed" in repr(fab)
    for call in (lambda: fab.all_reduce(ones(fab)), fab.barrier, fab.recover):
        with pytest.raises(weft.FabricClosed):
            call()


def test_closing_waits_for_what_is_under_way():
    fab = weft.Fabric("sim:2")
    work = fab.all_reduce(ones(fab, 1 << 20), async_op=True)
    fab.close()
    assert work.done()


# The package


def test_every_public_name_is_there():
    for name in weft.__all__:
        assert getattr(weft, name) is not None
        assert name in dir(weft)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = weft.no_such_name


def test_the_error_family_is_that_of_the_table():
    import pathlib

    table = pathlib.Path(__file__).parents[2] / "core" / "base" / "error.def"
    rows = re.findall(r"WEFT_ERROR\((\w+), (\w+), (\w+),", table.read_text())
    assert len(rows) > 15
    for _, name, builtin in rows:
        kind = getattr(weft, name)
        assert issubclass(kind, weft.Error)
        assert issubclass(kind, getattr(__import__("builtins"), builtin))
        assert name in weft.__all__


def test_cuda_queries_never_raise():
    assert weft.cuda.device_count() >= 0
    assert weft.cuda.is_available() == (weft.cuda.device_count() > 0)


def test_topology_of_this_machine():
    assert weft.topology.probe().size == weft.cuda.device_count()
    with pytest.raises(weft.InvalidArgument, match="only verified pairs"):
        weft.topology.probe(measure=True, verify=False)
    for devices in (0, 65, 1.5):
        with pytest.raises(weft.InvalidArgument, match="from 1 to 64"):
            weft.topology.Topology.preset("hgx-h200", devices)


@pytest.mark.parametrize("name", ["hgx-h200", "dgx-h100"])
def test_presets(name):
    machine = weft.topology.Topology.preset(name, 3)
    assert machine.size == 3
    document = json.loads(machine.to_json())
    assert document["schema"] == "weft.topology/1"
    assert [row[i] for i, row in enumerate(machine.matrix())] == ["X"] * 3
    assert len(machine.nodes()) == len(machine.peer_access()) == 3
    assert name in repr(machine)

"""Events: columns, exact accounting, JSON lines, traces that a viewer can nest."""

import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time
from itertools import pairwise

import numpy as np
import pytest

import weft
from weft import events as events_module
from weft.trace import FABRIC, trace_document

API_COLUMNS = [
    "seq", "op_id", "kind", "rank", "device", "stream", "algorithm", "protocol", "path", "dtype",
    "op", "bytes", "blocks", "t_enqueue_ns", "t_launch_ns", "t_start_ns", "t_end_ns", "clock",
    "status", "culprit",
]  # fmt: skip


@pytest.fixture
def fabric():
    with weft.Fabric("sim:3") as fab:
        yield fab


def reduce_once(fabric, count=8, dtype=np.float32, op="sum"):
    return fabric.all_reduce([np.ones(count, dtype) for _ in range(fabric.size)], op)


def all_reduces(array):
    return array[array["kind"] == "all_reduce"]


def test_columns_are_those_of_the_interface(fabric):
    assert list(fabric.events().array.dtype.names) == API_COLUMNS


def test_an_operation_leaves_one_event_a_rank(fabric):
    reduce_once(fabric, 8, np.int16, "max")
    rows = all_reduces(fabric.events().array)
    assert rows["rank"].tolist() == [0, 1, 2]
    assert len(set(rows["op_id"].tolist())) == 1
    assert rows["device"].tolist() == [0, 1, 2]
    for name, value in {
        "algorithm": "two_shot", "dtype": "int16", "op": "max", "bytes": 16, "status": "ok",
        "culprit": -1, "path": "zero_copy",
    }.items():  # fmt: skip
        assert set(rows[name].tolist()) == {value}, name
    for before, after in pairwise(["t_enqueue_ns", "t_launch_ns", "t_start_ns", "t_end_ns"]):
        assert (rows[before] <= rows[after]).all()


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float64"])
def test_dtypes_have_their_names(fabric, dtype):
    reduce_once(fabric, dtype=dtype)
    assert all_reduces(fabric.events().array)["dtype"].tolist() == [dtype] * 3


def test_sequence_numbers_have_no_gaps_and_count_what_was_lost(fabric):
    assert fabric.events().base_seq == 0
    for _ in range(5):
        reduce_once(fabric)
    snapshot = fabric.events()
    assert snapshot.array["seq"].tolist() == list(range(snapshot.base_seq, snapshot.next_seq))
    assert len(snapshot) == snapshot.next_seq - snapshot.base_seq
    assert len(snapshot) == snapshot.next_seq - snapshot.dropped_total
    assert snapshot.capacity == 65536


def test_a_snapshot_does_not_change(fabric):
    before = fabric.events()
    kept = before.array.copy()
    reduce_once(fabric)
    assert (before.array == kept).all()
    assert fabric.events().next_seq > before.next_seq


def test_json_lines_hold_every_event(fabric):
    reduce_once(fabric)
    snapshot = fabric.events()
    header, *rows = map(json.loads, snapshot.to_jsonl().splitlines())
    assert header["schema"] == "weft.event/1"
    assert header["next_seq"] == snapshot.next_seq
    assert [row["seq"] for row in rows] == snapshot.array["seq"].tolist()
    assert list(rows[0]) == API_COLUMNS


def test_a_broken_record_is_refused():
    with pytest.raises(ValueError, match="size"):
        events_module.decode(bytes(127))


def test_codes_without_a_name_are_empty():
    record = np.zeros(1, dtype=events_module.RECORD)
    record["dtype"] = record["op"] = 255
    array = events_module.decode(record.tobytes())
    assert array["dtype"].tolist() == [""]
    assert array["op"].tolist() == [""]


@pytest.mark.parametrize(
    ("names", "path", "pattern"),
    [
        (events_module.KINDS, "core/base/event_ring.h", r"enum class EventKind[^{]*{([^}]*)}"),
        (events_module.STATUSES, "core/base/event_ring.h", r"enum class EventStatus[^{]*{([^}]*)}"),
        (events_module.CLOCKS, "core/base/event_ring.h", r"enum class ClockSource[^{]*{([^}]*)}"),
        (events_module.OPS, "collectives/plan.h", r"enum class ReduceOp[^{]*{([^}]*)}"),
        (events_module.DTYPES, "core/tensor/dtype.h", r"kNames\[kDTypeCount\] = {([^}]*)}"),
        (events_module.PROTOCOLS, "collectives/collectives.h", r"kProtocolNames\[\] = {([^}]*)}"),
    ],
)
def test_names_of_codes_are_those_of_the_sources(names, path, pattern):
    text = (pathlib.Path(__file__).parents[2] / path).read_text()
    listed = re.search(pattern, text)[1]
    assert tuple(re.findall(r"\w+", listed)) == names


def spans(document):
    return [event for event in document["traceEvents"] if event["ph"] == "X"]


def test_a_trace_has_the_operations_of_its_block_alone(fabric, tmp_path):
    reduce_once(fabric)
    path = tmp_path / "trace.json"
    with fabric.trace(path):
        reduce_once(fabric)
        reduce_once(fabric)
    reduce_once(fabric)
    document = json.loads(path.read_text())
    assert document["otherData"]["schema"] == "weft.trace/1"
    assert document["otherData"]["dropped"] == 0
    drawn = [span for span in spans(document) if span["name"] == "all_reduce"]
    assert sorted(span["pid"] for span in drawn) == [0, 0, 1, 1, 2, 2]
    assert all(span["ts"] >= 0 and span["dur"] >= 0 for span in drawn)
    names = {
        event["pid"]: event["args"]["name"]
        for event in document["traceEvents"]
        if event["name"] == "process_name"
    }
    assert names.pop(FABRIC) == "fabric"  # which waited
    assert names == {rank: f"rank {rank} on sim:{rank}" for rank in range(3)}


def test_a_trace_is_written_when_the_block_raises(fabric, tmp_path):
    path = tmp_path / "trace.json"
    with pytest.raises(weft.WorldSizeError), fabric.trace(path):
        fabric.all_reduce([*reduce_once(fabric), np.ones(8, np.float32)])
    assert len(spans(json.loads(path.read_text()))) >= 3


def test_a_trace_waits_for_what_is_under_way(fabric, tmp_path):
    path = tmp_path / "trace.json"
    data = [np.ones(1 << 18, np.float32) for _ in range(3)]
    with fabric.trace(path):
        work = fabric.all_reduce(data, async_op=True)
    work.wait()
    assert len(spans(json.loads(path.read_text()))) >= 3


@pytest.mark.parametrize("detail", ["chunk", "all", None])
def test_a_detail_that_is_not_there_is_refused(fabric, tmp_path, detail):
    with pytest.raises(weft.InvalidArgument, match="detail"), fabric.trace(tmp_path / "t", detail):
        pytest.fail("the block ran")


def test_a_trace_that_cannot_be_written_is_refused_before_the_block(fabric, tmp_path):
    with pytest.raises(OSError, match="no-such"), fabric.trace(tmp_path / "no-such" / "t.json"):
        pytest.fail("the block ran")


def overlapping_snapshot():
    array = np.zeros(3, dtype=events_module.COLUMNS)
    array["seq"] = range(3)
    array["kind"] = "all_reduce"
    array["clock"] = ["host", "host", "predicted"]
    array["t_launch_ns"] = [1000, 1500, 1200]
    array["t_start_ns"] = [1000, 1500, 7]
    array["t_end_ns"] = [2000, 2600, 507]
    return weft.Events(array, 0, 3, ("sim:0",))


def test_spans_of_one_track_never_overlap():
    first, second, other = sorted(
        spans(trace_document(overlapping_snapshot(), start_ns=1000)),
        key=lambda span: (span["tid"], span["ts"]),
    )
    assert (first["ts"], first["dur"]) == (0.0, 1.0)
    assert (second["ts"], second["dur"]) == (1.0, 1.1)
    assert (other["ts"], other["dur"]) == (0.2, 0.5)
    assert other["tid"] != first["tid"]


def test_a_whole_snapshot_as_a_trace(fabric, tmp_path):
    reduce_once(fabric)
    path = tmp_path / "all.json"
    fabric.events().to_perfetto(path)
    assert len(spans(json.loads(path.read_text()))) >= 3


def test_a_meeting_that_not_every_rank_came_to_is_an_event_and_a_failure(fabric):
    with pytest.raises(weft.CollectiveTimeout) as caught:
        fabric.rank(1).all_reduce(np.ones(4), timeout=0.1)
    assert caught.value.culprits == (0, 2)
    (event,) = (row for row in fabric.events().rows() if row["kind"] == "fault")
    assert event["status"] == "failed"
    assert (event["rank"], event["device"], event["culprit"]) == (1, 1, 0)
    assert event["op_id"] == 2**64 - 1
    assert event["clock"] == "host"
    assert 0.09e9 < event["t_end_ns"] - event["t_start_ns"] < 60e9
    assert fabric.stats()["failed"] == 1
    assert fabric.stats()["operations"] == 0
    document = trace_document(fabric.events(), start_ns=event["t_start_ns"])
    drawn = [e for e in document["traceEvents"] if e["ph"] == "X"]
    assert [e["name"] for e in drawn if e["cat"] == "fault"] == ["fault"]
    fabric.recover()
    reduce_once(fabric)
    assert fabric.stats()["failed"] == 1


def test_tracing_without_events_is_refused_and_leaves_no_file(tmp_path):
    code = (
        "import sys, numpy as np, weft\n"
        "with weft.Fabric('sim:2') as fab, fab.trace(sys.argv[1]):\n"
        "    print('the body ran')"
    )
    path = tmp_path / "trace.json"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], env=os.environ | {"WEFT_EVENTS": "0"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert "InvalidArgument" in done.stderr
    assert "WEFT_EVENTS" in done.stderr
    assert not path.exists()


def of_kind(fabric, kind):
    return [row for row in fabric.events().rows() if row["kind"] == kind]


def test_opening_tells_of_peers_and_memory(fabric):
    peers = {(row["rank"], row["path"]) for row in of_kind(fabric, "peer_enable")}
    assert peers == {(a, f"sim:{b}") for a in range(3) for b in range(3) if a != b}
    segments = of_kind(fabric, "segment")
    assert [row["rank"] for row in segments] == [0, 1, 2]
    assert len({row["bytes"] for row in segments}) == 1
    assert segments[0]["bytes"] > 1 << 20  # its scratch is part of it
    (opened,) = of_kind(fabric, "open")
    assert opened["rank"] == -1
    assert opened["t_start_ns"] <= segments[0]["t_start_ns"] <= opened["t_end_ns"]


def test_a_copy_of_a_tensor_that_is_not_contiguous_is_an_event(fabric):
    reduce_once(fabric)
    assert of_kind(fabric, "copy") == []
    data = [np.ones((8, 2), np.float32)[:, 0] for _ in range(3)]
    fabric.all_reduce(data)
    copies = of_kind(fabric, "copy")
    assert [(row["rank"], row["bytes"], row["path"]) for row in copies] == [
        (rank, 32, "staged")
        for rank in (0, 1, 2, 0, 1, 2)  # in, and back
    ]


def test_a_wait_of_the_host_is_an_event_of_its_operation(fabric):
    data = [np.ones(1 << 20, np.float32) for _ in range(3)]
    work = fabric.all_reduce(data, async_op=True)
    work.wait()
    work.wait()  # no longer
    waits = of_kind(fabric, "wait")
    op_id = int(fabric.events().operations["op_id"][-1])
    assert [row["op_id"] for row in waits if row["op_id"] == op_id] in ([], [op_id])
    with pytest.raises(weft.CollectiveTimeout):
        fabric.rank(0).barrier(timeout=0.05)
    fabric.recover()
    fabric._native.plan_fault(1, 0, "delay", 0.05)
    fabric.all_reduce([np.ones(8, np.float32) for _ in range(3)])
    fabric._native.plan_fault(-1, -1, "none")
    last = of_kind(fabric, "wait")[-1]
    assert last["op_id"] == int(fabric.events().operations["op_id"][-1])
    assert last["t_end_ns"] - last["t_start_ns"] > 0.02e9


def test_an_abort_and_the_recovery_are_one_event_each(fabric):
    fabric.abort()
    fabric.abort()
    fabric.recover()
    fabric.recover()
    (abort,), (recover,) = of_kind(fabric, "abort"), of_kind(fabric, "recover")
    assert abort["t_start_ns"] == abort["t_end_ns"] <= recover["t_start_ns"] < recover["t_end_ns"]


def test_a_capture_is_an_event_with_its_bytes(fabric):
    data = [np.ones(8, np.float32) for _ in range(3)]
    graph = weft.Graph()
    with graph.capture(fabric):
        fabric.all_reduce(data)
        fabric.all_reduce(data)
    (captured,) = of_kind(fabric, "capture")
    assert captured["bytes"] == 64
    graph.replay()
    assert len(of_kind(fabric, "capture")) == 1


def test_each_rank_tells_when_it_called(fabric):
    def call(rank):
        time.sleep(0.02 * rank)
        fabric.rank(rank).barrier()

    threads = [threading.Thread(target=call, args=(rank,)) for rank in (2, 0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    called = {row["rank"]: row["t_enqueue_ns"] for row in of_kind(fabric, "barrier")}
    assert called[1] - called[0] > 0
    assert called[2] - called[1] > 0
    assert len({row["t_launch_ns"] for row in of_kind(fabric, "barrier")}) == 1


def test_events_are_recorded_by_the_fabrics_that_are_to(tmp_path):
    with weft.Fabric("sim:2", events=False) as silent, weft.Fabric("sim:2", events=True) as told:
        for fabric in (silent, told):
            reduce_once(fabric)
        assert len(silent.events()) == 0
        assert silent.stats()["operations"] == 1
        assert len(told.events().operations) == 2
        path = tmp_path / "t.json"
        with pytest.raises(weft.InvalidArgument, match="events=False"), silent.trace(path):
            pytest.fail("the block ran")
        assert not path.exists()
    with pytest.raises(weft.InvalidArgument, match="events must be"):
        weft.Fabric("sim:2", events=1)

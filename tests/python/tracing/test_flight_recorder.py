"""Events as PyTorch's flight recorder: every field, and what its own analyser makes of them."""

import contextlib
import itertools
import logging
import pickle
import time

import numpy as np
import pytest

import weft
from weft import events as events_module

KEYS = {
    "record_id", "pg_id", "process_group", "collective_seq_id", "p2p_seq_id", "op_id",
    "profiling_name", "time_created_ns", "input_sizes", "input_dtypes", "output_sizes",
    "output_dtypes", "state", "time_discovered_started_ns", "time_discovered_completed_ns",
    "duration_ms", "retired", "timeout_ms", "is_p2p", "frames",
}  # fmt: skip


@pytest.fixture
def fabric():
    with weft.Fabric("sim:3") as fab:
        yield fab


def ones(count=12, dtype=np.float32):
    return [np.ones(count, dtype) for _ in range(3)]


def miss(fabric, rank=1):
    """A meeting that only one rank comes to."""
    with pytest.raises(weft.CollectiveTimeout):
        fabric.rank(rank).all_reduce(np.ones(4), timeout=0.05)
    fabric.recover()


def test_an_operation_is_an_entry_of_every_rank_with_one_number(fabric):
    before = time.time_ns()
    fabric.all_reduce(ones(dtype=np.int16))
    fabric.barrier()
    dumps = fabric.events().to_flight_recorder()
    assert list(dumps) == [0, 1, 2]
    for dump in dumps.values():
        assert dump["version"] == "2.10"
        assert dump["pg_config"]["0"] == {"name": "0", "desc": "default_pg", "ranks": "[0, 1, 2]"}
        assert dump["pg_status"]["0"] == {
            "last_enqueued_collective": 2, "last_started_collective": 2,
            "last_completed_collective": 2,
        }  # fmt: skip
        first, second = dump["entries"]
        assert set(first) == set(second) == KEYS
        assert (first["collective_seq_id"], second["collective_seq_id"]) == (1, 2)
        assert (first["record_id"], second["record_id"]) == (0, 1)
        assert first["process_group"] == ("0", "default_pg")
        assert first["profiling_name"] == "nccl:all_reduce"
        assert second["profiling_name"] == "nccl:barrier"
        assert first["input_sizes"] == first["output_sizes"] == [[12]]
        assert first["input_dtypes"] == first["output_dtypes"] == ["Short"]
        assert (first["state"], first["retired"], first["is_p2p"]) == ("completed", True, False)
        times = [first[f"time_{what}_ns"] for what in
                 ("created", "discovered_started", "discovered_completed")]  # fmt: skip
        assert before - 1e9 < times[0] <= times[1] <= times[2] < time.time_ns() + 1e9
        assert first["duration_ms"] == pytest.approx((times[2] - times[1]) / 1e6)


def test_sizes_are_those_of_inputs_and_outputs(fabric):
    for name in ("all_gather", "reduce_scatter", "all_to_all", "broadcast", "gather"):
        getattr(fabric, name)(ones())
    entries = fabric.events().to_flight_recorder(0)["entries"]
    assert [(e["profiling_name"], e["input_sizes"], e["output_sizes"]) for e in entries] == [
        ("nccl:all_gather", [[12]], [[36]]),
        ("nccl:reduce_scatter", [[12]], [[4]]),
        ("nccl:all_to_all", [[12]], [[12]]),
        ("nccl:broadcast", [[12]], [[12]]),
        ("nccl:gather", [[12]], [[36]]),
    ]


def test_one_rank_alone_is_the_same_dump(fabric):
    fabric.all_reduce(ones())
    events = fabric.events()
    one, all_ = events.to_flight_recorder(np.int64(2)), events.to_flight_recorder()[2]
    for entry in (*one["entries"], *all_["entries"]):  # the two read the clock apart
        for name in [name for name in entry if name.endswith("_ns")]:
            entry[name] //= 10**9
    assert one == all_


@pytest.mark.parametrize("rank", [-1, 3, "0", True, 1.0])
def test_a_rank_that_is_not_there_is_refused(fabric, rank):
    with pytest.raises(weft.InvalidArgument, match="from 0 to 2"):
        fabric.events().to_flight_recorder(rank)


def test_a_meeting_that_ranks_missed_is_scheduled_on_those_that_came(fabric):
    fabric.all_reduce(ones())
    miss(fabric)
    fabric.all_reduce(ones())
    dumps = fabric.events().to_flight_recorder()
    numbers = {rank: [e["collective_seq_id"] for e in d["entries"]] for rank, d in dumps.items()}
    assert numbers == {0: [1, 3], 1: [1, 2, 3], 2: [1, 3]}
    entry = dumps[1]["entries"][1]
    assert (entry["state"], entry["retired"]) == ("scheduled", False)
    assert entry["time_discovered_started_ns"] is None
    assert entry["time_discovered_completed_ns"] is None
    assert "not every rank came" in entry["frames"][0]["name"]


def test_faults_of_one_meeting_have_one_number_and_of_the_next_another():
    rows = np.zeros(5, dtype=events_module.COLUMNS)
    rows["kind"], rows["status"], rows["clock"] = "fault", "failed", "host"
    rows["op_id"] = 2**64 - 1
    rows["rank"] = [0, 2, 0, 2, 2]
    rows["seq"] = range(5)
    dumps = weft.Events(rows, 0, 5, ("sim:0",) * 3).to_flight_recorder()
    numbers = {rank: [e["collective_seq_id"] for e in d["entries"]] for rank, d in dumps.items()}
    assert numbers == {0: [1, 2], 1: [], 2: [1, 2, 3]}


def test_an_operation_that_failed_on_the_way_is_started():
    rows = np.zeros(1, dtype=events_module.COLUMNS)
    rows["kind"], rows["status"], rows["clock"], rows["dtype"] = "reduce", "failed", "host", "bool"
    rows["t_launch_ns"], rows["t_start_ns"], rows["bytes"] = 5, 6, 7
    dump = weft.Events(rows, 0, 1, ("sim:0",)).to_flight_recorder(0)
    (entry,) = dump["entries"]
    assert (entry["state"], entry["input_sizes"]) == ("started", [[7]])
    assert entry["time_discovered_started_ns"] > 0
    assert entry["time_discovered_completed_ns"] is None
    assert dump["pg_status"]["0"]["last_completed_collective"] == -1


def test_what_was_half_overwritten_does_not_look_like_a_rank_that_is_missing():
    rows = np.zeros(5, dtype=events_module.COLUMNS)
    rows["kind"], rows["status"], rows["clock"] = "all_reduce", "ok", "host"
    rows["op_id"] = [6, 6, 7, 7, 7]
    rows["rank"] = [1, 2, 0, 1, 2]
    rows["seq"] = range(40, 45)
    dumps = weft.Events(rows, 40, 45, ("sim:0",) * 3).to_flight_recorder()
    assert [[e["op_id"] for e in d["entries"]] for d in dumps.values()] == [[7], [7], [7]]


def test_every_dtype_of_events_has_a_name_and_a_size():
    from weft.flight_recorder import _DTYPES

    assert set(_DTYPES) == set(events_module.DTYPES)


def test_what_the_analyser_has_no_name_for_is_left_out(fabric):
    fabric.send_recv(ones(), to=[1, 2, 0])
    fabric.all_reduce(ones())
    entries = fabric.events().to_flight_recorder(0)["entries"]
    assert [entry["profiling_name"] for entry in entries] == ["nccl:all_reduce"]


def test_each_rank_has_its_pickle(fabric, tmp_path):
    fabric.all_reduce(ones())
    paths = fabric.events().save_flight_recorder(tmp_path / "new", prefix="run_7")
    assert [path.name for path in paths] == ["run_7_0", "run_7_1", "run_7_2"]
    for path in paths:
        assert pickle.loads(path.read_bytes())["entries"][0]["state"] == "completed"


@pytest.mark.parametrize("prefix", ["", "a/b", "../x", "/"])
def test_a_prefix_that_is_no_name_is_refused(fabric, tmp_path, prefix):
    with pytest.raises(weft.InvalidArgument, match="prefix"):
        fabric.events().save_flight_recorder(tmp_path, prefix)
    assert list(tmp_path.iterdir()) == []


def analysed(events, folder, capsys):
    """What PyTorch's analyser stores of the collectives, and what it prints."""
    fr_trace = pytest.importorskip(
        "torch.distributed.flight_recorder.fr_trace",
        reason="PyTorch, whose analyser this is, is not installed, or has none",
    )
    said: list[str] = []

    class Heard(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())

    heard = Heard()
    loggers = [logging.getLogger(name) for name in (None, *logging.root.manager.loggerDict)]
    for logger in loggers:
        logger.addHandler(heard)
    events.save_flight_recorder(folder)
    with contextlib.suppress(SystemExit):
        fr_trace.main([str(folder), "--prefix", "weft_", "-o", str(folder / "db")])
    for logger in loggers:
        logger.removeHandler(heard)
    _, database = pickle.loads((folder / "db").read_bytes())
    return database, "\n".join([*said, *capsys.readouterr()])


def test_the_analyser_of_pytorch_matches_every_operation(fabric, tmp_path, capsys):
    names = ["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "reduce",
             "gather", "scatter"]  # fmt: skip
    for name in names[:-1]:
        getattr(fabric, name)(ones())
    fabric.scatter([np.ones(12, np.float32), *ones(4)[1:]])
    fabric.barrier()
    for dtype in (np.bool_, np.float16, np.int64):
        fabric.all_reduce(ones(dtype=dtype), op="max")
    database, _ = analysed(fabric.events(), tmp_path, capsys)
    found = [one.collective_name for one in database.collectives]
    assert found == [f"nccl:{name}" for name in [*names, "barrier", *["all_reduce"] * 3]]
    assert all(one.pass_check for one in database.collectives)
    assert len(database.ncclcalls) == 3 * len(found)


def test_the_analyser_of_pytorch_names_the_ranks_that_are_missing(fabric, tmp_path, capsys):
    fabric.all_reduce(ones())
    miss(fabric)
    database, said = analysed(fabric.events(), tmp_path, capsys)
    missing = [one.missing_ranks for one in database.collectives if one.missing_ranks]
    assert missing == [{0, 2}]
    assert "missing ranks: {0, 2}" in said


def test_the_analyser_of_pytorch_sees_ranks_in_different_states(fabric, tmp_path, capsys):
    fabric.all_reduce(ones())
    events = fabric.events()
    array = events.array.copy()
    late = np.flatnonzero((array["kind"] == "all_reduce") & (array["rank"] == 2))
    array["status"][late] = "failed"
    changed = weft.Events(array, events.base_seq, events.next_seq, events.devices)
    database, _ = analysed(changed, tmp_path, capsys)
    mismatched = [one.mismatch_collectives for one in database.collectives]
    states = itertools.chain(*((one or {}).values() for one in mismatched))
    assert [one.type_of_mismatch.state.name for one in states] == ["COLLECTIVE_STATE_MISMATCH"]

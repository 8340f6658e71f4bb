"""Traces are read back as they were written; what is none is refused, with file and reason."""

import json
import time

import numpy as np
import pytest

import weft
from python.tracing.synthetic import Delays, document, operation, ring, run, text
from weft import tracing
from weft.tracing import _read


@pytest.fixture
def fabric():
    with weft.Fabric("sim:3") as fab:
        yield fab


def reduce_once(fabric, algorithm="auto"):
    fabric.all_reduce([np.ones(8, np.float32) for _ in range(3)], algorithm=algorithm)


def by_kind(summary):
    return {(row["kind"], row["algorithm"]): row for row in summary["operations"]}


def test_a_trace_of_a_fabric_is_summed_up(fabric, tmp_path):
    path = tmp_path / "trace.json"
    with fabric.trace(path):
        for algorithm in ("ring", "ring", "two_shot"):
            reduce_once(fabric, algorithm)
        with pytest.raises(weft.CollectiveTimeout):
            fabric.rank(1).all_reduce(np.ones(4), timeout=0.05)
    summary = tracing.summary(tracing.read(path))
    rows = by_kind(summary)
    ring_row = rows["all_reduce", "ring"]
    assert (ring_row["count"], ring_row["bytes"], ring_row["failed"]) == (2, 64, 0)
    assert 0 < ring_row["p50_us"] <= ring_row["p99_us"] == ring_row["max_us"]
    assert rows["all_reduce", "two_shot"]["count"] == 1
    assert rows["fault", None]["failed"] == 1
    assert summary["devices"] == ["sim:0", "sim:1", "sim:2"]
    assert summary["weft_version"] == weft.__version__
    assert [row["operations"] for row in summary["ranks"]] == [3, 3, 3]
    (fault,) = summary["faults"]
    assert (fault["rank"], fault["culprit"], fault["op_id"]) == (1, 0, None)
    assert fault["after_us"] >= 0.05e6


def test_both_forms_of_a_snapshot_say_the_same(fabric, tmp_path):
    for algorithm in ("ring", "two_shot"):
        reduce_once(fabric, algorithm)
    snapshot = fabric.events()
    snapshot.to_perfetto(tmp_path / "trace.json")
    (tmp_path / "events.jsonl").write_text(snapshot.to_jsonl())
    summaries = [
        tracing.summary(tracing.read(tmp_path / name)) for name in ("trace.json", "events.jsonl")
    ]
    for one in summaries:
        assert by_kind(one)["all_reduce", "ring"]["count"] == 1
    for name in ("events", "devices", "dropped", "faults"):
        assert summaries[0][name] == summaries[1][name]
    for one, other in zip(summaries[0]["operations"], summaries[1]["operations"], strict=True):
        assert one == {k: pytest.approx(v) if isinstance(v, float) else v for k, v in other.items()}


def test_times_are_of_the_longest_rank_and_percentiles_of_operations():
    events = [
        operation(op_id=i, rank=rank, dur=float(i + 1) if rank == 1 else 0.5)
        for i in range(100)
        for rank in range(2)
    ]
    (row,) = tracing.summary(tracing.parse(text(events)))["operations"]
    assert (row["count"], row["p50_us"], row["p99_us"], row["max_us"]) == (100, 50.0, 99.0, 100.0)


def test_clocks_are_not_mixed():
    events = [operation(clock="predicted", dur=1e6), operation(op_id=1, clock="host", dur=1.0)]
    rows = tracing.summary(tracing.parse(text(events)))["operations"]
    assert {row["clock"]: row["max_us"] for row in rows} == {"predicted": 1e6, "host": 1.0}


def test_dropped_events_are_told():
    assert tracing.summary(tracing.parse(text([], dropped=17)))["dropped"] == 17


def test_what_other_tools_added_is_passed_over():
    added = [
        {"ph": "C", "name": "load", "pid": 0, "ts": 1, "args": {"x": 1}},
        {"ph": "X", "cat": "kernel", "name": "k", "pid": 0, "tid": 7, "ts": 1, "dur": 1},
    ]
    assert tracing.summary(tracing.parse(text([*added, operation()])))["events"] == 1


def test_the_order_of_keys_and_white_space_do_not_matter():
    whole = document([operation(), operation(op_id=1)])
    turned = json.dumps(dict(reversed(whole.items())), indent=3)
    assert tracing.summary(tracing.parse(turned)) == tracing.summary(
        tracing.parse(json.dumps(whole))
    )


def refused(content, name="t.json"):
    with pytest.raises(weft.InvalidArgument) as caught:
        tracing.parse(content, name)
    message = str(caught.value)
    assert message.startswith(name + ":")
    assert len(message) < 500
    return message


WHOLE = text([operation(), *run(ring(2), Delays())])


@pytest.mark.parametrize("length", range(1, len(WHOLE) - 1, 97))
def test_a_trace_that_was_cut_off_is_refused(length):
    refused(WHOLE[:length])


def test_a_trace_that_was_cut_off_is_called_so():
    assert "cut off" in refused(WHOLE[: len(WHOLE) // 2])
    assert "cut off" in refused(WHOLE[:-1])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "empty"),
        ("  \n ", "empty"),
        ("hello", "no JSON"),
        ("{}", "no trace"),
        ("7", "no JSON"),
        ("[]", "Chrome trace of another tool"),
        ('{"traceEvents": []}', "Chrome trace of another tool"),
        ('{"schemaVersion": 1, "deviceProperties": [], "traceEvents": [{"ph": 1}]}', "PyTorch"),
        ('{"traceEvents": [], "otherData": {"schema": "weft.trace/2"}}', '"weft.trace/2", and'),
        ('{"schema": "weft.event/2"}\n', 'schema is "weft.event/2"'),
        ('{"traceEvents": {}, "otherData": {"schema": "weft.trace/1"}}', "traceEvents"),
        ('{"otherData": {"schema": "weft.trace/1"}}', "traceEvents"),
        (WHOLE + "x", "behind the end"),
        ('{"traceEvents": [], "traceEvents": [], "otherData": {"schema": "weft.trace/1"}}', "once"),
        ("[" * 100_000, "Chrome trace of another tool"),
        ('{"traceEvents": [' + "[" * 100_000, "nested too deep"),
        ('{"traceEvents": [{"a": ' + "9" * 50_000 + "}]}", "digits"),
        ('{"traceEvents": [{"ts": NaN}]}', "NaN is no number"),
        ('{"traceEvents": [{"ts": -Infinity}]}', "Infinity is no number"),
    ],
)  # fmt: skip
def test_what_is_no_trace_is_refused(content, reason):
    assert reason in refused(content)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ts": "soon"}, "ts must be a number, not a text"),
        ({"ts": 1e300}, "ts must be from"),
        ({"dur": -1.0}, "dur must be from"),
        ({"dur": 10**30}, "dur must be from"),
        ({"dur": None}, "dur must be a number, not null"),
        ({"args": []}, "args must be an object, not a list"),
        ({"rank": "0"}, "rank must be a whole number, not a text"),
        ({"rank": True}, "rank must be a whole number, not true"),
        ({"rank": 10**6}, "rank must be from -1"),
        ({"rank": 1.5}, "rank must be a whole number"),
        ({"op_id": -5}, "op_id must be from 0"),
        ({"op_id": 2**64}, "op_id must be from 0"),
        ({"bytes": 2**80}, "bytes must be from"),
        ({"kind": 3}, "kind must be a text"),
        ({"kind": ""}, "kind is missing"),
        ({"kind": "x" * 1000}, "more than 200 characters"),
        ({"kind": "\ud800"}, "surrogate"),
        ({"clock": "sundial"}, "clock must be one of"),
        ({"status": "maybe"}, "status must be ok or failed"),
    ],
)
def test_a_wrong_field_of_an_operation_is_named(change, reason):
    event = operation()
    for name, value in change.items():
        (event if name in ("ts", "dur", "args") else event["args"])[name] = value
    message = refused(text([operation(), event]))
    assert reason in message
    assert message.startswith("t.json:1:")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "rest"}, "wait, move or signal"),
        ({"tid": 3}, "tid must be from 16"),
        ({"pid": -1}, "pid must be from 0"),
        ({"pid": 1e3}, "pid must be a whole number"),
        ({"ts": 1e20}, "ts must be from"),
        ({"block": 10**7}, "block must be from"),
        ({"bytes": -1}, "bytes must be from"),
        ({"from": None}, "from must be a whole number, not null"),
        ({"clock": "x"}, "clock must be one of"),
        ({"step": "one"}, "step must be a whole number"),
    ],
)
def test_a_wrong_field_of_a_slice_is_named(change, reason):
    event = next(e for e in run(ring(2), Delays()) if e["ph"] == "X")
    for name, value in change.items():
        (event if name in event else event["args"])[name] = value
    assert reason in refused(text([event]))


def test_arrows_that_meet_twice_are_refused():
    arrow = next(e for e in run(ring(2), Delays()) if e["ph"] == "s")
    assert "there twice" in refused(text([arrow, arrow]))
    assert "id must be" in refused(text([arrow | {"id": [1]}]))
    assert "tid must be" in refused(text([arrow | {"tid": 2}]))


def test_what_a_file_says_of_itself_that_is_no_object_is_none_of_wefts():
    for told in ("5", "null", '"weft.trace/1"', "[]"):
        content = '{"traceEvents": [], "otherData": ' + told + "}"
        assert "Chrome trace of another tool" in refused(content)


HOSTILE = "weft.\ud800\x1b[2J\n\u2028"


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"traceEvents": [], "otherData": {"schema": HOSTILE}}),
        json.dumps({"schema": f"weft.event/{HOSTILE}"}),
        text([operation(clock=HOSTILE[6:])]),
        text([operation(status=HOSTILE[6:])]),
        text(
            [{"ph": "s", "cat": "chunk.flow", "pid": 0, "tid": 16, "ts": 1, "id": "\x1b[2J\n"}] * 2
        ),
    ],
)
def test_a_refusal_is_one_line_that_a_terminal_only_shows(content):
    assert refused(content).isprintable()


def test_the_line_of_what_is_wrong_is_told():
    lines = ['{"schema": "weft.event/1"}', '{"kind": "copy"}']
    assert refused("\n".join(lines), "e.jsonl").startswith("e.jsonl:2:1: t_enqueue_ns must be")


def test_a_foreign_trace_is_called_so_whatever_is_in_it():
    events = [{"ph": "X", "cat": "collective", "ts": "?"}, 7, None, [], {"ph": 3}]
    assert "another tool" in refused(json.dumps({"traceEvents": events}))


def test_files_that_cannot_be_read_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none", "a\0b"):
        with pytest.raises(weft.InvalidArgument, match="cannot be read"):
            tracing.read(path)
    for content, reason in [(b"\xff\xfe", "UTF-8"), (b"\x1f\x8b\x08", "gzip")]:
        (tmp_path / "t").write_bytes(content)
        with pytest.raises(weft.InvalidArgument, match=reason):
            tracing.read(tmp_path / "t")


def test_a_file_that_is_too_long_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "t.json"
    with path.open("wb") as file:
        file.truncate(_read.LONGEST + 1)
    with pytest.raises(weft.InvalidArgument, match="longer than 256 MiB"):
        tracing.read(path)


def test_too_many_events_are_refused(monkeypatch):
    monkeypatch.setattr(_read, "MOST_EVENTS", 3)
    assert tracing.summary(tracing.parse(text([operation()] * 3)))["events"] == 3
    assert "more than 3 events" in refused(text([operation()] * 4))


@pytest.mark.slow
def test_a_million_events_take_bounded_time(tmp_path):
    path = tmp_path / "t.json"
    with path.open("w") as file:
        file.write('{"otherData": {"schema": "weft.trace/1"}, "traceEvents": [')
        block = {"block": 0, "bytes": 1, "clock": "host", "algorithm": "ring", "round": 0,
                 "piece": 0, "to": -1}  # fmt: skip
        for i in range(1_000_000):
            args = block | {"op_id": i // 6, "step": i % 3, "from": (i + 1) % 2}
            event = {"ph": "X", "cat": "chunk", "name": ("wait", "move", "signal")[i % 3],
                     "pid": i % 2, "tid": 16, "ts": i, "dur": 1, "args": args}  # fmt: skip
            file.write(("," if i else "") + json.dumps(event, separators=(",", ":")))
        file.write("]}")
    began = time.monotonic()
    trace = tracing.read(path)
    summary = tracing.summary(trace)
    assert summary["events"] == 1_000_000
    assert len(tracing.page(trace, summary)) < 50e6
    assert time.monotonic() - began < 200

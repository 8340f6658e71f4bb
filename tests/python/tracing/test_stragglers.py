"""Who held up an operation, and why: every cause, for every rank of worlds from 2 to 8."""

import json
import random
import time

import pytest

from python.tracing.synthetic import PROGRAMS, Delays, run, text
from weft import tracing
from weft.tracing import _blame, _stragglers

LATE = 200.0  # us, where a move takes 10


def stragglers(events):
    return tracing.summary(tracing.parse(text(events)))["stragglers"]


def told(events):
    return [(row["rank"], row["cause"]) for row in stragglers(events)["overall"]]


def sends(program):
    return [move for move in program if move.target >= 0]


WORLDS = [
    pytest.param(name, world, id=f"{name}-{world}") for name in PROGRAMS for world in range(2, 9)
]


@pytest.mark.parametrize(("name", "world"), WORLDS)
def test_nobody_is_blamed_where_all_are_alike(name, world):
    found = stragglers(run(PROGRAMS[name](world), Delays()))
    assert found["overall"] == []
    assert (found["examined"], found["held_up"], found["complete"]) == (1, 0, True)


@pytest.mark.parametrize(("name", "world"), WORLDS)
def test_a_rank_that_starts_late_is_found(name, world):
    programs = PROGRAMS[name](world)
    for rank in range(world):
        assert told(run(programs, Delays(start={rank: LATE}))) == [(rank, "late start")]


@pytest.mark.parametrize(("name", "world"), WORLDS)
def test_a_rank_that_is_slow_at_a_step_is_found(name, world):
    programs = PROGRAMS[name](world)
    for rank in range(world):
        for step in {move.step for move in sends(programs[rank])}:
            slow = [Delays(move={(rank, step): LATE})]
            slow += [Delays(pause={(rank, step): LATE})] if step else []  # before it: a late start
            for delays in slow:
                found = stragglers(run(programs, delays))
                assert [(row["rank"], row["cause"], row["step"]) for row in found["overall"]] == [
                    (rank, f"slow at step {step}", step)
                ]


@pytest.mark.parametrize(("name", "world"), WORLDS)
def test_a_slow_link_is_found_by_the_way_of_data_and_by_its_moves(name, world):
    programs = PROGRAMS[name](world)
    for rank in range(world):
        for target in {move.target for move in sends(programs[rank])}:
            link = (rank, target)
            for delays in (Delays(way={link: LATE}), Delays(link={link: LATE})):
                found = stragglers(run(programs, delays))
                assert [(row["rank"], row["cause"], row["link"]) for row in found["overall"]] == [
                    (rank, f"slow link {rank}->{target}", [rank, target])
                ]


@pytest.mark.parametrize(("name", "world"), WORLDS)
def test_what_is_only_uneven_is_not_blamed(name, world):
    dice = random.Random(world)
    for _ in range(5):
        events = run(PROGRAMS[name](world), Delays(), jitter=lambda: dice.uniform(0.0, 2.0))
        assert told(events) == []


def test_who_waits_for_the_late_one_is_not_blamed_though_others_wait_for_it():
    events = run(PROGRAMS["ring"](4), Delays(start={2: LATE}))
    waits = [e for e in events if e.get("name") == "wait"]
    longest = max(waits, key=lambda e: e["dur"])
    assert any(e["args"]["from"] == 3 and e["dur"] > LATE / 2 for e in waits)
    assert longest["dur"] > LATE / 2
    (row,) = stragglers(events)["operations"]
    assert row["rank"] == 2
    assert row["delay_us"] == pytest.approx(LATE, rel=0.1)
    assert 2 * LATE < row["waited_us"] < 3 * LATE  # all three others together


def test_the_later_of_two_is_told_and_the_other_operation_apart():
    programs = PROGRAMS["two_shot"](4)
    events = run(programs, Delays(start={1: LATE, 3: LATE / 4}), op_id=5)
    events += run(programs, Delays(way={(0, 2): 3 * LATE}), op_id=6, begin=5000.0)
    found = stragglers(events)
    assert [(row["op_id"], row["rank"], row["cause"]) for row in found["operations"]] == [
        (6, 0, "slow link 0->2"), (5, 1, "late start"),
    ]  # fmt: skip
    assert found["held_up"] == found["examined"] == 2


def test_blocks_are_followed_each_by_itself():
    programs = PROGRAMS["ring"](3)
    events = run(programs, Delays(move={(1, 2): LATE}), block=0)
    events += run(programs, Delays(), block=1)
    assert told(events) == [(1, "slow at step 2")]


def without_arrows(events):
    return [event for event in events if event["cat"] == "chunk"]


def test_without_arrows_signals_of_the_same_piece_are_taken():
    for name, delays, cause in [
        ("ring", Delays(start={2: LATE}), (2, "late start")),
        ("two_shot", Delays(move={(1, 2): LATE}), (1, "slow at step 2")),
        ("two_shot", Delays(way={(0, 3): LATE}), (0, "slow link 0->3")),
    ]:
        assert told(without_arrows(run(PROGRAMS[name](4), delays))) == [cause]


def test_arrows_whose_other_end_is_missing_are_no_evidence():
    events = run(PROGRAMS["ring"](4), Delays(start={2: LATE}))
    alone = [e for e in events if e.get("ph") != "s" and e.get("name") not in ("move", "signal")]
    assert told(alone) == []


def test_times_that_were_added_up_in_another_order_still_meet():
    events = run(PROGRAMS["ring"](4), Delays(way={(1, 2): LATE}), begin=1e9 / 3)
    for event in events:
        event["ts"] = round(event["ts"], 3)
        if "dur" in event:
            event["dur"] = round(event["dur"], 3)
    assert told(events) == [(1, "slow link 1->2")]


def test_waits_in_a_circle_end():
    """Clocks that do not agree may make every rank wait for the next at once."""
    events = []
    for rank in range(4):
        args = {"op_id": 0, "algorithm": "ring", "step": 1, "round": 0, "piece": rank, "block": 0,
                "bytes": 8, "from": (rank + 1) % 4, "to": -1, "clock": "device"}  # fmt: skip
        events.append({"ph": "X", "cat": "chunk", "name": "wait", "pid": rank, "tid": 16,
                       "ts": 0.0, "dur": 1e6, "args": args})  # fmt: skip
        ends = {"cat": "chunk.flow", "id": rank, "ts": 1e6, "tid": 16, "name": "data"}
        events.append(ends | {"ph": "f", "bp": "e", "pid": rank})
        events.append(ends | {"ph": "s", "pid": (rank + 1) % 4})
    began = time.monotonic()
    found = stragglers(events)
    assert time.monotonic() - began < 10
    assert found["overall"] == []


def test_no_more_is_looked_at_than_was_allowed_and_the_result_says_so(monkeypatch):
    events = run(PROGRAMS["ring"](4), Delays(start={2: LATE}))
    monkeypatch.setattr(_stragglers, "Budget", lambda: _blame.Budget(3))
    found = stragglers(events)
    assert not found["complete"]
    assert (found["examined"], found["overall"]) == (0, [])


def test_links_add_up_what_was_moved_and_when():
    programs = PROGRAMS["ring"](2)
    trace = tracing.parse(text(run(programs, Delays()) + run(programs, Delays(), block=1)))
    links = tracing.summary(trace)["chunks"]["links"]
    assert [(row["from"], row["to"], row["bytes"], row["transfers"]) for row in links] == [
        (0, 1, 4 << 20, 4), (1, 0, 4 << 20, 4),
    ]  # fmt: skip
    for row in links:  # two blocks at once are busy once
        assert row["busy_us"] == pytest.approx(20.0)
        assert row["gbps"] == pytest.approx((4 << 20) / 20.0 / 1e3)


def test_a_pull_is_a_transfer_from_the_rank_that_was_waited_for():
    events = run(PROGRAMS["two_shot"](3), Delays(), algorithm="one_shot_pull")
    pulled = [e | {"args": e["args"] | {"to": -1}} for e in events if e.get("name") == "move"]
    links = tracing.summary(tracing.parse(text(pulled)))["chunks"]["links"]
    assert {(row["from"], row["to"]) for row in links} == {
        (a, b) for a in range(3) for b in range(3) if a != b
    }


def test_ranks_tell_waiting_from_moving():
    trace = tracing.parse(text(run(PROGRAMS["ring"](3), Delays(start={1: LATE}))))
    rows = tracing.summary(trace)["ranks"]
    assert [row["rank"] for row in rows] == [0, 1, 2]
    assert all(row["moving_us"] == pytest.approx(50.0) for row in rows)
    assert all(row["signalling_us"] == pytest.approx(2.0) for row in rows)
    assert rows[1]["waiting_us"] < 20.0
    assert min(rows[0]["waiting_us"], rows[2]["waiting_us"]) > LATE / 2


def test_a_trace_without_chunks_has_no_such_tables():
    summary = tracing.summary(tracing.parse(text([])))
    assert summary["chunks"] is None
    assert json.loads(json.dumps(summary)) == summary

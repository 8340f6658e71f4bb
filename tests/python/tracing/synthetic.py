"""Traces with chunks whose truth is known: small machines run by hand, one delay at a time.

A program of a rank is a list of moves; each may wait for a piece, and may send one. Every rank runs
its own in order, as a block of a kernel does, and what one waits for decides when it goes on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

MOVE, SIGNAL, WAY, PAUSE = 10.0, 0.5, 1.0, 0.1


@dataclass
class Delays:
    """What is slow; times in microseconds."""

    start: dict[int, float] = field(default_factory=dict)  # rank
    pause: dict[tuple[int, int], float] = field(default_factory=dict)  # rank, step
    move: dict[tuple[int, int], float] = field(default_factory=dict)  # rank, step
    way: dict[tuple[int, int], float] = field(default_factory=dict)  # link
    link: dict[tuple[int, int], float] = field(default_factory=dict)  # link: of every move


@dataclass
class Move:
    step: int
    piece: int
    source: int = -1  # the rank whose piece it waits for
    target: int = -1


def ring(world):
    """All-reduce by a ring: 2(n - 1) moves to the next, and the last piece only waited for."""
    programs = []
    for rank in range(world):
        before, after = (rank - 1) % world, (rank + 1) % world
        moves = [Move(0, rank, -1, after)]
        for step in range(1, 2 * (world - 1)):
            moves.append(Move(step, (rank - step) % world, before, after))
        last = 2 * (world - 1)
        moves.append(Move(last, (rank - last) % world, before, -1))
        programs.append(moves)
    return programs


def two_shot(world):
    """All-reduce by everyone to everyone, twice; piece: 100 x the step + the sender."""
    programs = []
    for rank in range(world):
        others = [(rank + k) % world for k in range(1, world)]
        moves = [Move(0, rank, -1, other) for other in others]
        moves += [Move(1, other, other, -1) for other in others]
        moves += [Move(2, 100 + rank, -1, other) for other in others]
        moves += [Move(3, 100 + other, other, -1) for other in others]
        programs.append(moves)
    return programs


PROGRAMS = {"ring": ring, "two_shot": two_shot}


def run(programs, delays, *, op_id=0, begin=100.0, block=0, algorithm="ring", jitter=None):
    """The slices and arrows of one operation, as events of a trace."""
    jitter = jitter or (lambda: 0.0)
    about = {"op_id": op_id, "algorithm": algorithm, "block": block, "clock": "host"}
    now = [begin + delays.start.get(rank, 0.0) + jitter() for rank in range(len(programs))]
    at = [0] * len(programs)
    sent: dict[tuple[int, int, int], tuple[float, str]] = {}
    events, arrows = [], 0
    while any(i < len(p) for i, p in zip(at, programs, strict=True)):
        moved = False
        for rank, program in enumerate(programs):
            while at[rank] < len(program):
                one = program[at[rank]]
                key = (one.source, rank, one.piece)
                if one.source >= 0 and key not in sent:
                    break
                moved, at[rank] = True, at[rank] + 1
                time = now[rank]
                if (rank, one.step) in delays.pause and _first_of_step(program, at[rank] - 1):
                    time += delays.pause[rank, one.step]
                if one.source >= 0:
                    when, number = sent.pop(key)
                    seen = max(when + WAY + delays.way.get((one.source, rank), 0.0), time + 0.05)
                    events.append(_slice("wait", rank, one, time, seen, about))
                    events.append(_arrow("f", rank, number, seen, block))
                    time = seen + PAUSE
                took = MOVE + jitter() + delays.move.get((rank, one.step), 0.0)
                took += delays.link.get((rank, one.target), 0.0)
                events.append(_slice("move", rank, one, time, time + took, about))
                time += took
                if one.target >= 0:
                    events.append(_slice("signal", rank, one, time, time + SIGNAL, about))
                    time += SIGNAL
                    number = f"{op_id}.{block}.{arrows}"
                    arrows += 1
                    events.append(_arrow("s", rank, number, time, block))
                    sent[rank, one.target, one.piece] = (time, number)
                now[rank] = time + PAUSE
        assert moved, "nobody can go on"
    return events


def _first_of_step(program, i):
    return i == 0 or program[i - 1].step != program[i].step


def _slice(name, rank, one, begin, end, about):
    args = about | {"step": one.step, "round": 0, "piece": one.piece, "bytes": 1 << 20,
                    "from": one.source, "to": one.target}  # fmt: skip
    return {"ph": "X", "cat": "chunk", "name": name, "pid": rank, "tid": 16 + about["block"],
            "ts": begin, "dur": end - begin, "args": args}  # fmt: skip


def _arrow(phase, rank, number, time, block):
    event = {"ph": phase, "cat": "chunk.flow", "name": "data", "pid": rank, "tid": 16 + block,
             "id": number, "ts": time}  # fmt: skip
    return event | ({"bp": "e"} if phase == "f" else {})


def operation(**changes):
    """An event of an operation, as `Fabric.trace` writes it."""
    args = {"seq": 0, "op_id": 0, "kind": "all_reduce", "rank": 0, "device": 0, "stream": 0,
            "algorithm": "ring", "protocol": "tokens", "path": "zero_copy", "dtype": "float32",
            "op": "sum", "bytes": 64, "blocks": 1, "clock": "host", "status": "ok"}  # fmt: skip
    args |= changes
    args = {name: value for name, value in args.items() if value not in ("", -1)}
    times = {"ts": args.pop("ts", 1.0), "dur": args.pop("dur", 2.0)}
    about = {"name": args["kind"], "cat": "collective", "pid": args.get("rank", -1), "tid": 0}
    return about | times | {"ph": "X", "args": args}


def document(events, **other):
    told = {"schema": "weft.trace/1", "weft_version": "0.1.0", "devices": [], "dropped": 0}
    return {"traceEvents": events, "displayTimeUnit": "ns", "otherData": told | other}


def text(events, **other):
    return json.dumps(document(events, **other))

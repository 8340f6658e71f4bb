"""Fuzz target: files that may be traces; `make fuzz`.

    python tests/fuzz/trace.py CORPUS... [-max_total_time=60]     (libFuzzer's options)

The property is in trace_property.py. Needs `pip install weft[fuzz]`.
"""

from __future__ import annotations

import gc
import json
import sys
import types
from pathlib import Path
from random import Random
from typing import Any

import atheris
from trace_property import check

WORDS = Path(__file__).with_suffix(".dict")
#: What a value may become: ends of ranges, and what is of another type.
VALUES: list[Any] = [
    0, 1, -1, 0.5, 15, 16, 1023, 1024, 4095, 4096, 2**20, 2**63 - 1, 2**63, 2**64 - 1, 2**64,
    10**30, -(2**63), 1e-320, 1e-9, 1e13, -1e13, 1.0000001e13, 1e300, float("nan"), float("inf"),
    None, True, False, "", "x", "a" * 201, "\ud800", "<b>&\"'", "\x1b[31m\n", [], {}, [[]],
    "collective", "chunk", "chunk.flow", "fault", "X", "i", "s", "f", "wait", "move", "signal",
    "host", "device", "predicted", "none", "ok", "failed", "ring", "ring_pull",
]  # fmt: skip


def instrument() -> int:
    """Let libFuzzer see which lines an input reaches; how many functions there are.

    Of functions that exist, not by atheris' import hook, which an editable install's loader passes.
    """
    found = [
        one
        for one in gc.get_objects()
        if isinstance(one, types.FunctionType) and str(one.__module__).startswith("weft.tracing")
    ]
    for function in found:
        atheris.instrument_func(function)
    return len(found)


def mutate(data: bytes, longest: int, seed: int) -> bytes:
    """Bytes changed as libFuzzer does, or, where they are JSON, a value in place of another.

    The scanner of JSON is none of weft's and cannot be instrumented: without this few inputs would
    come past it.
    """
    random = Random(seed)
    if random.random() < 0.7:
        lines = data.split(b"\n") if data.count(b"\n{") else [data]
        i = random.randrange(len(lines))
        try:
            document = json.loads(lines[i])
            change(document, random)
            lines[i] = json.dumps(document).encode()
        except (ValueError, RecursionError):
            pass
        else:
            changed = b"\n".join(lines)
            if len(changed) <= longest and changed != data:
                return changed
    return atheris.Mutate(data, longest)


def change(document: Any, random: Random) -> None:
    """Replace, move, copy or drop one value somewhere in a document."""
    places = list(_places(document))
    if not places:
        return
    holder, key = random.choice(places)
    other, other_key = random.choice(places)
    match random.randrange(6):
        case 0:
            del holder[key]
        case 1:
            holder[key] = json.loads(json.dumps(other[other_key]))
        case 2 if isinstance(holder, list):
            holder.insert(key, json.loads(json.dumps(holder[key])))
        case 3 if isinstance(holder[key], int | float):
            holder[key] += random.choice((1, -1, 0.25, 1000, -1000))
        case _:
            holder[key] = random.choice(VALUES)


def _places(value: Any) -> Any:
    """(holder, key) of every value in a document."""
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in keys:
        yield value, key
        yield from _places(value[key])


if __name__ == "__main__":
    assert instrument() > 100
    options = [f"-dict={WORDS}", "-timeout=10", "-max_len=16384"]
    atheris.Setup([*sys.argv, *options], check, custom_mutator=mutate)
    atheris.Fuzz()

"""Fuzz target: texts that may be topologies, JSON or NCCL's XML; `make fuzz`.

    python tests/fuzz/topology.py CORPUS... [-max_total_time=60]     (libFuzzer's options)

The property is in topology_property.py. Needs `pip install weft[fuzz]`.
"""

from __future__ import annotations

import gc
import sys
import types
from pathlib import Path

import atheris
from topology_property import check

from weft.topology import (  # noqa: F401
    _dot,
    _html,
    _json,
    _markdown,
    _nccl_read,
    _nccl_write,
    _prometheus,
)

WORDS = Path(__file__).with_suffix(".dict")


def instrument() -> int:
    """Let libFuzzer see which lines of the formats an input reaches; how many functions there are.

    Of functions that exist, not by atheris' import hook, which an editable install's loader passes.
    """
    found = [
        one
        for one in gc.get_objects()
        if isinstance(one, types.FunctionType) and str(one.__module__).startswith("weft.topology")
    ]
    for function in found:
        atheris.instrument_func(function)
    return len(found)


if __name__ == "__main__":
    assert instrument() > 100
    atheris.Setup([*sys.argv, f"-dict={WORDS}", "-timeout=10"], check)
    atheris.Fuzz()

"""`import weft` is quick and loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "matplotlib", "sklearn", "cuda", "rich", "click", "cupy", "mpi4py")
LIMIT_MS = 150.0

CODE = """
import sys, time
began = time.perf_counter()
import weft
took = 1e3 * (time.perf_counter() - began)
print(took, *[name for name in {heavy!r} if name in sys.modules])
"""
# What the machine itself takes, by imports that have nothing to do with weft: a slow or busy one is
# measured by its own yardstick.
YARDSTICK = """
import time
began = time.perf_counter()
import asyncio, decimal, email.message, http.client, sqlite3, unittest
print(1e3 * (time.perf_counter() - began))
"""
YARDSTICK_MS = 60.0  # of those, on the machine that LIMIT_MS is meant for


def best_of(code, times):
    """The least time of `times` processes after a first that warms up, and what else they said."""
    rows = []
    for _ in range(1 + times):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
        )
        rows.append(done.stdout.split())
    return min(float(row[0]) for row in rows[1:]), rows[-1][1:]


def test_import_takes_at_most_150_ms():
    code = CODE.format(heavy=HEAVY)
    took, _ = best_of(code, 5)
    if took > LIMIT_MS:  # a busy machine may have a second chance, and one that is slow more time
        slower = max(1.0, best_of(YARDSTICK, 5)[0] / YARDSTICK_MS)
        took = min(took, best_of(code, 10)[0]) / slower
    assert took <= LIMIT_MS


def test_import_loads_nothing_heavy():
    _, loaded = best_of(CODE.format(heavy=HEAVY), 1)
    assert loaded == []

"""Benchmarks of collectives: sizes, inputs with known results, timing, rows, records, pictures.

`sweep` is the entry: it yields one row (see `row.py`) for each implementation and configuration.
"""

from __future__ import annotations

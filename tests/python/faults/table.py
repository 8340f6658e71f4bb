"""The table of the fault matrix: one row a fault, in one of three forms.

A check provokes the fault on simulated devices and looks at what comes of it. A reference names the
tests that do so where Python cannot: below its surface, or on GPUs. What does not apply says why.
The modules of the package enter their rows here when they are imported; test_fault_matrix.py runs
the table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]

#: How many rows each section has: A-01 to A-22, and so on.
SECTIONS = {"A": 22, "N": 7, "W": 13, "C": 26, "D": 8, "P": 14, "E": 13}


@dataclass(frozen=True)
class Row:
    """One fault, and what is required where it happens."""

    id: str
    fault: str
    required: str
    check: Callable[..., None] | None = None
    cases: tuple[Any, ...] = ()  # the check is called with each; without any, once
    stress: bool = False  # concurrent: run many times by `make stress`
    tests: tuple[tuple[str, str], ...] = ()  # (file, name of the test case)
    reason: str = ""  # why it does not apply

    @property
    def form(self) -> str:
        """`"check"`, `"reference"` or `"does not apply"`."""
        if self.check is not None:
            return "check"
        return "reference" if self.tests else "does not apply"


rows: list[Row] = []


def checked(
    id: str, fault: str, required: str, *, cases: Iterable[Any] = (), stress: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Enters the function as the check of a row. cases: what it is called with, one at a time."""

    def enter(function: Callable[..., None]) -> Callable[..., None]:
        rows.append(Row(id, fault, required, function, tuple(cases), stress))
        return function

    return enter


def covered(id: str, fault: str, required: str, *tests: tuple[str, str]) -> None:
    """Enters a row that other tests cover: each a file and the exact name of a test in it."""
    rows.append(Row(id, fault, required, tests=tests))


def does_not_apply(id: str, fault: str, required: str, reason: str) -> None:
    """Enters a row that cannot apply here, and why."""
    rows.append(Row(id, fault, required, reason=reason))


def expected_ids() -> list[str]:
    """The ids that the table must have, in order."""
    return [f"{name}-{i:02}" for name, count in SECTIONS.items() for i in range(1, count + 1)]


def has_test(file: str, name: str) -> bool:
    """Whether a file of the repository defines a test of exactly that name."""
    path = ROOT / file
    if not path.is_file():
        return False
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return re.search(rf"^def {re.escape(name)}\(", text, re.MULTILINE) is not None
    return re.search(rf'TEST_CASE(?:_TEMPLATE)?\(\s*"{re.escape(name)}"', text) is not None

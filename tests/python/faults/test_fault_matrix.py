"""Every row of the fault matrix: its check is run, its references exist, or it says why not."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from python import matrix
from python.faults import (
    arguments,  # noqa: F401
    devices,  # noqa: F401
    events,  # noqa: F401
    layouts,  # noqa: F401
    numerics,  # noqa: F401
    process,  # noqa: F401
    runtime,  # noqa: F401
    world,  # noqa: F401
)
from python.faults.calls import COLLECTIVES
from python.faults.table import SECTIONS, Row, expected_ids, has_test, rows

NOTHING = object()


def checks(stress: bool) -> list[Any]:
    """A parameter for each check, and for each case of it: of concurrent faults, or of others."""
    found = []
    for row in rows:
        for case in row.cases or (NOTHING,):
            marked = isinstance(case, type(pytest.param()))
            value, marks = (case.values[0], case.marks) if marked else (case, ())
            if row.check is None or stress != (row.stress and not marks):  # marked: slow
                continue
            name = "" if value is NOTHING else f" {getattr(value, '__name__', value)}"
            found.append(pytest.param(row, value, id=row.id + name, marks=marks))
    return found


@pytest.mark.parametrize(("row", "case"), checks(stress=False))
def test_a_fault_has_the_outcome_that_is_required(row: Row, case: Any) -> None:
    run(row, case)


@pytest.mark.stress
@pytest.mark.parametrize(("row", "case"), checks(stress=True))
def test_a_concurrent_fault_has_the_outcome_that_is_required(row: Row, case: Any) -> None:
    run(row, case)


def run(row: Row, case: Any) -> None:
    assert row.check is not None
    if case is NOTHING:
        row.check()
    else:
        row.check(case)


REFERENCES = [
    pytest.param(file, name, id=f"{row.id} {name}") for row in rows for file, name in row.tests
]


@pytest.mark.parametrize(("file", "name"), REFERENCES)
def test_a_reference_names_a_test_that_is_there(file: str, name: str) -> None:
    assert has_test(file, name), f"{file} has no test {name!r}"


def test_a_reference_to_a_test_that_is_not_there_is_noticed() -> None:
    there = "tests/python/faults/test_fault_matrix.py"
    assert has_test(there, "test_a_reference_names_a_test_that_is_there")
    assert not has_test(there, "test_a_reference_names_a_test")
    assert not has_test("tests/fabric/test_fault.cc", "the chain of waits")
    assert has_test("tests/fabric/test_fault.cc", "two ranks that stopped are both named")
    assert not has_test("tests/fabric/no_such_file.cc", "two ranks that stopped are both named")


def test_every_row_is_there_once() -> None:
    assert [id for id, count in Counter(row.id for row in rows).items() if count > 1] == []
    assert sorted(row.id for row in rows) == sorted(expected_ids())
    assert sum(SECTIONS.values()) == len(rows) == 103


def test_checks_of_arguments_go_through_every_collective() -> None:
    assert {*COLLECTIVES} == {*matrix.ALGORITHMS, "bucket"}


@pytest.mark.parametrize("row", rows, ids=lambda row: row.id)
def test_a_row_has_one_form_and_says_what_it_is_about(row: Row) -> None:
    forms = [row.check is not None, bool(row.tests), bool(row.reason)]
    assert sum(forms) == 1
    assert row.fault
    assert row.required
    assert row.form == ("check", "reference", "does not apply")[forms.index(True)]
    assert not row.reason or (len(row.reason) > 30 and row.reason.endswith("."))

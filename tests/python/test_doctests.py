"""The examples in docstrings and in the README run as they stand."""

import doctest
import importlib
import pathlib
import pkgutil

import pytest

import weft

ROOT = pathlib.Path(__file__).parents[2]

# Programs: importing one runs it, or starts MPI in this process.
PROGRAMS = {"weft.__main__", "weft.bench.rivals.mpi_worker"}


def modules():
    found = [m.name for m in pkgutil.walk_packages(weft.__path__, "weft.")]
    return sorted({"weft", *found} - PROGRAMS - {"weft._weft"})


@pytest.mark.parametrize("name", modules())
def test_examples_of_docstrings(name):
    failed, _ = doctest.testmod(importlib.import_module(name), raise_on_error=False)
    assert failed == 0


def test_the_main_classes_have_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in ("weft.fabric", "weft.rank_view", "weft.work", "weft.events", "weft.topology"):
        assert any(test.examples for test in finder.find(importlib.import_module(name))), name


def test_examples_of_the_readme():
    failed, tried = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert tried > 3
    assert failed == 0

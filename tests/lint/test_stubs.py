"""The stub of the extension says what the extension has (`make stubs` writes it anew)."""

from __future__ import annotations

import importlib

import pytest

from lint import stub

TEXT = '''
class Error(Exception):
    rank: int | None

class A:
    def f(self, x: int = 1) -> int:
        """Text."""

    @property
    def p(self) -> str: ...

def g() -> int: ...
'''


def test_the_stub_is_current():
    have = stub.generate(importlib.import_module("weft._weft"))
    assert stub.differences(have, (stub.ROOT / stub.STUB).read_text()) == [], "run `make stubs`"


def test_the_stub_has_the_errors():
    module = importlib.import_module("weft._weft")
    text = stub.generate(module)
    assert "class ShapeMismatch(Error, ValueError): ..." in text
    assert "from weft import" not in text


def test_docstrings_and_layout_do_not_count():
    assert stub.differences(TEXT, TEXT.replace("Text.", "Other.").replace("\n\n", "\n")) == []


@pytest.mark.parametrize(
    ("was", "becomes", "name"),
    [
        ("x: int = 1", "x: int = 2", "A.f"),
        ("-> str", "-> bytes", "A.p"),
        ("def g", "def h", "g"),
        ("(Exception)", "(ValueError)", "Error"),
        ("    rank: int | None", "    step: int", "Error.rank"),
    ],
)
def test_a_stub_that_differs_is_found(was, becomes, name):
    found = stub.differences(TEXT, TEXT.replace(was, becomes))
    assert name in [line.split(":")[0] for line in found]

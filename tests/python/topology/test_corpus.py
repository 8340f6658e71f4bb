"""The texts that the fuzzer starts from, and what it once found, keep the property."""

import pathlib

import pytest

from fuzz.topology_property import check
from python.topology.files import MACHINES

CORPUS = sorted((pathlib.Path(__file__).parents[2] / "fuzz" / "corpus" / "topology").iterdir())


@pytest.mark.parametrize("path", [*CORPUS, *MACHINES], ids=lambda path: path.name)
def test_it_goes_round_or_is_refused(path):
    check(path.read_bytes())


@pytest.mark.parametrize(
    "text", [b"", b"\x00", b"\xff\xfe<\x00", b"/etc/passwd", b"<", b"{", b"\xef\xbb\xbf"]
)
def test_odd_bytes(text):
    check(text)

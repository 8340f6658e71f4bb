"""The files that the fuzzer starts from, and what it once found, keep the property."""

import json
import pathlib

import pytest
from click.testing import CliRunner

from fuzz.trace_property import check
from weft.cli.app import ExitCode, app

CORPUS = sorted((pathlib.Path(__file__).parents[2] / "fuzz" / "corpus" / "trace").iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_it_is_summed_up_and_drawn_or_refused(path):
    check(path.read_bytes())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_the_command_shows_it_or_says_in_one_line_why_not(path, tmp_path):
    page = tmp_path / "page.html"
    shown = CliRunner().invoke(app, ["trace", str(path)])
    written = CliRunner().invoke(app, ["trace", str(path), "--json", "--html", str(page)])
    assert shown.exit_code == written.exit_code
    if shown.exit_code == ExitCode.OK:
        assert json.loads(written.stdout)["schema"] == "weft.trace-summary/1"
        assert page.exists()
        return
    assert shown.exit_code == ExitCode.USAGE
    (line,) = shown.stderr.splitlines()
    assert line.startswith(f"weft: InvalidArgument: {path}:")


def test_some_of_both_sorts_are_kept():
    names = {path.name for path in CORPUS}
    assert names > {"recorded_chunks.json", "recorded_events.json", "recorded_events.jsonl"}
    assert names > {"cut_off.json", "kineto.json", "not_utf8.json"}


@pytest.mark.parametrize("data", [b"", b"\x00", b"{", b"\xef\xbb\xbf", b"[", b"\xff\xfe{\x00"])
def test_odd_bytes(data):
    check(data)

"""`weft trace`: tables on stdout, JSON and a page into files, bad files refused in one line."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from python.tracing.synthetic import PROGRAMS, Delays, operation, run, text
from weft.cli.app import ExitCode, app


def weft(*args, **kwargs):
    return CliRunner().invoke(app, ["trace", *args], **kwargs)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "trace.json"
    events = [operation(), operation(op_id=1, kind="fault", status="failed", culprit=3)]
    events += run(PROGRAMS["ring"](4), Delays(start={2: 500.0}))
    file.write_text(text(events, dropped=9, devices=["sim:0"] * 4))
    return str(file)


def test_the_screen_shows_operations_ranks_faults_links_and_the_straggler(path):
    result = weft(path)
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["all_reduce", "ring", "host", "1", "64", "0", "2.00", "2.00", "2.00"] in lines
    assert ["fault", "0", "3", "1.00", "2.00"] in lines
    assert any(line[:3] == ["0", "1", str(6 << 20)] for line in lines)
    assert any(line[:4] == ["2", "late", "start", "1"] for line in lines)
    assert "9 older events were dropped" in result.stderr
    assert "1 of 1 operations were held up" in result.stderr


def test_the_same_as_json_to_stdout_and_to_a_file(path, tmp_path):
    printed = weft(path, "--json")
    assert printed.exit_code == 0
    tables = json.loads(printed.stdout)
    assert tables["schema"] == "weft.trace-summary/1"
    assert tables["stragglers"]["overall"][0]["cause"] == "late start"
    written = weft(path, "--json", str(tmp_path / "out"))
    assert written.stdout == ""
    assert json.loads((tmp_path / "out").read_text()) == tables


def test_a_page_is_written(path, tmp_path):
    page = tmp_path / "page.html"
    result = weft(path, "--html", str(page))
    assert result.exit_code == 0
    assert result.stdout == ""
    assert page.read_text().startswith("<!doctype html>")
    both = weft(path, "--html", str(page), "--json")
    assert json.loads(both.stdout)["schema"] == "weft.trace-summary/1"


def test_stdin_is_read(path):
    with open(path, "rb") as file:
        result = weft("-", "--json", input=file.read())
    assert json.loads(result.stdout)["file"] == "<stdin>"


@pytest.mark.parametrize(
    "content", ["", "no", "[1]", '{"traceEvents": []}', '{"traceEvents": [{"ts": NaN}]}']
)
@pytest.mark.parametrize("form", [[], ["--json"], ["--html", "page.html"]])
def test_a_bad_file_is_one_line_and_usage(content, form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text(content)
    result = weft("bad.json", *form)
    assert result.exit_code == ExitCode.USAGE == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("weft: InvalidArgument: bad.json:")
    assert not (tmp_path / "page.html").exists()


def test_a_missing_file_is_usage():
    result = weft("no-such-file.json")
    assert result.exit_code == 2
    assert "no-such-file.json" in result.stderr
    assert "No such file" in result.stderr


def test_outputs_that_would_overwrite_one_another_or_the_trace_are_refused(path, tmp_path):
    page = str(tmp_path / "x")
    for args in ([path, "--html", page, "--json", page], [path, "--html", path],
                 [path, "--json", path], [path, "--html", str(tmp_path)]):  # fmt: skip
        assert weft(*args).exit_code == ExitCode.USAGE
    assert weft(path).exit_code == 0
    assert not (tmp_path / "x").exists()


def test_names_are_text_and_not_markup_of_the_screen(tmp_path):
    file = tmp_path / "t.json"
    file.write_text(text([operation(kind="[red]x[/oops]\x1b[31m")]))
    result = weft(str(file))
    assert result.exit_code == 0
    assert "[red]x[/oops]?[31m" in result.stdout


def test_no_library_of_pictures_is_loaded(path, tmp_path):
    code = (
        "import sys; from weft.cli.app import app\n"
        f"try: app(['trace', {path!r}, '--html', {str(tmp_path / 'p.html')!r}])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('matplotlib', 'torch') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"

"""`weft stats`: what is shown of live and ended processes, and of files that are neither."""

import copy
import datetime
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import weft
from weft import published
from weft.cli.app import app
from weft.cli.stats import watch

NOBODY = 2**31 - 1  # no system has a process of that number

STATS = {
    "operations": 12, "empty": 1, "failed": 2, "bytes": 4096, "seconds": 0.5, "predicted": True,
    "host_seconds": 2.0, "ranks": [12, 12], "in_flight": 3, "peak_in_flight": 5,
    "staged": {"tensors": 4, "bytes": 128}, "links": {"0->1": 5 * 10**9, "1->0": 100},
    "kinds": [
        {"kind": "all_reduce", "algorithm": "ring", "operations": 11, "failed": 2,
         "bytes": 3 * 10**9, "host_seconds": 2.0, "p50_us": 10.5, "p99_us": 99.25},
        {"kind": "barrier", "algorithm": "", "operations": 0, "failed": 1, "bytes": 0,
         "host_seconds": 0.0, "p50_us": None, "p99_us": None},
    ],
    "errors": {"CollectiveTimeout": 2}, "events_recorded": 70000, "events_dropped": 4464,
}  # fmt: skip


def stamp(seconds=0.0):
    now = datetime.datetime.now(datetime.timezone.utc)
    return (now + datetime.timedelta(seconds=seconds)).isoformat()


def fabric_row(number=1, **stats):
    return {"fabric": number, "backend": "sim", "devices": ["sim:0", "sim:1"], "poisoned": False,
            "cause": None, "stats": copy.deepcopy(STATS) | stats}  # fmt: skip


def document(process=None, seconds=0.0, fabrics=None):
    return {
        "schema": "weft.stats/1", "time": stamp(seconds), "process": process or os.getpid(),
        "host": os.uname().nodename, "weft": "9.8.7", "command": ["python", "train.py"],
        "interval_seconds": 0.5, "fabrics": [fabric_row()] if fabrics is None else fabrics,
    }  # fmt: skip


def put(folder, content, process=None):
    text = content if isinstance(content, str) else json.dumps(content)
    number = process or (content["process"] if isinstance(content, dict) else os.getpid())
    (folder / f"weft-{number}.json").write_text(text)


def run(*args):
    return CliRunner().invoke(app, ["stats", *map(str, args)])


# The screen


def test_a_live_process_is_shown(tmp_path):
    put(tmp_path, document())
    result = run(tmp_path)
    assert (result.exit_code, result.stderr) == (0, "")
    text = result.stdout
    assert re.search(
        rf"process {os.getpid()}: live, \d+\.\d s ago; weft 9\.8\.7; python train", text
    )
    assert "fabric 1: 2 ranks on sim:0, sim:1" in text
    assert "operations 12, failed 2 (CollectiveTimeout 2), in flight 3 (peak 5)" in text
    assert "staged 4 tensors of 128 bytes, events 70000, dropped 4464" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["all_reduce", "ring", "11", "2", "3000000000", "10.50", "99.25", "1.50"] in lines
    assert ["barrier", "0", "1", "0", "-", "-", "-"] in lines
    assert ["0->1", "5000000000"] in lines
    assert "poisoned" not in text


def test_a_poisoned_fabric_and_its_cause_are_shown(tmp_path):
    row = fabric_row() | {"poisoned": True, "cause": "rank 1 did not do its part"}
    put(tmp_path, document(fabrics=[row]))
    assert "poisoned: rank 1 did not do its part" in run(tmp_path).stdout


def test_links_that_moved_most_come_first_and_the_rest_is_counted(tmp_path):
    links = {f"{i}->{i + 1}": i for i in range(20)}
    put(tmp_path, document(fabrics=[fabric_row(links=links)]))
    text = run(tmp_path).stdout
    assert re.findall(r"^  (\d+->\d+)", text, re.M) == [f"{i}->{i + 1}" for i in range(19, 11, -1)]
    assert "and 12 more links" in text


@pytest.mark.parametrize(("process", "seconds"), [(NOBODY, 0.0), (None, -3600.0)])
def test_a_process_that_is_gone_or_silent_is_shown_as_ended(process, seconds, tmp_path):
    put(tmp_path, document(process, seconds))
    result = run(tmp_path)
    assert result.exit_code == 0
    assert "ended, last heard of" in result.stdout
    assert "live" not in result.stdout
    assert "operations 12" in result.stdout


def test_of_another_machine_the_age_alone_is_known(tmp_path):
    put(tmp_path, document(NOBODY) | {"host": "elsewhere"})
    assert "live" in run(tmp_path).stdout
    put(tmp_path, document(NOBODY, -3600) | {"host": "elsewhere"})
    assert "ended" in run(tmp_path).stdout


def test_nothing_to_see_is_said_and_no_error(tmp_path):
    (tmp_path / "other.txt").write_text("not mine")
    result = run(tmp_path)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"weft: no process publishes statistics in {tmp_path}\n"


def test_text_from_outside_is_neither_markup_nor_obeyed(tmp_path):
    evil = "[red]\x1b[2J\x07[/red]\u202e" + "x" * 5000
    row = fabric_row() | {"poisoned": True, "cause": evil, "devices": [evil]}
    put(tmp_path, document(fabrics=[row]) | {"command": [evil], "weft": "1[bold]"})
    result = run(tmp_path)
    assert result.exit_code == 0
    assert "[red]?[2J?[/red]" in result.stdout
    assert not set("\x1b\x07\u202e") & set(result.stdout)
    assert result.stdout.count("x") < 2000


# Files that are no statistics


BROKEN = {
    "half": json.dumps(document())[:200],
    "empty": "",
    "no JSON": "hello",
    "no object": "[1]",
    "another schema": json.dumps({"schema": "weft.topology/1"}),
    "deep": "[" * 100_000,
    "no UTF-8": "\udcff",
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_file_that_is_none_is_named_and_the_others_are_shown(what, tmp_path):
    put(tmp_path, document())
    (tmp_path / "weft-7.json").write_bytes(BROKEN[what].encode("utf-8", "surrogateescape"))
    for option in ((), ("--json",), ("--prometheus",)):
        result = run(tmp_path, *option)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"weft: {tmp_path / 'weft-7.json'}: it ")
        assert len(result.stderr.splitlines()) == 1
        assert "12" in result.stdout


def altered(path, value):
    """A document with another value at a path of keys; None: without it."""
    changed = document()
    at = changed
    for key in path[:-1]:
        at = at[key]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return changed


F = ("fabrics", 0)
S = (*F, "stats")


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("time",), "yesterday", "time is no time with its zone"),
        (("time",), "2026-01-01T00:00:00", "time is no time with its zone"),
        (("command",), "python", "command is no list"),
        (("command",), [1], r"command\[0\] is no text"),
        (("fabrics",), {}, "fabrics is no list"),
        (("fabrics",), [1], r"fabrics\[0\] is no object"),
        ((*F, "fabric"), "1", r"fabrics\[0\]\.fabric is no count"),
        ((*F, "cause"), None, r"fabrics\[0\]\.cause is missing"),
        ((*F, "cause"), "\ud800", "cause has a lone surrogate"),
        ((*F, "poisoned"), 0, "poisoned is neither true nor false"),
        (S, None, r"fabrics\[0\]\.stats is missing"),
        ((*S, "operations"), -1, r"stats\.operations is no count"),
        ((*S, "operations"), True, r"stats\.operations is no count"),
        ((*S, "operations"), 10**400, r"stats\.operations is no count"),
        ((*S, "operations"), 1.5, r"stats\.operations is no count"),
        ((*S, "host_seconds"), float("nan"), "host_seconds is out of range"),
        ((*S, "seconds"), float("inf"), "seconds is out of range"),
        ((*S, "seconds"), 10**400, "seconds is out of range"),
        ((*S, "staged"), {"tensors": 1}, r"staged\.bytes is missing"),
        ((*S, "links"), {"0": 1}, "links has a key that is none: '0'"),
        ((*S, "links"), {"0->1": "x"}, "links.0->1 is no count"),
        ((*S, "errors"), {"a b\n": 1}, "errors has a key that is none"),
        ((*S, "kinds"), [{}], r"kinds\[0\]\.kind is missing"),
        ((*S, "kinds", 0, "p50_us"), "fast", r"kinds\[0\]\.p50_us is no number"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(path, value, reason, tmp_path):
    put(tmp_path, altered(path, value), os.getpid())
    result = run(tmp_path)
    assert result.exit_code == 2
    assert re.search(reason, result.stderr), result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


def test_fields_of_a_later_version_are_left_alone(tmp_path):
    put(tmp_path, document(fabrics=[fabric_row(novel=[1]) | {"more": {}}]) | {"extra": None})
    assert run(tmp_path).exit_code == 0


@pytest.mark.timeout(60)
def test_what_is_no_ordinary_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "weft-1.json")
    (tmp_path / "weft-2.json").mkdir()
    (tmp_path / "weft-3.json").symlink_to("/dev/zero")
    (tmp_path / "weft-4.json").symlink_to("/nowhere")
    with open(tmp_path / "weft-5.json", "wb") as file:
        file.truncate(published.LONGEST + 1)
    put(tmp_path, document(), 6)
    (tmp_path / "weft-no\x1b-number.json").write_text("{}")
    processes, problems = published.read(tmp_path)
    assert processes == []
    assert [problem.file.name for problem in problems] == sorted(os.listdir(tmp_path))
    result = run(tmp_path)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 7
    assert "\x1b" not in result.stderr
    for reason in ("it is no ordinary file", "longer than", "another process than its name"):
        assert reason in result.stderr


def test_a_file_that_goes_while_it_is_looked_for_is_no_problem(tmp_path, monkeypatch):
    monkeypatch.setattr("os.listdir", lambda folder: ["weft-12.json"])
    assert published.read(tmp_path) == ([], [])


# Options


def test_a_folder_is_needed(tmp_path):
    for args, said in (
        ((), "WEFT_STATS names none"),
        ((tmp_path / "no",), "is no folder"),
        (("--watch", tmp_path), "a FOLDER goes before --watch"),
        ((tmp_path, "--watch", "0"), "--watch"),
        ((tmp_path, "--watch", "--json"), "goes with no output"),
        ((tmp_path, "--json", "--prometheus"), "one output at most goes to stdout"),
        ((tmp_path, "--json", tmp_path / "x", "--prometheus", tmp_path / "x"), "written twice"),
    ):
        result = run(*args)
        assert (result.exit_code, result.stdout) == (2, ""), args
        assert said in result.stderr


def test_without_a_folder_the_variable_names_it(tmp_path):
    put(tmp_path, document())
    done = subprocess.run(
        [sys.executable, "-m", "weft", "stats"], env=os.environ | {"WEFT_STATS": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "operations 12" in done.stdout


def test_json_has_every_document(tmp_path):
    put(tmp_path, document())
    put(tmp_path, document(NOBODY))
    put(tmp_path, "{", 3)
    summary = json.loads(run(tmp_path, "--json").stdout)
    assert summary["schema"] == "weft.stats-summary/1"
    ended = {row["process"]: row["ended"] for row in summary["processes"]}
    assert ended == {os.getpid(): False, NOBODY: True}
    assert [row["fabrics"][0]["stats"] for row in summary["processes"]] == [STATS, STATS]
    assert [row["file"] for row in summary["problems"]] == ["weft-3.json"]
    run(tmp_path, "--json", tmp_path / "all.json")
    assert json.loads((tmp_path / "all.json").read_text())["processes"][1]["process"] == NOBODY


def test_prometheus_has_the_live_processes_with_each_family_once(tmp_path):
    put(tmp_path, document(fabrics=[fabric_row(1), fabric_row(2, operations=7)]))
    put(tmp_path, document(NOBODY))
    parent = document(os.getppid(), fabrics=[fabric_row(1, operations=5)])
    put(tmp_path, parent | {"weft": 'x"y'})
    text = run(tmp_path, "--prometheus").stdout
    labels = f'process="{os.getpid()}",fabric="2",backend="sim"'
    assert f'weft_operations_total{{{labels},status="ok"}} 7\n' in text
    assert f"weft_operations_in_flight{{{labels}}} 3\n" in text
    other = f'process="{os.getppid()}",fabric="1",backend="sim"'
    assert f'weft_operations_total{{{other},status="ok"}} 5\n' in text
    assert f'weft_build_info{{{other},version="x\\"y"}} 1\n' in text
    assert str(NOBODY) not in text
    declared = re.findall(r"^# TYPE (\w+)", text, re.M)
    assert len(declared) == len(set(declared))
    # All samples of a family stand behind its head.
    heads = [re.match(r"(?:# \w+ )?(\w+)", line)[1] for line in text.splitlines()]
    assert [name for i, name in enumerate(heads) if i == 0 or heads[i - 1] != name] == declared
    samples = [line.rsplit(" ", 1)[0] for line in text.splitlines() if line[0] != "#"]
    assert len(samples) == len(set(samples))


# --watch


def looks(capsys, folder, *changes):
    """What is written while `changes` are made, one before each look but the first."""
    following = iter(changes)
    naps = []

    def sleep(seconds):
        naps.append(seconds)
        next(following)()

    watch(folder, 0.25, 1 + len(changes), sleep=sleep)
    assert naps == [0.25] * len(changes)
    return capsys.readouterr()


def two_states(**stats):
    """One of 4 s ago, and one that is exactly 2 s later, with these statistics."""
    first = document(seconds=-4)
    later = datetime.datetime.fromisoformat(first["time"]) + datetime.timedelta(seconds=2)
    return first, document(fabrics=[fabric_row(**stats)]) | {"time": later.isoformat()}


def rates(text):
    """Operations a second, and GB/s of a link, of each look that has them."""
    return (
        [float(rate) for rate in re.findall(r"\((-?[\d.]+) a second\)", text)],
        [line.split()[2] for line in text.splitlines() if line.startswith("  0->1")
         and len(line.split()) == 3],
    )  # fmt: skip


def test_rates_are_of_what_happened_between_two_states(tmp_path, capsys):
    first, faster = two_states(operations=32, failed=4, links={"0->1": 11 * 10**9})
    put(tmp_path, first)
    said = looks(capsys, tmp_path, lambda: put(tmp_path, faster), lambda: None)
    # 22 operations and 6 * 10^9 bytes in 2 s; a look that brings nothing new leaves them.
    assert rates(said.out) == ([11.0, 11.0], ["3.00", "3.00"])
    assert said.err == ""


def test_a_total_that_fell_was_reset(tmp_path, capsys):
    first, reset = two_states(operations=2, failed=0, links={"0->1": 10**9})
    put(tmp_path, first)
    said = looks(capsys, tmp_path, lambda: put(tmp_path, reset))
    assert rates(said.out) == ([1.0], ["0.50"])


def test_processes_fabrics_and_bad_files_may_come_and_go(tmp_path, capsys):
    file = tmp_path / f"weft-{os.getpid()}.json"
    (tmp_path / "weft-5.json").write_text("{")
    said = looks(
        capsys, tmp_path,
        lambda: put(tmp_path, document(fabrics=[])),
        lambda: put(tmp_path, document(fabrics=[fabric_row(1), fabric_row(2)])),
        lambda: put(tmp_path, document(seconds=0.1, fabrics=[fabric_row(2)])),
        lambda: file.write_text("half of"),
        lambda: file.unlink(),
        lambda: put(tmp_path, document(NOBODY)),
    )  # fmt: skip
    assert said.out.count("no process publishes statistics here") == 3
    assert said.out.count("fabric 1:") == 2
    assert said.out.count("fabric 2:") == 2
    assert "ended" in said.out
    assert len(said.err.splitlines()) == 2  # each file once
    assert said.err.count("weft-5.json") == 1


def test_a_folder_that_goes_does_not_end_the_view(tmp_path, capsys):
    folder = tmp_path / "folder"
    folder.mkdir()
    said = looks(capsys, folder, folder.rmdir, folder.mkdir)
    assert said.out.count("no process publishes") == 3
    assert said.err.count("cannot be read") == 1


def test_the_option_ends_after_so_many_looks(tmp_path):
    put(tmp_path, document())
    result = run(tmp_path, "--watch", "0.01", "--count", "3")
    assert result.exit_code == 0
    assert result.stdout.count("fabric 1:") == 3


def test_on_a_terminal_one_picture_changes(tmp_path, monkeypatch):
    """On rich's own console, for a terminal that is none."""
    import io

    from rich.console import Console

    from weft.cli import output

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(
        output, "stdout_console", lambda: Console(file=terminal, force_terminal=True, width=120)
    )
    put(tmp_path, document())
    watch(tmp_path, 0.01, 3)
    drawn = terminal.getvalue().count("fabric 1:")
    assert drawn >= 3
    lines = run(tmp_path).stdout.count("\n")
    assert terminal.getvalue().count("\x1b[1A") >= (drawn - 1) * (lines - 1)  # up, and over it


# Another process, for real


CHILD = """
import numpy as np, sys, weft
with weft.Fabric("sim:2") as fabric:
    tensors = [np.ones(1000, np.float32) for _ in range(2)]
    for _ in range(25):
        fabric.all_reduce(tensors, algorithm="ring")
    print("done", flush=True)
    sys.stdin.read()
"""


def test_a_running_process_is_seen_from_outside_until_it_ends(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], env=os.environ | {"WEFT_STATS": str(tmp_path)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stdout.readline() == "done\n"
        ended = time.monotonic() + 60
        while time.monotonic() < ended:
            summary = json.loads(run(tmp_path, "--json").stdout)
            if (
                summary["processes"]
                and summary["processes"][0]["fabrics"][0]["stats"]["operations"] == 25
            ):
                break
            time.sleep(0.02)
        (row,) = summary["processes"]
        assert (row["process"], row["command"][-2]) == (child.pid, "-c")
        stats = row["fabrics"][0]["stats"]
        assert (stats["operations"], stats["in_flight"]) == (25, 0)
        assert stats["links"] == {"0->1": 25 * 4000, "1->0": 25 * 4000}
        shown = run(tmp_path, "--watch", "0.01", "--count", "2").stdout
        assert shown.count(f"process {child.pid}: ") == 2
        child.kill()
        child.communicate()
        assert f"process {child.pid}: ended" in run(tmp_path).stdout
        assert run(tmp_path, "--prometheus").stdout == ""
    finally:
        child.kill()
        child.communicate()


def test_this_process_is_seen_like_any_other(tmp_path):
    with weft.Fabric("sim:2", stats=tmp_path) as fabric:
        fabric.all_reduce([np.ones(4), np.ones(4)])
        ended = time.monotonic() + 60
        while "operations 1," not in (text := run(tmp_path).stdout) and time.monotonic() < ended:
            time.sleep(0.02)
        assert f"process {os.getpid()}: live" in text
    assert run(tmp_path).stdout == ""
    assert Path(tmp_path).exists()

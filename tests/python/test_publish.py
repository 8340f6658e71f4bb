"""The file in which a process publishes the statistics of its fabrics."""

import gc
import json
import os
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest

import weft
from weft import published


def data(ranks=2):
    return [np.ones(100, np.float32) for _ in range(ranks)]


def wait_for(what):
    """The first that `what()` gives that is true."""
    ended = time.monotonic() + 60
    while time.monotonic() < ended:
        found = what()
        if found:
            return found
        time.sleep(0.01)
    pytest.fail("it did not come")


def rows(folder):
    """The fabrics in this process's file, by what is read like any other's."""
    processes, problems = published.read(folder)
    assert problems == []
    return [row for one in processes for row in one.fabrics if one.number == os.getpid()]


def writers():
    return [thread for thread in threading.enumerate() if thread.name == "weft stats"]


def no_writers():
    return not writers()


def test_a_file_says_what_the_fabric_says(tmp_path):
    folder = tmp_path / "a" / "b"
    with weft.Fabric("sim:3", stats=folder) as fabric:
        fabric.all_reduce(data(3))
        (row,) = wait_for(lambda: [r for r in rows(folder) if r["stats"]["operations"]])
        assert row["stats"] == json.loads(json.dumps(fabric.stats()))
        assert row["devices"] == ["sim:0", "sim:1", "sim:2"]
        assert (row["backend"], row["poisoned"], row["cause"]) == ("sim", False, None)
        (process,), _ = published.read(folder)
        assert not process.ended
        assert process.document["schema"] == "weft.stats/1"
        assert process.document["weft"] == weft.__version__
        assert process.document["command"] == sys.orig_argv
        assert process.document["host"] == os.uname().nodename
        assert process.age_seconds < 60
        assert [file.name for file in folder.glob("*.json")] == [f"weft-{os.getpid()}.json"]
    assert list(folder.iterdir()) == []  # closing waits for it


def test_a_fabric_that_is_poisoned_says_so_and_why(tmp_path):
    with weft.Fabric("sim:2", stats=tmp_path) as fabric:
        fabric.abort()
        (row,) = wait_for(lambda: [r for r in rows(tmp_path) if r["poisoned"]])
        assert row["cause"] == "abort() was called"
        fabric.recover()
        (row,) = wait_for(lambda: [r for r in rows(tmp_path) if not r["poisoned"]])
        assert row["cause"] is None


def test_one_thread_and_one_file_for_all_fabrics_of_a_folder(tmp_path):
    wait_for(no_writers)
    with weft.Fabric("sim:2", stats=tmp_path) as one:
        with weft.Fabric("sim:2", stats=tmp_path) as other:
            other.barrier()
            assert len(writers()) == 1
            both = wait_for(lambda: [found for found in [rows(tmp_path)] if len(found) == 2])[0]
            assert len({row["fabric"] for row in both}) == 2
        assert len(rows(tmp_path)) == 1  # closed, and out of the file by then
        one.barrier()
    wait_for(no_writers)
    assert list(tmp_path.iterdir()) == []


def test_each_folder_has_its_own_fabrics(tmp_path):
    with (
        weft.Fabric("sim:2", stats=tmp_path / "a"),
        weft.Fabric("sim:3", stats=tmp_path / "b"),
    ):
        (two,) = wait_for(lambda: rows(tmp_path / "a"))
        (three,) = wait_for(lambda: rows(tmp_path / "b"))
        assert (len(two["devices"]), len(three["devices"])) == (2, 3)


def test_a_fabric_that_was_dropped_is_not_kept(tmp_path):
    fabric = weft.Fabric("sim:2", stats=tmp_path)
    wait_for(lambda: rows(tmp_path))
    del fabric
    gc.collect()
    wait_for(lambda: list(tmp_path.iterdir()) == [])
    wait_for(no_writers)


def test_without_a_folder_there_is_no_thread():
    wait_for(no_writers)
    before = threading.active_count()
    with weft.Fabric("sim:2", stats="") as fabric:
        assert threading.active_count() == before
        assert fabric._published is None


def test_a_relative_folder_stays_where_it_was_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with weft.Fabric("sim:2", stats="here"):
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        wait_for(lambda: rows(tmp_path / "here"))
    assert list((tmp_path / "here").iterdir()) == []


def test_a_folder_that_cannot_be_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        weft.Fabric("sim:2", stats=tmp_path / "file" / "sub")


def test_what_cannot_be_written_is_one_warning_and_no_fault(tmp_path):
    target = tmp_path / "gone"
    target.mkdir()
    (target / f"weft-{os.getpid()}.json").mkdir()  # no file can take its place, whoever runs this
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with weft.Fabric("sim:2", stats=target) as fabric:
            wait_for(lambda: caught)
            fabric.all_reduce(data())  # closing it is another attempt
    mine = [one for one in caught if "not published" in str(one.message)]
    assert [one.category for one in mine] == [RuntimeWarning]
    assert not list(target.glob("*.part"))


def test_a_link_that_waits_for_the_writer_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / f"weft-{os.getpid()}.part").symlink_to(victim)
    (folder / f"weft-{os.getpid()}.json").symlink_to(victim)
    with weft.Fabric("sim:2", stats=folder):
        wait_for(lambda: (folder / f"weft-{os.getpid()}.json").is_symlink() is False)
        assert len(rows(folder)) == 1
    assert victim.read_text() == "mine"


def run(code, folder, **more):
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"WEFT_STATS": str(folder)},
        capture_output=True, text=True, timeout=120, check=False, **more,
    )  # fmt: skip


WAIT = """
import os, sys, time, pathlib, numpy as np, weft
folder = pathlib.Path(os.environ["WEFT_STATS"])
mine = folder / f"weft-{os.getpid()}.json"
def wait_for(what):
    ended = time.monotonic() + 60
    while not what():
        if time.monotonic() > ended:
            sys.exit("it did not come")
        time.sleep(0.01)
fabric = weft.Fabric("sim:2")
wait_for(mine.exists)
"""


def test_a_normal_end_without_close_takes_the_file_away(tmp_path):
    done = run(WAIT + "print(len(list(folder.glob('*.json'))))", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
    assert list(tmp_path.iterdir()) == []


def test_so_does_an_exception_that_nobody_caught(tmp_path):
    done = run(WAIT + "raise KeyError('mine')", tmp_path)
    assert done.returncode == 1
    assert done.stderr.endswith("KeyError: 'mine'\n")
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_killed_leaves_its_last_file(tmp_path):
    done = run(WAIT + "os.kill(os.getpid(), 9)", tmp_path)
    assert done.returncode == -9
    (process,), problems = published.read(tmp_path)
    assert process.ended
    assert problems == []


# Another thread has both locks at the fork: in the child they are never free again.
FORK = """
import threading
from weft import _publish
held, let_go = threading.Event(), threading.Event()
def hold():
    with fabric._published._owner._changed, _publish._lock:
        held.set()
        let_go.wait(60)
threading.Thread(target=hold).start()
held.wait(60)
child = os.fork()
if child == 0:
    fabric.close()
    fabric = None
    names = sorted(file.name for file in folder.glob("*.json"))
    alone = threading.active_count() == 1
    own = weft.Fabric("sim:2")
    theirs = folder / f"weft-{os.getpid()}.json"
    wait_for(theirs.exists)
    own.close()
    sys.exit(0 if alone and names == [mine.name] and not theirs.exists() else 1)
let_go.set()
_, status = os.waitpid(child, 0)
stamp = mine.stat().st_mtime_ns
wait_for(lambda: mine.stat().st_mtime_ns != stamp)
print(os.waitstatus_to_exitcode(status), mine.exists())
"""


def test_the_child_of_a_fork_has_no_thread_and_leaves_its_parents_file_alone(tmp_path):
    done = run(WAIT + FORK, tmp_path)
    assert (done.returncode, done.stdout) == (0, "0 True\n"), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_importing_weft_loads_none_of_it():
    code = "import weft, sys; weft.Fabric('sim:2').close(); print('weft._publish' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("False\n", "")

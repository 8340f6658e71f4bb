"""What a timeout leaves behind where a folder was asked for."""

import json
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import weft
from weft.topology import Topology


def data(ranks=2):
    return [np.ones(1000, np.float32) for _ in range(ranks)]


def folders(target, count):
    """The dumps, once that many are complete; they are written by another thread."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = sorted(f for f in target.glob("weft-*") if f.suffix != ".part")
        if len(found) >= count:
            return found
        time.sleep(0.01)
    pytest.fail(f"{sorted(target.rglob('*'))}")


def time_out_and_close(fabric):
    with pytest.raises(weft.CollectiveTimeout):
        fabric.rank(0).all_reduce(data()[0])
    fabric.close()


def test_a_timeout_leaves_a_folder(tmp_path):
    with weft.Fabric("sim:3", timeout=0.2, dump=tmp_path / "a" / "b") as fabric:
        fabric.all_reduce(data(3))
        fabric._native.plan_fault(1, 0, "stop")
        with pytest.raises(weft.CollectiveTimeout):
            fabric.all_reduce(data(3), algorithm="ring")
        fabric._native.plan_fault(-1, -1, "none")
        (folder,) = folders(tmp_path / "a" / "b", 1)
        fault = json.loads((folder / "fault.json").read_text())
        assert fault["schema"] == "weft.dump/1"
        assert "rank 1 did not do its part" in fault["message"]
        assert fault["culprits"] == [1]
        assert fault["process"] == os.getpid()
        events = (folder / "events.jsonl").read_text().splitlines()
        assert json.loads(events[0])["schema"] == "weft.event/1"
        assert "failed" in [json.loads(line)["status"] for line in events[1:]]
        assert json.loads((folder / "stats.json").read_text())["errors"] == {"CollectiveTimeout": 1}
        assert Topology.from_json(folder / "topology.json").size == 3
        assert "test_a_timeout_leaves_a_folder" in (folder / "stacks.txt").read_text()
        fabric.recover()
        fabric.all_reduce(data(3))
        time.sleep(0.1)
        assert len(folders(tmp_path / "a" / "b", 1)) == 1


def test_a_rank_that_does_not_come_is_named_and_seen(tmp_path):
    """Also where nobody is told yet: the stacks show what the late rank does instead."""
    over = threading.Event()

    def busy_elsewhere():
        over.wait(30)

    late = threading.Thread(target=busy_elsewhere)
    late.start()
    with weft.Fabric("sim:2", timeout=0.2, dump=tmp_path) as fabric:
        with pytest.raises(weft.CollectiveTimeout):
            fabric.rank(0).all_reduce(data()[0])
        (folder,) = folders(tmp_path, 1)
        over.set()
        late.join()
        assert json.loads((folder / "fault.json").read_text())["culprits"] == [1]
        assert "busy_elsewhere" in (folder / "stacks.txt").read_text()


def test_each_fault_has_its_folder_also_at_once(tmp_path):
    with (
        weft.Fabric("sim:2", timeout=0.2, dump=tmp_path) as one,
        weft.Fabric("sim:2", timeout=0.2, dump=tmp_path) as other,
    ):
        for turn in range(1, 3):
            for fabric in (one, other):
                with pytest.raises(weft.CollectiveTimeout):
                    fabric.rank(0).all_reduce(data()[0])
                fabric.recover()
            folders(tmp_path, 2 * turn)
    assert len(list(tmp_path.iterdir())) == 4


def test_an_abort_is_no_timeout_and_no_folder_no_thread(tmp_path):
    with weft.Fabric("sim:2", dump=tmp_path) as fabric:
        work = fabric.all_reduce(data(), async_op=True)
        fabric.abort()
        work.exception()
    assert list(tmp_path.iterdir()) == []
    before = threading.active_count()
    with weft.Fabric("sim:2", dump="") as fabric:
        assert threading.active_count() == before
        assert fabric._dumper is None


def test_a_process_that_ends_with_the_fault_leaves_its_folder(tmp_path):
    code = """
import numpy as np, weft
with weft.Fabric("sim:2", timeout=0.1) as fabric:
    fabric._native.plan_fault(1, 0, "stop")
    fabric.all_reduce([np.ones(10), np.ones(10)], algorithm="ring")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "WEFT_DUMP": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "CollectiveTimeout" in done.stderr
    assert len(folders(tmp_path, 1)) == 1


def test_a_folder_that_cannot_be_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        weft.Fabric("sim:2", dump=tmp_path / "file" / "sub")


def test_what_cannot_be_written_is_a_warning_and_the_fault_stays(tmp_path):
    target = tmp_path / "gone"
    with weft.Fabric("sim:2", timeout=0.1, dump=target) as fabric:
        target.rmdir()
        with pytest.warns(RuntimeWarning, match="no dump"):
            time_out_and_close(fabric)

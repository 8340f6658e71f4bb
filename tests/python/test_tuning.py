"""Tables of measured algorithms: files, where they are found, and that rows decide what runs."""

import json
import subprocess
import sys

import numpy as np
import pytest

import weft
from weft import tuning


def row(algorithm="two_shot", **changed):
    return {
        "dtypes": "any",
        "captured": None,
        "in_place": None,
        "from_bytes": 0,
        "up_to_bytes": 4096,
        "algorithm": algorithm,
        "blocks": 0,
        "measured": [{"bytes": 1024, "shipped": "ring", "us": {algorithm: 1.5, "ring": 2.0}}],
    } | changed


def table(*rows, **changed):
    return {
        "collective": "all_reduce",
        "backend": "sim",
        "ranks": 4,
        "machine": {"gpus": [], "driver": None, "cpu": None},
        "date": "2026-01-02T03:04:05+00:00",
        "rows": list(rows),
    } | changed


def write(path, *tables):
    path.write_text(json.dumps({"schema": tuning.SCHEMA, "tables": list(tables)}))
    return path


def ran(fabric, elements=100, dtype=np.float32, **arguments):
    """The algorithm of an all_reduce."""
    tensors = [np.ones(elements, dtype) for _ in range(fabric.size)]
    work = fabric.all_reduce(tensors, async_op=True, **arguments)
    work.wait()
    assert work.outputs[0][-1] == fabric.size
    event = fabric.events().operations[-1]
    assert event["algorithm"] in (work.info["algorithm"], work.info["algorithm"].encode())
    return work.info["algorithm"]


def test_a_measured_row_decides_what_runs_and_work_and_events_say_so(tmp_path):
    path = write(tmp_path / "t.json", table(row("halving_doubling"), row("one_shot")))
    with weft.Fabric("sim:4", tuning=path) as fab:
        assert ran(fab, 1024) == "halving_doubling"
        assert ran(fab, 1025) == "two_shot"
        assert ran(fab, 100, algorithm="ring") == "ring"
    with weft.Fabric("sim:4", tuning="off") as fab:
        assert ran(fab) == "two_shot"


def test_rows_may_be_for_dtypes_captures_and_calls_in_place(tmp_path):
    rows = [
        row("one_shot", dtypes="integral"),
        row("halving_doubling", in_place=False),
        row("hierarchical", captured=True),
    ]
    with weft.Fabric("sim:4", tuning=write(tmp_path / "t.json", table(*rows))) as fab:
        assert ran(fab, dtype=np.int32) == "one_shot"
        assert ran(fab) == "two_shot"
        assert ran(fab, out=[np.zeros(100, np.float32) for _ in range(4)]) == "halving_doubling"
        data = [np.ones(8, np.float32) for _ in range(4)]
        graph = weft.Graph()
        with graph.capture(fab):
            fab.all_reduce(data)
        graph.replay()
        assert graph.info["algorithm"] == "hierarchical"
        assert data[0].tolist() == [4.0] * 8


def test_a_row_that_cannot_serve_is_passed_over(tmp_path):
    path = write(tmp_path / "t.json", table(row("lamport"), row("one_shot_pull"), row("ring")))
    with weft.Fabric("sim:4", tuning=path) as fab:
        assert ran(fab) == "lamport"
        assert ran(fab, dtype=np.int32) == "ring"
        out = [np.zeros(100, np.int32) for _ in range(4)]
        assert ran(fab, dtype=np.int32, out=out) == "one_shot_pull"
        before = weft.deterministic(True)
        try:
            assert ran(fab) == "lamport"
        finally:
            weft.deterministic(before)


@pytest.mark.parametrize(
    "other",
    [
        {"ranks": 3},
        {"backend": "cuda"},
        {"machine": {"gpus": ["NVIDIA H200", "NVIDIA H200"]}},
        {"collective": "broadcast"},
    ],
)
def test_tables_for_something_else_are_left_alone(tmp_path, other):
    path = write(tmp_path / "t.json", table(row(), **other))
    with weft.Fabric("sim:4", tuning=path) as fab:
        assert ran(fab) == "two_shot"


class FakeNative:
    """A fabric of GPUs, as far as tables look at it."""

    backend = "cuda"

    def __init__(self, *gpu_names, size=2):
        self.gpu_names, self.size, self.set = gpu_names, size, None

    def set_tuning(self, rows):
        self.set = rows

    def tuning(self):
        return [*({"measured": True} for _ in self.set), {"measured": False}]


@pytest.mark.parametrize(
    ("native", "rows", "source"),
    [
        (FakeNative("NVIDIA H200", "NVIDIA H200"), 1, "from measurements on"),
        (FakeNative("NVIDIA H200", "NVIDIA H200", size=4), 0, "predicted from"),
        (FakeNative("NVIDIA H200"), 0, "predicted from"),
        (FakeNative("NVIDIA B200", "NVIDIA B200"), 0, "predicted from"),
    ],
)
def test_tables_of_gpus_are_for_as_many_ranks_on_the_same_gpus(native, rows, source):
    machine = {"gpus": ["NVIDIA H200", "NVIDIA H200"]}
    tables = [table(row("ll"), backend="cuda", ranks=2, machine=machine), table(row("ring"))]
    in_force = tuning.InForce(native, tables, "there.json")
    assert [given["algorithm"] for given in native.set] == ["ll"] * rows
    assert [given["collective"] for given in native.set] == ["all_reduce"] * rows
    *measured, shipped = in_force.rows()
    assert [one["source"] for one in measured] == ["there.json, 2026-01-02T03:04:05+00:00"] * rows
    assert shipped["source"] == f"shipped, {source} 2 x NVIDIA H200"


def test_every_collective_can_have_rows(tmp_path):
    rows = table(row("ring"), collective="all_gather")
    with weft.Fabric("sim:4", tuning=write(tmp_path / "t.json", rows)) as fab:
        work = fab.all_gather([np.ones(4) for _ in range(4)], async_op=True)
        work.wait()
        assert work.info["algorithm"] == "ring"
        work = fab.all_gather([np.ones(1000) for _ in range(4)], async_op=True)
        work.wait()
        assert work.info["algorithm"] == "one_shot"


def test_the_table_in_force_says_where_each_row_comes_from(tmp_path):
    path = write(tmp_path / "t.json", table(row("one_shot")))
    with weft.Fabric("sim:4", tuning=path) as fab:
        first, *others = fab.tuning()
        json.dumps([first, *others])
    assert first["collectives"] == ["all_reduce"]
    assert first["algorithm"] == "one_shot"
    assert first["up_to_bytes"] == 4096
    assert first["source"] == f"{path}, 2026-01-02T03:04:05+00:00"
    assert first["measured"][0]["us"]["ring"] == 2.0
    assert {other["source"] for other in others} == {"shipped"}
    assert {other["measured"] for other in others} == {None}
    every = {name for other in others for name in other["collectives"]}
    assert every == set(weft._weft.collectives())


def test_the_shipped_table_serves_every_collective_size_and_dtype_on_simulated_devices():
    expected = {
        "all_reduce": "two_shot",
        "reduce_scatter": "one_shot_pull",
        "all_gather": "one_shot",
        "broadcast": "one_shot",
        "reduce": "two_shot",
        "all_to_all": "one_shot",
        "scatter": "one_shot",
        "gather": "one_shot",
        "send_recv": "one_shot",
    }
    from weft.bench.buffers import BufferSets, HostMemory
    from weft.bench.calls import prepared
    from weft.bench.collective import COLLECTIVES, make_case

    for ranks in (2, 4):
        with weft.Fabric(f"sim:{ranks}", tuning="off") as fab:
            for name, algorithm in expected.items():
                op = "sum" if COLLECTIVES[name].reduces else "none"
                for dtype in ("float32", "int64", "bool"):
                    for size in (8, 5000, 1 << 20):
                        case = make_case(name, dtype, op, size, ranks)
                        buffers = BufferSets(HostMemory(), case, 1)
                        call = prepared(fab, case, buffers.inputs[0], buffers.outputs[0])
                        work = call(async_op=True)
                        work.wait()
                        assert work.info["algorithm"] == algorithm, (name, dtype, size)


BAD = [
    ("", "is not JSON"),
    ("[" * 100_000, "is not JSON"),
    ("[]", "no table of weft tune"),
    ('{"schema": "weft.bench/1", "tables": []}', "no table of weft tune"),
    ('{"schema": "weft.tuning/1"}', "tables is no list"),
    ('{"schema": "weft.tuning/1", "tables": [3]}', "table 0 does not have all of: collective"),
    (table(row(), machine=[]), "machine.gpus is no list"),
    (table(row(), collective="all_scatter"), "no collective is called 'all_scatter'"),
    (table(row(), rows=None), "rows is no list"),
    (table(row(), {}), "table 0, row 1 does not have all of: dtypes"),
    (table(row("star")), "no algorithm is called 'star'"),
    (table(row("auto")), "no algorithm is called 'auto'"),
    (table(row() | {"algorithm": []}), "no algorithm is called []"),
    (table(row(dtypes="complex")), "dtypes is one of any, floating, integral"),
    (table(row(captured=1)), "captured is true, false or null, not 1"),
    (table(row(in_place="no")), "in_place is true, false or null"),
    (table(row(from_bytes=-1)), "from 0 bytes on, not -1"),
    (table(row(up_to_bytes=2.5)), "from 0 bytes on, not 0 to 2.5"),
    (table(row(from_bytes=5000)), "from 0 bytes on, not 5000 to 4096"),
    (table(row(up_to_bytes=1 << 70)), "from 0 bytes on"),
    (table(row(blocks=-1)), "blocks is a whole number"),
    (table(row(blocks=True)), "blocks is a whole number"),
]


@pytest.mark.parametrize(("garbage", "words"), BAD)
def test_garbage_in_a_file_that_was_named_is_an_error_that_names_it(tmp_path, garbage, words):
    path = tmp_path / "bad.json"
    if isinstance(garbage, str):
        path.write_text(garbage)
    else:
        write(path, garbage)
    with pytest.raises(weft.InvalidArgument) as caught:
        weft.Fabric("sim:2", tuning=str(path))
    assert words in str(caught.value)
    assert f"{path}" in str(caught.value)


@pytest.mark.parametrize("given", [3, "", b"there"])
def test_a_tuning_that_is_no_path_is_refused(given):
    with pytest.raises(weft.InvalidArgument, match="tuning"):
        weft.Fabric("sim:2", tuning=given)


def test_a_file_that_is_named_must_be_there(tmp_path):
    with pytest.raises(weft.InvalidArgument, match=r"cannot read .*none\.json"):
        weft.Fabric("sim:2", tuning=tmp_path / "none.json")


CODE = """
import numpy, weft
with weft.Fabric("sim:4") as fab:
    work = fab.all_reduce([numpy.ones(9) for _ in range(4)], async_op=True)
    work.wait()
    print(work.info["algorithm"])
"""


def in_new_process(monkeypatch, code, **environment):
    """`code` in a process that has these variables."""
    monkeypatch.delenv("WEFT_TUNING", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    return subprocess.run(
        [sys.executable, *code], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_default_place_is_in_the_users_cache(monkeypatch, tmp_path):
    place = tmp_path / "weft" / "tuning.json"
    done = in_new_process(monkeypatch, ["-c", CODE], XDG_CACHE_HOME=tmp_path)
    assert (done.stdout, done.stderr) == ("two_shot\n", "")
    tuning.store(place, [table(row("one_shot"))])
    done = in_new_process(monkeypatch, ["-c", CODE], XDG_CACHE_HOME=tmp_path)
    assert (done.stdout, done.stderr) == ("one_shot\n", "")
    home = tmp_path / "home"
    tuning.store(home / ".cache" / "weft" / "tuning.json", [table(row("hierarchical"))])
    for cache in ("", "a/relative/path"):
        done = in_new_process(monkeypatch, ["-c", CODE], XDG_CACHE_HOME=cache, HOME=home)
        assert (done.stdout, done.stderr) == ("hierarchical\n", "")


def test_weft_tuning_names_another_file_or_none(monkeypatch, tmp_path):
    tuning.store(tmp_path / "weft" / "tuning.json", [table(row("one_shot"))])
    other = write(tmp_path / "other.json", table(row("ring")))
    for value, algorithm in ((other, "ring"), ("off", "two_shot"), ("", "one_shot")):
        done = in_new_process(monkeypatch, ["-c", CODE], XDG_CACHE_HOME=tmp_path, WEFT_TUNING=value)
        assert (done.stdout, done.stderr) == (f"{algorithm}\n", "")


def test_garbage_at_the_default_place_is_a_warning_and_the_shipped_table(monkeypatch, tmp_path):
    place = tmp_path / "weft" / "tuning.json"
    place.parent.mkdir()
    place.write_text("{")
    done = in_new_process(monkeypatch, ["-c", CODE], XDG_CACHE_HOME=tmp_path)
    assert done.stdout == "two_shot\n"
    assert done.stderr.count("RuntimeWarning") == 1
    assert f"{place} is not JSON" in done.stderr
    assert "<string>:3: RuntimeWarning" in done.stderr  # the line that opened the fabric


def test_garbage_that_weft_tuning_names_is_a_config_error(monkeypatch, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text("{")
    done = in_new_process(monkeypatch, ["-c", CODE], WEFT_TUNING=path)
    assert done.returncode == 1
    assert f"ConfigError: WEFT_TUNING is '{path}': {path} is not JSON" in done.stderr
    shown = in_new_process(monkeypatch, ["-m", "weft", "config"], WEFT_TUNING=path)
    assert shown.returncode == 2
    assert f"ConfigError: WEFT_TUNING is '{path}'" in shown.stderr


def test_store_keeps_tables_for_other_devices_and_replaces_its_own(tmp_path):
    path = tmp_path / "new" / "folder" / "t.json"
    other = table(row("ring"), ranks=8)
    tuning.store(path, [other, table(row("one_shot"))])
    new = table(row("two_shot"), date="2027-01-01")
    tuning.store(path, [new])
    assert tuning.read(path) == [other, new]
    path.write_text("garbage")
    tuning.store(path, [new])
    assert tuning.read(path) == [new]
    assert [file.name for file in path.parent.iterdir()] == ["t.json"]


def test_a_store_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "t.json"
    tuning.store(path, [table(row("ring"))])
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        tuning.store(path, [table(row("two_shot"))])
    assert tuning.read(path)[0]["rows"][0]["algorithm"] == "ring"
    assert [file.name for file in tmp_path.iterdir()] == ["t.json"]

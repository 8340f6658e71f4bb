"""The command line: data on stdout, the rest on stderr, exit codes."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

import weft
from weft.cli import app as app_module
from weft.cli.app import app, exit_code


def run(*args):
    return CliRunner().invoke(app, list(args))


def test_help_lists_every_command():
    result = run("--help")
    assert result.exit_code == 0
    for command in (
        "bench",
        "config",
        "demo",
        "doctor",
        "stats",
        "topo",
        "trace",
        "tune",
        "version",
    ):
        assert f"\n  {command} " in result.stdout
        assert run(command, "--help").exit_code == 0


def test_an_unknown_command_is_usage():
    assert run("fly").exit_code == 2


def test_version():
    result = run("version")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"weft {weft.__version__} (")
    assert result.stderr == ""
    facts = json.loads(run("version", "--json").stdout)
    assert facts["weft"] == weft.__version__
    assert isinstance(facts["cuda"], bool)


def test_topo_of_a_preset():
    result = run("topo", "--preset", "dgx-h100", "--devices", "3")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert sum(line.startswith("sim:") for line in lines) == 3
    assert lines[2].split()[1] == "X"
    assert "bonded NVLinks" in result.stderr


@pytest.mark.skipif(weft.cuda.is_available(), reason="there is a GPU here")
def test_topo_without_a_gpu_says_so_and_draws_the_default_machine():
    result = run("topo")
    assert result.exit_code == 0
    assert "no CUDA device" in result.stderr
    assert "hgx-h200" in result.stdout
    assert sum(line.startswith("sim:") for line in result.stdout.splitlines()) == 8


def test_topo_as_json(tmp_path):
    to_stdout = run("topo", "--preset", "dgx-h100", "--json")
    assert json.loads(to_stdout.stdout)["schema"] == "weft.topology/1"
    path = tmp_path / "topo.json"
    to_file = run("topo", "--preset", "dgx-h100", "--json", str(path))
    assert to_file.stdout == ""
    assert json.loads(path.read_text()) == json.loads(to_stdout.stdout)


def test_topo_of_an_unknown_machine_is_usage():
    result = run("topo", "--preset", "toaster")
    assert result.exit_code == 2
    assert "hgx-h200" in result.stderr
    assert result.stdout == ""


def test_topo_draws_a_preset_as_large_as_it_is():
    result = run("topo", "--preset", "pcie-4")
    assert sum(line.startswith("sim:") for line in result.stdout.splitlines()) == 4
    too_many = run("topo", "--preset", "pcie-4", "--devices", "5")
    assert too_many.exit_code == 2
    assert '"pcie-4" has 4 devices' in too_many.stderr
    assert too_many.stdout == ""


def weft_process(*args, stdout=subprocess.PIPE, **environment):
    return subprocess.run(
        [sys.executable, "-m", "weft", *args],
        stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        env=os.environ | environment,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["WEFT_TIMEOUT", "WEFT_EVENTS", "WEFT_SIM_SEED"])
def test_topo_does_not_mind_a_variable_that_it_does_not_read(name):
    done = weft_process("topo", "--preset", "pcie-4", **{name: "garbage"})
    assert done.returncode == 0
    assert "sim:3" in done.stdout


@pytest.mark.skipif(weft.cuda.is_available(), reason="there is a GPU here")
def test_topo_says_that_the_default_machine_is_unknown_and_nothing_else():
    done = weft_process("topo", WEFT_SIM_TOPOLOGY="toaster")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "WEFT_SIM_TOPOLOGY is 'toaster'" in done.stderr
    assert "hgx-h200" in done.stderr
    assert "this is the simulated machine" not in done.stderr


@pytest.mark.parametrize(
    "command", ["version", "topo", "config", "demo", "doctor", "bench all_reduce"]
)
def test_a_file_that_cannot_be_written_is_usage_before_anything_is_done(command, tmp_path):
    name = str(tmp_path / "no" / "such" / "folder")
    for target in (name, str(tmp_path)):
        result = run(*command.split(), "--json", target)
        assert result.exit_code == app_module.ExitCode.USAGE
        assert result.stderr.splitlines()[-1].startswith(f"Error: cannot write {target}: ")
        assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_file_on_a_full_disk_is_one_line_on_stderr():
    result = run("version", "--json", "/dev/full")
    assert result.exit_code == app_module.ExitCode.OUTPUT == 6
    assert result.stderr == "Error: cannot write /dev/full: No space left on device\n"


def test_two_outputs_in_one_file_are_refused(tmp_path):
    same = [str(tmp_path / "a"), str(tmp_path / "." / "a")]
    for other in ("--csv", "--plot"):
        result = run("bench", "all_reduce", "-e", "8", "--json", same[0], other, same[1])
        assert result.exit_code == app_module.ExitCode.USAGE
        assert "written twice" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tolerance", ["nan", "inf", "-1"])
def test_a_tolerance_that_would_let_everything_pass_is_usage(tolerance):
    result = run("bench", "all_reduce", "-e", "8", "--tolerance", tolerance)
    assert result.exit_code == app_module.ExitCode.USAGE
    assert "--tolerance" in result.stderr


def test_an_interrupted_command_has_its_own_code(monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr("weft.cli.version.platform.python_version", interrupt)
    result = run("version")
    assert result.exit_code == app_module.ExitCode.INTERRUPTED == 130
    assert result.stderr == "weft: interrupted\n"


@pytest.mark.parametrize(
    "command",
    [("topo", "--preset", "pcie-4"), ("topo", "--preset", "pcie-4", "--json"), ("version",),
     ("config",), ("--help",), ("topo", "--help")],
)  # fmt: skip
def test_a_full_disk_under_stdout_is_one_line_on_stderr(command):
    with open("/dev/full", "w") as full:
        done = weft_process(*command, stdout=full)
    assert done.returncode == app_module.ExitCode.OUTPUT
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last == "weft: cannot write the output: No space left on device"


def test_a_demo_whose_folder_cannot_be_made_is_one_line_on_stderr(tmp_path):
    for package in ("sklearn", "matplotlib"):
        pytest.importorskip(package, reason=f"{package}, which the demo needs, is not installed")
    (tmp_path / "file").write_text("")
    done = weft_process("demo", "--devices", "sim:2", "--output", str(tmp_path / "file" / "x"))
    assert done.returncode == app_module.ExitCode.USAGE
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"weft: {tmp_path}/file")


def test_a_closed_stdout_is_no_error():
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -m weft topo --preset pcie-4 >&-', sys.executable],
        stderr=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def missing_device():
    with pytest.raises(weft.InvalidArgument) as caught:
        weft.Fabric("cuda:99")
    return caught.value


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (weft.CollectiveTimeout("x"), 5),
        (weft.InvalidArgument("x"), 2),
        (weft.DTypeMismatch("x"), 2),
        (weft.ConfigError("x"), 2),
        (weft.OutOfMemory("x"), 1),
        (weft.CudaError("x"), 1),
    ],
)
def test_exit_codes(error, code):
    assert exit_code(error) == code


def test_a_named_device_that_is_missing_has_its_own_code():
    assert exit_code(missing_device()) == app_module.ExitCode.MISSING_DEVICE == 4
    result = run("bench", "all_reduce", "--devices", "cuda:99", "-e", "8")
    assert result.exit_code == 4
    assert "cuda:99" in result.stderr
    assert result.stdout == ""


@pytest.mark.skipif(weft.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_device_of_the_environment_has_that_code_too():
    done = weft_process("bench", "all_reduce", "-e", "8", WEFT_DEVICES="cuda:99")
    assert done.returncode == app_module.ExitCode.MISSING_DEVICE
    assert "WEFT_DEVICES is 'cuda:99'" in done.stderr


def test_a_refused_rank_is_no_missing_device():
    with weft.Fabric("sim:2") as fabric, pytest.raises(weft.InvalidArgument) as caught:
        fabric.rank(1).broadcast([1])
    assert caught.value.device == "sim:1"
    assert exit_code(caught.value) == app_module.ExitCode.USAGE


def test_the_modules_of_other_commands_are_not_loaded():
    code = (
        "import sys; from weft.cli.app import app\n"
        "try: app(['version'])\n"
        "except SystemExit: pass\n"
        "heavy = ('numpy', 'rich', 'matplotlib', 'sklearn', 'mpi4py')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_progress_bar_on_a_terminal_leaves_stdout_alone():
    ours, theirs = os.openpty()
    command = ["bench", "all_reduce", "--devices", "sim:2", "-e", "64", "-n", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "weft", *command], stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        table = process.stdout.read()
        assert process.wait(60) == 0
    bar = os.read(ours, 1 << 16)
    os.close(ours)
    assert b"all_reduce on 2 ranks" in bar
    assert b"\x1b" in bar
    assert b"\x1b" not in table
    assert b"busbw" in table


@pytest.mark.parametrize("form", [["--json"], []])
def test_a_reader_that_goes_away_is_no_error(form):
    with subprocess.Popen(
        [sys.executable, "-m", "weft", "topo", "--preset", "dgx-h100", *form],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        assert process.wait(60) == 0
        assert b"Traceback" not in process.stderr.read()

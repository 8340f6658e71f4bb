"""`weft config`: the table that the extension read, as text and as JSON."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

import weft
from weft.cli.app import app


def run(*args):
    return CliRunner().invoke(app, ["config", *args])


def test_user_variables_with_value_default_and_meaning():
    result = run("--json")
    assert result.exit_code == 0
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert rows["WEFT_TIMEOUT"]["default"] == 30.0
    assert rows["WEFT_TIMEOUT"]["meaning"]
    assert not any(row["internal"] for row in rows.values())
    assert len(rows) <= 12


def test_variables_for_tests_stand_apart():
    names = {row["name"] for row in json.loads(run("--all", "--json").stdout)}
    assert "WEFT_SIM_SEED" in names
    assert names > {row["name"] for row in json.loads(run("--json").stdout)}


def test_the_table_for_people_has_every_variable():
    text = run().stdout
    for row in weft._weft.config():
        assert (row["name"] in text) == (not row["internal"])


def test_json_into_a_file(tmp_path):
    path = tmp_path / "config.json"
    result = run("--json", str(path))
    assert result.exit_code == 0
    assert result.stdout == ""
    assert json.loads(path.read_text())


def in_new_process(environment, monkeypatch, *command):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_value_from_the_environment_is_shown(monkeypatch):
    done = in_new_process({"WEFT_TIMEOUT": "7.5"}, monkeypatch, "-m", "weft", "config", "--json")
    rows = {row["name"]: row["value"] for row in json.loads(done.stdout)}
    assert rows["WEFT_TIMEOUT"] == 7.5


@pytest.mark.parametrize("garbage", ["soon", "-1", "nan"])
def test_garbage_is_an_error_that_names_the_variable(monkeypatch, garbage):
    code = "import weft; weft.Fabric('sim:2')"
    done = in_new_process({"WEFT_TIMEOUT": garbage}, monkeypatch, "-c", code)
    assert done.returncode == 1
    assert f"ConfigError: WEFT_TIMEOUT is '{garbage}'" in done.stderr


@pytest.mark.parametrize(
    ("name", "garbage"),
    [
        ("WEFT_TIMEOUT", "soon"),
        ("WEFT_EVENTS", "perhaps"),
        ("WEFT_SIM_SEED", "-3"),  # internal, and shown all the same
        ("WEFT_SIM_TOPOLOGY", "toaster"),
        ("WEFT_DEVICES", "gpu:7"),
    ],
)
def test_config_shows_the_table_and_then_names_the_unusable_variable(monkeypatch, name, garbage):
    done = in_new_process({name: garbage}, monkeypatch, "-m", "weft", "config")
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    assert any(line.startswith("WEFT_TIMEOUT ") for line in lines)
    assert [line.split()[0] for line in lines if " unusable " in line] == [name]
    assert done.stderr.splitlines()[0].startswith(f"weft: ConfigError: {name} is '{garbage}'")
    assert len(done.stderr.splitlines()) == 1

    rows = in_new_process({name: garbage}, monkeypatch, "-m", "weft", "config", "--json")
    assert rows.returncode == 2
    bad = [row for row in json.loads(rows.stdout) if row["problem"]]
    assert [(row["name"], row["value"]) for row in bad] == [(name, None)]


@pytest.mark.parametrize("garbage", [b"\xff", b"\xed\xa0\x80", b"\xe0\x80\x80"])
def test_a_value_that_is_no_utf8_is_an_error_that_shows_its_bytes(monkeypatch, garbage):
    text = garbage.decode(errors="surrogateescape")
    done = in_new_process(
        {"WEFT_DEVICES": text}, monkeypatch, "-c", "import weft; weft.Fabric('sim:2')"
    )
    shown = "".join(f"\\x{byte:02x}" for byte in garbage)
    assert f"ConfigError: WEFT_DEVICES is '{shown}', but must be UTF-8" in done.stderr


def test_an_unknown_variable_warns_once(monkeypatch):
    code = "import warnings; warnings.simplefilter('always'); import weft; import weft.fabric"
    done = in_new_process({"WEFT_TIMEOUTS": "3"}, monkeypatch, "-c", code)
    assert done.returncode == 0
    assert done.stderr.count("RuntimeWarning") == 1
    assert "WEFT_TIMEOUTS" in done.stderr


def test_weft_devices_is_what_a_fabric_opens(monkeypatch):
    code = "import weft; print(weft.Fabric().devices)"
    done = in_new_process({"WEFT_DEVICES": "sim:2"}, monkeypatch, "-c", code)
    assert done.stdout.strip() == "['sim:0', 'sim:1']"
    done = in_new_process({"WEFT_DEVICES": "nonsense"}, monkeypatch, "-c", code)
    assert "ConfigError: WEFT_DEVICES is 'nonsense'" in done.stderr

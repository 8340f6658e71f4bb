"""The doctor's verdicts on facts that are given, and on this machine as it is or seems."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

import weft
from weft.cli.app import app
from weft.doctor import Check, Facts, examine, gather, is_fit


def link(a, b, kind="nvlink", access=True, verified=True, reason=None):
    return {
        "from": a, "to": b, "kind": kind, "peer_access": access, "verified": verified,
        "reason": reason,
    }  # fmt: skip


def pair(**changes):
    return [link(0, 1, **changes), link(1, 0, **changes)]


def machine(links, numa=(0, 0)):
    devices = [
        {"device": f"cuda:{i}", "numa": node, "pci": f"0000:{i}b:00.0"}
        for i, node in enumerate(numa)
    ]
    return {"devices": devices, "links": links}


def system(iommu="off", acs=False, nodes=1):
    return {
        "iommu": iommu, "virtual_machine": False, "has_pci": True,
        "numa_nodes": [{"id": i, "cpus": f"{8 * i}-{8 * i + 7}"} for i in range(nodes)],
        "pci": [{"pci": f"0000:{i}b:00.0", "acs_redirects": acs} for i in range(2)],
    }  # fmt: skip


def nvlinks(**changes):
    row = {
        "device": 0, "link": 0, "active": True, "sent_bytes": 0, "received_bytes": 0,
        "replay_errors": 0, "recovery_errors": 0, "crc_errors": 0,
    }  # fmt: skip
    return {"links": [row, row | {"link": 1} | changes], "notes": []}


def healthy(**changes):
    """A machine of two GPUs on which nothing is wrong, but for the changes."""
    driver = {
        "devices": 2, "why_no_devices": "", "why_no_nvml": "", "driver": "580.1", "cuda": "13.0",
        "mig": [False, False],
    }  # fmt: skip
    facts = {
        "build": {"cuda": True, "cuda_architectures": "90a"}, "usable_devices": 2,
        "driver": driver, "topology": machine(pair()), "system": system(), "counters": nvlinks(),
        "toolkit": "13.0", "packages": {"torch": "2.11", "nvidia-nccl-cu13": "2.28"},
        "cpus": frozenset(range(8)), "numa_balancing": False, "shared_memory_free": 8 << 30,
        "locked_memory": -1,
    }  # fmt: skip
    if "driver" in changes:
        changes["driver"] = driver | changes["driver"]
    return Facts(**(facts | changes))


def verdict(name, facts):
    (found,) = [check for check in examine(facts) if check.name == name]
    return found


def test_a_healthy_machine_passes_every_check():
    checks = examine(healthy())
    assert [check for check in checks if check.status != "PASS"] == []
    assert is_fit(checks)
    assert len({check.name for check in checks}) == len(checks) == 17


def test_where_nothing_is_known_nothing_fails_and_nothing_raises():
    checks = examine(Facts())
    assert is_fit(checks)
    assert {check.status for check in checks} <= {"SKIP", "PASS"}


@pytest.mark.parametrize(
    ("name", "status", "says", "facts"),
    [
        ("driver", "SKIP", "simulated devices work",
         healthy(driver={"devices": -1, "why_no_devices": "no CUDA driver: libcuda.so.1"})),
        ("driver", "FAIL", "does not start: error 803",
         healthy(driver={"devices": -1, "why_no_devices": "the driver does not start: error 803"})),
        ("driver", "WARN", "sees no device",
         healthy(driver={"devices": -1, "why_no_devices": "the CUDA driver sees no device: ..."})),
        ("driver", "WARN", "sees no device", healthy(driver={"devices": 0})),
        ("build", "FAIL", "built without CUDA", healthy(build={"cuda": False}, usable_devices=0)),
        ("build", "FAIL", "can use 0", healthy(usable_devices=0)),
        ("build", "SKIP", "no device for it",
         healthy(build={"cuda": False}, usable_devices=0, driver={"devices": 0})),
        ("toolkit", "WARN", "CUDA 13.0, and the driver knows CUDA 12.4",
         healthy(driver={"cuda": "12.4"})),
        ("toolkit", "SKIP", "no nvcc", healthy(toolkit=None)),
        ("nvml", "WARN", "cannot be opened", healthy(driver={"why_no_nvml": "cannot be opened"})),
        ("nvml", "SKIP", "cannot be opened",
         healthy(driver={"why_no_nvml": "cannot be opened", "devices": 0})),
        ("mig", "WARN", "MIG is on: cuda:1", healthy(driver={"mig": [False, True]})),
        ("mig", "SKIP", "no device tells", healthy(driver={"mig": [None, None]})),
        ("peer access", "FAIL", "quarantined: gpu0 -> gpu1",
         healthy(topology=machine(pair(access=False, verified=False,
                                       reason="quarantined: gpu0 -> gpu1")))),
        ("peer access", "WARN", "no peer access 0->1, 1->0 (the chipset",
         healthy(topology=machine(pair(access=False, verified=None,
                                       reason="peer access: the chipset")))),
        ("peer access", "WARN", "could not be sent",
         healthy(topology=machine(pair(verified=None)))),
        ("peer access", "SKIP", "not two", healthy(topology=machine([], numa=(0,)))),
        ("nvlink", "WARN", "cuda:0 link 1: 3 crc errors", healthy(counters=nvlinks(crc_errors=3))),
        ("nvlink", "WARN", "links are down: cuda:0 link 1",
         healthy(counters=nvlinks(active=False))),
        ("nvlink", "SKIP", "no NVML", healthy(counters={"links": [], "notes": ["no NVML"]})),
        ("iommu", "WARN", "translates",
         healthy(system=system(iommu="on"), topology=machine(pair(kind="phb")))),
        ("iommu", "PASS", "no two devices", healthy(system=system(iommu="on"))),
        ("iommu", "PASS", "passthrough", healthy(system=system(iommu="passthrough"))),
        ("iommu", "SKIP", "sysfs", healthy(system=system(iommu=None))),
        ("acs", "WARN", "0000:0b:00.0", healthy(system=system(acs=True))),
        ("acs", "SKIP", "takes root", healthy(system=system(acs=None))),
        ("numa", "WARN", "of cuda:1",
         healthy(system=system(nodes=2), topology=machine(pair(), numa=(0, 1)))),
        ("numa", "WARN", "numa_balancing",
         healthy(system=system(nodes=2), numa_balancing=True)),
        ("numa", "SKIP", "not told",
         healthy(system=system(nodes=2), topology=machine(pair(), numa=(None, None)))),
        ("weft variables", "FAIL", "WEFT_TIMEOUT", healthy(config=[{"problem": "WEFT_TIMEOUT"}])),
        ("weft variables", "WARN", "unknown", healthy(unknown_variables=["WEFT_X is unknown"])),
        ("torch and nccl", "SKIP", "neither", healthy(packages={})),
        ("shared memory", "WARN", "64 MiB", healthy(shared_memory_free=64 << 20)),
        ("shared memory", "SKIP", "no /dev/shm", healthy(shared_memory_free=None)),
        ("locked memory", "WARN", "64 KiB", healthy(locked_memory=64 << 10)),
        ("locked memory", "PASS", "1048576 KiB", healthy(locked_memory=1 << 30)),
    ],
)  # fmt: skip
def test_verdicts(name, status, says, facts):
    found = verdict(name, facts)
    assert found.status == status, found
    assert says in found.why
    assert (found.hint is not None) == (status in ("WARN", "FAIL"))


@pytest.mark.parametrize(
    ("variable", "value", "name", "status"),
    [
        ("CUDA_LAUNCH_BLOCKING", "1", "launch blocking", "FAIL"),
        ("CUDA_LAUNCH_BLOCKING", "0", "launch blocking", "PASS"),
        ("CUDA_FORCE_PTX_JIT", "1", "cuda variables", "FAIL"),
        ("CUDA_DEVICE_MAX_CONNECTIONS", "1", "cuda variables", "WARN"),
        ("CUDA_DEVICE_MAX_CONNECTIONS", "32", "cuda variables", "PASS"),
        ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "50", "cuda variables", "WARN"),
        ("CUDA_INJECTION64_PATH", "/lib/tool.so", "cuda variables", "WARN"),
        ("NCCL_P2P_DISABLE", "1", "torch and nccl", "WARN"),
        ("NCCL_P2P_LEVEL", "LOC", "torch and nccl", "WARN"),
        ("NCCL_P2P_LEVEL", "SYS", "torch and nccl", "PASS"),
        ("CUDA_VISIBLE_DEVICES", "0,1", "visible devices", "PASS"),
        ("CUDA_VISIBLE_DEVICES", "GPU-8f2e1c3d,1", "visible devices", "PASS"),
        ("CUDA_VISIBLE_DEVICES", "", "visible devices", "WARN"),
        ("CUDA_VISIBLE_DEVICES", "-1", "visible devices", "WARN"),
        ("CUDA_VISIBLE_DEVICES", "0,0", "visible devices", "FAIL"),
        ("CUDA_VISIBLE_DEVICES", "0;1", "visible devices", "FAIL"),
        ("CUDA_VISIBLE_DEVICES", "0,1,2", "visible devices", "FAIL"),
    ],
)
def test_variables(variable, value, name, status):
    assert verdict(name, healthy(environ={variable: value})).status == status


def test_only_a_failed_check_makes_a_machine_unfit():
    kinds = {s: Check("x", s, "why") for s in ("PASS", "WARN", "SKIP", "FAIL")}
    assert is_fit([kinds["PASS"], kinds["WARN"], kinds["SKIP"]])
    assert not is_fit([kinds["PASS"], kinds["FAIL"]])


def test_gathering_never_raises_whatever_fails(monkeypatch):
    def broken(*args):
        raise OSError("not today")

    for name in ("topology_driver", "topology_probe", "topology_system", "config", "build_info"):
        monkeypatch.setattr(weft._weft, name, broken)
    monkeypatch.setattr(os, "statvfs", broken)
    facts = gather()
    assert facts.driver is None
    assert facts.shared_memory_free is None
    assert is_fit(examine(Facts(**(vars(facts) | {"environ": {}}))))


def run(**environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CUDA_", "WEFT_", "NCCL_"))}
    return subprocess.run(
        [sys.executable, "-m", "weft", "doctor", "--json"],
        capture_output=True, text=True, timeout=120, check=False, env=clean | environment,
    )  # fmt: skip


def test_the_command_writes_json_and_ends_with_0_unless_a_check_failed():
    done = run()
    document = json.loads(done.stdout)
    assert document["schema"] == "weft.doctor/1"
    assert done.returncode == (0 if document["ok"] else 1)
    assert document["ok"] == all(check["status"] != "FAIL" for check in document["checks"])
    assert set(document["checks"][0]) == {"name", "status", "why", "hint"}


@pytest.mark.parametrize(
    ("environment", "code"),
    [
        ({"CUDA_LAUNCH_BLOCKING": "1"}, 1),
        ({"WEFT_TIMEOUT": "soon"}, 1),
        ({"CUDA_VISIBLE_DEVICES": "no such thing"}, 1),
        ({"CUDA_VISIBLE_DEVICES": ""}, 0),
        ({"WEFT_DEVICES": "cuda:99"}, 0),
    ],
)
def test_odd_environments_are_answered_with_the_documented_code(environment, code):
    done = run(**environment)
    assert done.returncode == code, done.stdout
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout)["ok"] == (code == 0)


def test_the_table_names_each_check_and_how_to_mend_it(monkeypatch):
    bad = healthy(environ={"CUDA_LAUNCH_BLOCKING": "1"})
    monkeypatch.setattr("weft.doctor.gather", lambda: bad)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    for check in examine(bad):
        assert check.name in result.stdout
    assert "mend: unset CUDA_LAUNCH_BLOCKING" in result.stdout
    assert result.stderr == "weft doctor: failed: launch blocking\n"
    monkeypatch.setattr("weft.doctor.gather", healthy)
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 0

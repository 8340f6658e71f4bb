"""Checks of the machine: driver, devices, how they reach each other."""

from __future__ import annotations

import re
from typing import Any

from weft.doctor.check import Check, failed, passed, skipped, warned
from weft.doctor.facts import Facts

__all__ = [
    "acs",
    "build",
    "driver",
    "iommu",
    "mig",
    "numa",
    "nvlink",
    "nvml",
    "peer_access",
    "toolkit",
    "visible_devices",
]

_NO_DEVICE = "sees no device"
_OWN_WIRES = ("nvlink", "c2c", "xgmi")


def _seen(facts: Facts) -> int:
    """CUDA devices that the driver sees, 0 where it cannot be asked."""
    return max(0, int((facts.driver or {}).get("devices", 0)))


def _links(facts: Facts) -> list[dict[str, Any]]:
    return list((facts.topology or {}).get("links", []))


def _gpus(facts: Facts) -> list[dict[str, Any]]:
    """What sysfs tells of the CUDA devices of this process."""
    devices = (facts.topology or {}).get("devices", [])
    ours = {device.get("pci") for device in devices}
    return [row for row in (facts.system or {}).get("pci", []) if row["pci"] in ours]


def driver(facts: Facts) -> Check:
    """Is there a CUDA driver that starts, and does it see devices?"""
    name = "driver"
    if facts.driver is None:
        return skipped(name, "the driver could not be asked")
    why = str(facts.driver.get("why_no_devices") or "")
    if why.startswith("no CUDA driver"):
        return skipped(name, f"{why}; simulated devices work")
    if _NO_DEVICE in why or (not why and _seen(facts) == 0):
        return warned(
            name, "the CUDA driver is there and sees no device",
            "look at CUDA_VISIBLE_DEVICES and nvidia-smi; in a container, pass the GPUs in "
            "(--gpus all)",
        )  # fmt: skip
    if why:
        return failed(
            name, why,
            "see nvidia-smi and dmesg: driver and kernel module must be of one version; restart "
            "after an update",
        )  # fmt: skip
    version = facts.driver.get("driver") or "of unknown version"
    cuda = facts.driver.get("cuda")
    return passed(
        name, f"driver {version}{f' for CUDA {cuda}' if cuda else ''}, {_seen(facts)} device(s)"
    )


def build(facts: Facts) -> Check:
    """Can this build of weft use the devices that the driver sees?"""
    name = "build"
    if not facts.build.get("cuda"):
        if _seen(facts) == 0:
            return skipped(name, "weft was built without CUDA, and there is no device for it")
        return failed(
            name, f"weft was built without CUDA, and the driver sees {_seen(facts)} device(s)",
            "build again where nvcc is: WEFT_CUDA=on pip install .",
        )  # fmt: skip
    if _seen(facts) > facts.usable_devices:
        return failed(
            name,
            f"the driver sees {_seen(facts)} device(s), and this build can use "
            f"{facts.usable_devices}",
            "the driver may be older than the CUDA that weft was built with: update it, or build "
            "with an older toolkit",
        )
    archs = facts.build.get("cuda_architectures") or "unknown architectures"
    return passed(name, f"built with CUDA for {archs}")


def toolkit(facts: Facts) -> Check:
    """Is the toolkit, if there is one, no newer than what the driver knows?"""
    name = "toolkit"
    if facts.toolkit is None:
        return skipped(name, "no nvcc here; it is needed to build weft only")
    known = (facts.driver or {}).get("cuda")
    if known and int(facts.toolkit.split(".")[0]) > int(str(known).split(".")[0]):
        return warned(
            name, f"nvcc is of CUDA {facts.toolkit}, and the driver knows CUDA {known}",
            "what is built here will not run here: update the driver, or use an older toolkit",
        )  # fmt: skip
    return passed(name, f"nvcc of CUDA {facts.toolkit}")


def visible_devices(facts: Facts) -> Check:
    """Does CUDA_VISIBLE_DEVICES mean what it says?"""
    name = "visible devices"
    value = facts.environ.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return passed(name, "CUDA_VISIBLE_DEVICES is not set: all devices are seen")
    entries = [entry.strip() for entry in value.split(",")]
    if value.strip() in ("", "-1", "NoDevFiles"):
        return warned(
            name, f"CUDA_VISIBLE_DEVICES is '{value}' and hides every device",
            "unset it to use the GPUs",
        )  # fmt: skip
    odd = [e for e in entries if not re.fullmatch(r"\d+|(GPU|MIG)-[0-9a-fA-F/-]+", e)]
    twice = sorted({e for e in entries if entries.count(e) > 1})
    if odd or twice:
        wrong = f"{odd[0]!r} names no device" if odd else f"{twice[0]} is named twice"
        return failed(
            name, f"CUDA_VISIBLE_DEVICES is '{value}': {wrong}, and CUDA drops it and what follows",
            "list indices or UUIDs (nvidia-smi -L), each once, with commas between",
        )  # fmt: skip
    told = facts.driver is not None and not facts.driver.get("why_no_devices")
    if told and _seen(facts) < len(entries):
        return failed(
            name,
            f"CUDA_VISIBLE_DEVICES names {len(entries)} devices, and {_seen(facts)} are seen",
            "the first one that does not exist hides those after it; see nvidia-smi -L",
        )
    return passed(name, f"CUDA_VISIBLE_DEVICES is '{value}'")


def nvml(facts: Facts) -> Check:
    """Can NVML be asked about links?"""
    name = "nvml"
    why = (facts.driver or {}).get("why_no_nvml", "NVML could not be asked")
    if not why:
        return passed(name, "NVML answers")
    if _seen(facts) == 0:
        return skipped(name, str(why))
    return warned(
        name, f"{why}: links and their errors cannot be seen",
        "install libnvidia-ml.so.1 of the driver's version; in a container, ask for the utility "
        "capability (NVIDIA_DRIVER_CAPABILITIES=compute,utility)",
    )  # fmt: skip


def mig(facts: Facts) -> Check:
    """Is a GPU cut into instances, which cannot reach each other?"""
    name = "mig"
    modes = list((facts.driver or {}).get("mig", []))
    if not any(mode is not None for mode in modes):
        return skipped(name, "no device tells of MIG")
    on = [f"cuda:{i}" for i, mode in enumerate(modes) if mode]
    if not on:
        return passed(name, "no device is cut into instances")
    return warned(
        name, f"MIG is on: {', '.join(on)}; instances have no access to their peers' memory",
        "turn it off where devices must work together: nvidia-smi -i N -mig 0 (as root, when idle)",
    )  # fmt: skip


def peer_access(facts: Facts) -> Check:
    """Do bytes arrive between every two devices, in both directions?"""
    name = "peer access"
    links = _links(facts)
    if not links:
        return skipped(name, "there are not two CUDA devices")
    lied = [link for link in links if link.get("verified") is False]
    if lied:
        return failed(
            name, f"bytes did not arrive: {lied[0].get('reason')}",
            "the usual cause is an IOMMU or PCIe access control (see the checks iommu and acs); "
            "until then leave one of the two out with CUDA_VISIBLE_DEVICES",
        )  # fmt: skip
    without = [link for link in links if not link.get("peer_access")]
    if without:
        pairs = ", ".join(f"{link['from']}->{link['to']}" for link in without[:6])
        reasons = [str(link.get("reason") or "") for link in without]
        said = [reason for reason in reasons if reason.startswith("peer access: ")]
        reason = said[0].removeprefix("peer access: ") if said else "no reason told"
        return warned(
            name, f"no peer access {pairs}{' ...' if len(without) > 6 else ''} ({reason})",
            "a fabric needs peer access among its devices: choose ones that have it, e.g. with "
            "WEFT_DEVICES; nvidia-smi topo -p2p r shows the driver's view",
        )  # fmt: skip
    if any(link.get("verified") is not True for link in links):
        return warned(
            name, "the driver gives peer access, but bytes could not be sent to verify it",
            "see the notes of weft topo; a device may be out of memory or in exclusive use",
        )  # fmt: skip
    return passed(name, f"verified by bytes, {len(links)} directions")


def nvlink(facts: Facts) -> Check:
    """Are all NVLinks up, and without errors?"""
    name = "nvlink"
    links = list((facts.counters or {}).get("links", []))
    if not links:
        notes = (facts.counters or {}).get("notes") or ["NVLink could not be looked at"]
        return skipped(name, str(notes[0]))
    used = {row["device"] for row in links if row["active"]}  # a GPU without a bridge is fine
    down = [
        f"cuda:{row['device']} link {row['link']}" for row in links
        if not row["active"] and row["device"] in used
    ]  # fmt: skip
    kinds = ("replay_errors", "recovery_errors", "crc_errors")
    bad = [
        f"cuda:{row['device']} link {row['link']}: {row[kind]} {kind.replace('_', ' ')}"
        for row in links
        for kind in kinds
        if row[kind]
    ]
    if bad:
        return warned(
            name, f"errors were counted: {'; '.join(bad[:4])}{' ...' if len(bad) > 4 else ''}",
            "see whether they grow: weft topo --watch; if so, reseat or replace the link or board",
        )  # fmt: skip
    used = {row["device"] for row in links if row["active"]}
    down = [
        row for row in down if int(row.split()[0][5:]) in used
    ]  # a GPU without a bridge is fine
    if down:
        return warned(
            name, f"links are down: {', '.join(down[:6])}{' ...' if len(down) > 6 else ''}",
            "see nvidia-smi nvlink -s, and on an NVSwitch machine that the fabric manager runs",
        )  # fmt: skip
    if all(row[kind] is None for row in links for kind in kinds):
        return skipped(name, f"{len(links)} links are there, and their errors are not told")
    return passed(name, f"{len(links)} links, no errors counted")


def iommu(facts: Facts) -> Check:
    """Does an IOMMU stand between peers?"""
    name = "iommu"
    mode = (facts.system or {}).get("iommu")
    if mode is None:
        return skipped(name, "sysfs does not tell")
    if mode != "on":
        return passed(name, f"the IOMMU is {'off' if mode == 'off' else 'in passthrough'}")
    over_pcie = [link for link in _links(facts) if link["kind"] not in _OWN_WIRES]
    if not over_pcie:
        return passed(name, "the IOMMU translates, and no two devices are joined by PCIe alone")
    return warned(
        name, "the IOMMU translates what PCIe devices send each other: slow, and known to corrupt",
        "boot with iommu=pt (amd_iommu=off, intel_iommu=off where that does not help)",
    )  # fmt: skip


def acs(facts: Facts) -> Check:
    """Does PCIe's access control send peers' requests by the host?"""
    name = "acs"
    gpus = _gpus(facts)
    if not gpus:
        return skipped(name, "sysfs shows no CUDA device of this process")
    redirected = [row["pci"] for row in gpus if row["acs_redirects"]]
    if redirected:
        return warned(
            name,
            f"access control on bridges above {', '.join(redirected)} sends peers' requests by the "
            "host",
            "turn ACS off in the BIOS, or by setpci on the bridges (NCCL's guide on PCI access "
            "control tells how)",
        )
    if any(row["acs_redirects"] is None for row in gpus):
        return skipped(name, "the bridges' configuration takes root to read")
    return passed(name, "no bridge above the devices redirects peers' requests")


def _cpu_set(text: str) -> set[int]:
    """The CPUs of "0-3,8"."""
    cpus: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return cpus


def numa(facts: Facts) -> Check:
    """May this process run near its devices?"""
    name = "numa"
    nodes = {row["id"]: row["cpus"] for row in (facts.system or {}).get("numa_nodes", [])}
    if not nodes:
        return skipped(name, "sysfs tells of no NUMA nodes")
    if len(nodes) == 1:
        return passed(name, "one NUMA node")
    devices = (facts.topology or {}).get("devices", [])
    homes = {device["device"]: device["numa"] for device in devices if device["numa"] is not None}
    if not homes or facts.cpus is None:
        return skipped(
            name, f"{len(nodes)} NUMA nodes; which one the devices belong to is not told"
        )
    away = [
        device for device, node in homes.items()
        if not facts.cpus & _cpu_set(nodes.get(node, ""))
    ]  # fmt: skip
    if away:
        return warned(
            name, f"this process may run on no CPU of the NUMA node of {', '.join(away)}",
            "start it with numactl --cpunodebind, or with a wider CPU set",
        )  # fmt: skip
    if facts.numa_balancing:
        return warned(
            name, "the kernel moves memory between NUMA nodes by itself (numa_balancing)",
            "sysctl kernel.numa_balancing=0",
        )  # fmt: skip
    return passed(name, f"{len(nodes)} NUMA nodes, within reach of this process")

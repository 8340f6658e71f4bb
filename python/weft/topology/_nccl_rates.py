"""What the words of NCCL's topology files mean in bytes per second, one direction.

Line rates, as data sheets give them, and not what NCCL's own model takes off; but for the links
between sockets, whose rate no file gives: there NCCL's model is what there is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = [
    "gpu_name", "nvlink", "nvlink_generation", "pcie_generation", "pcie_rate", "pcie_speed",
    "sm_of", "socket", "xgmi",
]  # fmt: skip

# Of one NVLink, by the least compute capability, with its generation. Data sheets, of all links and
# both directions: P100 160 GB/s over 4; V100 300 over 6; A40 112.5 over 4; A100 600 over 12; H100
# 900 over 18; B200 1,800 over 18.
_NVLINK = (
    (100, 50e9, 5), (90, 25e9, 4), (87, None, None), (86, 14.0625e9, 3), (80, 25e9, 3),
    (70, 25e9, 2), (60, 20e9, 1),
)  # fmt: skip

# Generation -> transfers per second and lane, and the share of bits that is data.
_PCIE = {
    1: (2.5e9, 0.8), 2: (5e9, 0.8), 3: (8e9, 128 / 130), 4: (16e9, 128 / 130),
    5: (32e9, 128 / 130), 6: (64e9, 242 / 256), 7: (128e9, 242 / 256),
}  # fmt: skip
_SPEED = re.compile(r"(\d{1,3}(?:\.\d{1,3})?) GT/s(?: PCIe)?")

# Of one xGMI link, by the GPU's architecture: MI50 to MI100 92 GB/s both directions, MI250X 100,
# MI300 128, MI350 153.6 (AMD's data sheets). "910" is how RCCL writes 90a as a number.
_XGMI = {
    "906": 46e9, "908": 46e9, "90a": 50e9, "910": 50e9, "940": 64e9, "941": 64e9, "942": 64e9,
    "950": 76.8e9,
}  # fmt: skip

# PCI vendor and device -> name, from the public list of PCI ids.
_NAMES = {
    ("0x10de", "0x15f9"): "Tesla P100", ("0x10de", "0x1db1"): "Tesla V100-SXM2-16GB",
    ("0x10de", "0x1db5"): "Tesla V100-SXM2-32GB", ("0x10de", "0x1db8"): "Tesla V100-SXM3-32GB",
    ("0x10de", "0x20b0"): "A100-SXM4-40GB", ("0x10de", "0x20b2"): "A100-SXM4-80GB",
    ("0x10de", "0x20b5"): "A100-PCIE-80GB", ("0x10de", "0x20f1"): "A100-PCIE-40GB",
    ("0x10de", "0x2235"): "A40", ("0x10de", "0x2236"): "A10", ("0x10de", "0x2204"): "RTX 3090",
    ("0x10de", "0x1eb8"): "T4", ("0x10de", "0x2230"): "RTX A6000",
    ("0x10de", "0x2684"): "RTX 4090", ("0x10de", "0x26b9"): "L40S",
    ("0x10de", "0x2330"): "H100-SXM5-80GB", ("0x10de", "0x2331"): "H100-PCIE-80GB",
    ("0x10de", "0x2335"): "H200-SXM5-141GB", ("0x10de", "0x2342"): "GH200",
    ("0x10de", "0x2901"): "B200", ("0x10de", "0x2941"): "GB200",
    ("0x1002", "0x66a1"): "MI60", ("0x1002", "0x738c"): "MI100", ("0x1002", "0x7408"): "MI250X",
    ("0x1002", "0x740c"): "MI250X", ("0x1002", "0x74a0"): "MI300A",
    ("0x1002", "0x74a1"): "MI300X", ("0x1002", "0x75a0"): "MI350X",
}  # fmt: skip


def gpu_name(attributes: Mapping[str, str]) -> str:
    """What a GPU is called, by the PCI ids of its function, else by its architecture."""
    ids = (attributes.get("vendor", "").lower(), attributes.get("device", "").lower())
    if ids in _NAMES:
        return _NAMES[ids]
    if "gcn" in attributes:
        return f"GPU gfx{attributes['gcn'].removeprefix('gfx')}"
    return f"GPU sm_{attributes['sm']}" if "sm" in attributes else "GPU"


def nvlink(sm: int | None) -> float | None:
    """Of one link of a GPU of compute capability `sm` (90 is 9.0); None where it is not known."""
    return next((rate for least, rate, _ in _NVLINK if sm is not None and sm >= least), None)


def nvlink_generation(sm: int | None) -> int | None:
    """Of the links of such a GPU; None where it is not known."""
    return next((number for least, _, number in _NVLINK if sm is not None and sm >= least), None)


def sm_of(generation: int | None) -> int:
    """The compute capability of a GPU with such NVLinks, for readers that insist on one."""
    return next((least for least, _, number in _NVLINK[::-1] if number == generation), 80)


def xgmi(gcn: str | None) -> float | None:
    """Of one link of a GPU of architecture `gcn` ("gfx942", "942"); None: not known."""
    return None if gcn is None else _XGMI.get(gcn.lower().removeprefix("gfx"))


def pcie_generation(speed: str) -> int | None:
    """Of "16.0 GT/s PCIe", "16 GT/s"; None where nothing is said. ValueError for another text."""
    if not speed or speed.lower().startswith("unknown"):
        return None
    match = _SPEED.fullmatch(speed.strip())
    for generation, (transfers, _) in _PCIE.items():
        if match and float(match[1]) * 1e9 == transfers:
            return generation
    raise ValueError(f'"{speed:.40}" is no speed of PCIe')


def pcie_speed(generation: int | None) -> str:
    """As Linux writes it: "16.0 GT/s PCIe"; "" for None or a generation that is not known."""
    return f"{_PCIE[generation][0] / 1e9:.1f} GT/s PCIe" if generation in _PCIE else ""


def pcie_rate(generation: int | None, width: int | None) -> float | None:
    """Of so many lanes; None unless both are known."""
    if width is None or generation not in _PCIE:
        return None
    transfers, share = _PCIE[generation]
    return transfers * width * share / 8


def socket(cpu: Mapping[str, str]) -> float | None:
    """Between the sockets of such a CPU, by its attributes; None where nobody says."""
    if cpu.get("arch") == "ppc64":
        return 32e9
    if cpu.get("arch") != "x86_64":
        return None
    if cpu.get("vendor") == "AuthenticAMD":
        return 16e9
    if cpu.get("vendor") != "GenuineIntel" or cpu.get("familyid") != "6":
        return None
    model = cpu.get("modelid", "")
    if not (model.isascii() and model.isdigit() and len(model) < 6):
        return None
    # Emerald Rapids, Sapphire Rapids, Skylake, and before.
    steps = ((0xCF, 40e9), (0x8F, 22e9), (0x55, 10e9), (0, 6e9))
    return next(rate for least, rate in steps if int(model) >= least)

"""The built extension holds the bulk-copy kernel: a linker may drop what nothing refers to."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from weft import _weft

pytestmark = pytest.mark.gpu1


def code_by_architecture(listing: str) -> dict[str, list[str]]:
    """The kernels' listings under each "arch = sm_..." of cuobjdump --dump-sass."""
    parts = re.split(r"^arch = (sm_\w+)$", listing, flags=re.MULTILINE)
    kernels: dict[str, list[str]] = {}
    for architecture, text in zip(parts[1::2], parts[2::2], strict=True):
        kernels.setdefault(architecture, []).extend(text.split("Function :")[1:])
    return kernels


def built_for() -> set[str]:
    """The architectures named at the build that have bulk copies, e.g. {"sm_90a", "sm_100f"}."""
    names = str(_weft.build_info()["cuda_architectures"]).replace("-real", "").split(";")
    return {f"sm_{name}" for name in names if int(re.sub(r"\D", "", name)) >= 90}


def listed(tool: str, *options: str) -> str:
    """What cuobjdump says of the extension."""
    command = [tool, *options, str(_weft.__file__)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_ring_uses_bulk_copies_on_every_architecture_it_was_built_for() -> None:
    tool = shutil.which("cuobjdump") or shutil.which("/usr/local/cuda/bin/cuobjdump")
    if tool is None:
        pytest.skip("cuobjdump is not installed")
    # Only the ring's kernels are disassembled: all of them take half a minute.
    names = re.findall(r"Function (\w+):", listed(tool, "--dump-resource-usage"))
    rings = sorted({name for name in names if "RingParams" in name})
    assert rings, "no kernel of the ring"
    listing = listed(tool, "--dump-sass", "--function", ",".join(rings))
    kernels = code_by_architecture(listing)
    assert built_for() <= set(kernels), "code for an architecture is missing"
    for architecture in built_for():
        ring = [k for k in kernels[architecture] if "UBLKCP" in k]
        assert ring, f"no kernel with bulk copies (UBLKCP) for {architecture}"
        assert any("SYNCS" in k for k in ring), f"bulk copies without mbarriers: {architecture}"

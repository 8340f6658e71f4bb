"""The built extension holds the bulk-copy kernel: a linker may drop what nothing refers to."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from weft import _weft

pytestmark = pytest.mark.gpu1


def test_the_ring_on_hopper_uses_bulk_copies() -> None:
    tool = shutil.which("cuobjdump") or shutil.which("/usr/local/cuda/bin/cuobjdump")
    if tool is None:
        pytest.skip("cuobjdump is not installed")
    listing = subprocess.run(
        [tool, "--dump-sass", "--gpu-architecture", "sm_90a", str(_weft.__file__)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    kernels = listing.split("Function :")
    ring = [k for k in kernels if "UBLKCP" in k]
    assert ring, "no kernel with bulk copies (UBLKCP) in the extension for sm_90a"
    assert any("SYNCS" in k for k in ring), "bulk copies without mbarriers"

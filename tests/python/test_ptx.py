"""The ring holds bulk copies for Hopper and Blackwell: CuTe can drop them without a word."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RING = ROOT / "collectives/executor/cuda/ring.cu"
SIMPLE = ROOT / "collectives/executor/cuda/ring_simple.cu"


def find_nvcc() -> str:
    found = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    if found is None:
        pytest.skip("there is no nvcc")
    return found


def find_cutlass() -> Path:
    """Where cute/ and cutlass/ are: named, installed, or fetched by a CUDA build of this tree."""
    places = (
        [Path(os.environ["WEFT_CUTLASS_INCLUDE"])] if "WEFT_CUTLASS_INCLUDE" in os.environ else []
    )
    spec = importlib.util.find_spec("cutlass_library")
    if spec is not None and spec.submodule_search_locations:
        places.append(Path(spec.submodule_search_locations[0]) / "source/include")
    places += sorted(ROOT.glob("build/**/cutlass_library/source/include"))
    for place in places:
        if (place / "cute/tensor.hpp").exists():
            return place
    pytest.skip("there are no CUTLASS headers: set WEFT_CUTLASS_INCLUDE or build with WEFT_CUDA=on")


def ptx(source: Path, architecture: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [find_nvcc(), "-std=c++20", "-ptx", f"-arch=compute_{architecture}", "-o", "-"]
    command += ["--expt-relaxed-constexpr", "-Werror=all-warnings", f"-I{ROOT}", *options]
    return subprocess.run([*command, str(source)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("architecture", ["90a", "100a", "103a"])
def test_the_ring_moves_its_data_by_bulk_copies(architecture: str) -> None:
    done = ptx(RING, architecture, "-isystem", str(find_cutlass()))
    assert done.returncode == 0, done.stderr
    loads = re.findall(r"cp\.async\.bulk\.shared::cluster\.global\.mbarrier", done.stdout)
    stores = re.findall(r"cp\.async\.bulk\.global\.shared::cta\.bulk_group", done.stdout)
    assert len(loads) >= 2, "own elements and partial result"
    assert len(stores) >= 2, "next rank and own output"
    assert "brkpt" not in done.stdout, "CuTe's stand-in for a missing instruction"
    assert "trap;" not in done.stdout


def test_an_architecture_without_suffix_is_refused() -> None:
    """There CuTe's bulk copies compile to nothing; the source must not."""
    done = ptx(RING, "100", "-isystem", str(find_cutlass()))
    assert done.returncode != 0
    assert "use a suffix" in done.stderr


def test_the_reference_needs_no_newer_instruction() -> None:
    done = ptx(SIMPLE, "80")
    assert done.returncode == 0, done.stderr
    assert "cp.async.bulk" not in done.stdout
    assert "trap;" not in done.stdout

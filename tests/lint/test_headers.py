"""Every header compiles alone; those of CUDA where the toolkit is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lint.layering import toolkit_chain
from lint.source import CPP, ROOT, project_files, select

FLAGS = ["-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror"]
FILES = select(project_files(), *CPP)
CUDA = {path for path in FILES if path.endswith(".cuh") or toolkit_chain(path, FILES, ())}
HEADERS = {path for path in FILES if path.endswith(".h")} - CUDA
CUDA_HEADERS = {path for path in CUDA if path.endswith(".h")}


def toolkit() -> Path | None:
    """The include folder of the CUDA toolkit, if there is one."""
    homes = [Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))]
    homes += [Path(nvcc).resolve().parents[1] for nvcc in [shutil.which("nvcc")] if nvcc]
    found = [home / "include" for home in homes if (home / "include/cuda_runtime.h").exists()]
    return found[0] if found else None


def python_flags() -> list[str]:
    """As nanobind has it: its classes are hidden, and so are those that hold them."""
    nanobind = subprocess.run(
        [sys.executable, "-m", "nanobind", "--include_dir"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    includes = ["-isystem", nanobind, "-isystem", sysconfig.get_path("include")]
    return ["-fvisibility=hidden", *includes]


def failures(headers: Iterable[str], root: Path, flags: list[str]) -> list[str]:
    """First lines of the compiler's complaints about each header that does not compile alone."""

    def compile_one(header: str) -> str | None:
        done = subprocess.run(
            ["g++", *FLAGS, *flags, "-I.", "-include", header, "-x", "c++", os.devnull],
            cwd=root, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        return None if done.returncode == 0 else f"{header}:\n{done.stderr[:2000]}"

    with ThreadPoolExecutor(2) as pool:
        return [text for text in pool.map(compile_one, sorted(headers)) if text]


@pytest.mark.timeout(600)
def test_headers_compile_alone():
    bound = {path for path in HEADERS if path.startswith("python/")}
    assert len(HEADERS) > 10
    assert failures(HEADERS - bound, ROOT, []) == []
    assert failures(bound, ROOT, python_flags()) == []


@pytest.mark.timeout(600)
def test_cuda_headers_compile_alone():
    """Host headers that use the toolkit; .cuh files are compiled by nvcc with the .cu files."""
    include = toolkit()
    if include is None:
        pytest.skip(f"no CUDA toolkit: {len(CUDA_HEADERS)} headers not compiled")
    cute = {p for p in CUDA_HEADERS if toolkit_chain(p, FILES, ())[-1].startswith("cut")}
    assert cute == set(), "CuTe belongs into .cuh and .cu files"
    assert failures(CUDA_HEADERS, ROOT, ["-isystem", str(include)]) == []


def test_headers_are_included_once():
    headers = select(FILES, ".h", ".cuh")
    assert [path for path, text in headers.items() if "\n#pragma once\n" not in text] == []


def test_a_header_that_needs_another_is_found(tmp_path):
    (tmp_path / "good.h").write_text("#pragma once\n#include <vector>\nstd::vector<int> f();\n")
    (tmp_path / "bad.h").write_text("#pragma once\nstd::vector<int> f();\n")
    found = failures(["good.h", "bad.h"], tmp_path, [])
    assert [text.split(":")[0] for text in found] == ["bad.h"]

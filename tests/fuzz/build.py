"""Builds the C++ fuzz targets by Clang, with libFuzzer and the sanitizers; `make fuzz`.

    PYTHONPATH=tests python -m fuzz.build build/fuzzers

Exit code 2 where there is no Clang with libFuzzer's runtime.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
OLDEST = 14
PROBE = 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }'


def find_clang() -> str | None:
    """The newest clang++ on PATH that makes libFuzzer programs."""
    names = [f"clang++-{version}" for version in range(40, OLDEST - 1, -1)]
    return next((name for name in [*names, "clang++"] if shutil.which(name) and links(name)), None)


def links(clang: str) -> bool:
    """Whether a Clang has the headers of C++ and the runtimes of libFuzzer and the sanitizers."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [clang, "-std=c++20", "-fsanitize=fuzzer,address,undefined", "-include", "span",
             "-x", "c++", "-", "-o", f"{folder}/probe"],
            input=PROBE, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    return done.returncode == 0


def build(clang: str, folder: str) -> int:
    """Configure and build; the exit code of what failed, or 0."""
    launcher = ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
    commands = [
        ["cmake", "-S", str(ROOT), "-B", folder, "-G", "Ninja", f"-DCMAKE_CXX_COMPILER={clang}",
         "-DWEFT_SANITIZE=fuzzer", "-DWEFT_PYTHON=OFF", "-DCMAKE_BUILD_TYPE=None",
         "-DCMAKE_CXX_FLAGS=-O1", *launcher],
        ["cmake", "--build", folder, "--target", "weft_fuzz", "--parallel", str(os.cpu_count())],
    ]  # fmt: skip
    for command in commands:
        done = subprocess.run(command, env=os.environ | {"WEFT_CUDA": "off"}, check=False)
        if done.returncode != 0:
            return done.returncode
    return 0


def main(folder: str) -> int:
    clang = find_clang()
    if clang is None:
        sys.stderr.write(
            "fuzz: the C++ targets (dlpack, config) were not built: no clang++ here has libFuzzer "
            '(Debian: clang-19 libclang-rt-19-dev); FUZZ="topology trace" leaves them out\n'
        )
        return 2
    return build(clang, folder)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""The layers' arrows hold, and the rules catch what breaks them."""

from __future__ import annotations

import pytest

from lint import layering
from lint.source import project_files

RULES = [layering.rooms, layering.cpp_arrows, layering.cuda_places, layering.python_arrows]


@pytest.mark.parametrize("rule", RULES)
def test_project_keeps_the_rule(rule):
    assert rule(project_files()) == []


@pytest.mark.parametrize(
    ("path", "include"),
    [
        ("core/base/x.h", "core/device/device.h"),
        ("core/device/sim/x.cc", "core/memory/storage.h"),
        ("core/tensor/x.h", "core/ops/copy.h"),
        ("core/io/x.cc", "topology/topology.h"),
        ("topology/x.h", "fabric/fabric.h"),
        ("fabric/cuda/x.cu", "collectives/plan.h"),
        ("collectives/x.cc", "python/bind/x.h"),
        ("abi/x.cc", "python/bind/x.h"),
        ("python/bind/x.cc", "abi/weft.h"),
        ("fabric/x.cc", "nanobind/nanobind.h"),
        ("core/base/x.cc", "tests/x.h"),
        ("collectives/schedule/x.h", "collectives/executor/sim/executor.h"),
    ],
)
def test_an_include_against_the_arrows_is_found(path, include):
    text = f'#pragma once\n#include "{include}"\n'
    assert len(layering.cpp_arrows({path: text})) == 1


def test_includes_along_the_arrows_are_fine():
    files = {
        "collectives/x.cc": '#include "fabric/fabric.h"\n#include "core/base/error.h"\n',
        "python/bind/x.cc": '#include "collectives/plan.h"\n#include <nanobind/nanobind.h>\n',
        "tests/core/x.cc": '#include "collectives/plan.h"\n',
    }
    assert layering.cpp_arrows(files) == []


@pytest.mark.parametrize("path", ["kernels/x.h", "x.py", "core/x.h", "core/extra/x.h"])
def test_an_unknown_room_is_found(path):
    assert layering.rooms({path: ""})


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("fabric/x.cu", ""),
        ("fabric/x.cc", "#include <cuda_runtime.h>\n"),
        ("fabric/x.h", "#include <cute/tensor.hpp>\n"),
        ("fabric/x.h", "__device__ int f();\n"),
        ("fabric/x.cc", "void f() { kernel<<<1, 1>>>(); }\n"),
    ],
)
def test_cuda_outside_its_folders_is_found(path, text):
    assert len(layering.cuda_places({path: text})) == 1


def test_a_toolkit_header_is_found_through_others():
    files = {
        "fabric/x.cc": '#include "fabric/y.h"\n',
        "fabric/y.h": '#include "fabric/cuda/z.h"\n',
        "fabric/cuda/z.h": "#include <cuda.h>\n",
    }
    found = layering.cuda_places(files)
    assert [line.split(":")[0] for line in found] == ["fabric/x.cc", "fabric/y.h"]
    assert "fabric/y.h -> fabric/cuda/z.h -> cuda.h" in found[0]


def test_words_in_comments_and_strings_are_not_device_code():
    text = '// a __global__ function\nconst char* s = "<<<";\n'
    assert layering.cuda_places({"fabric/x.cc": text}) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("python/weft/fabric.py", "from weft.cli import main\n"),
        ("python/weft/fabric.py", "from . import demo\n"),
        ("python/weft/nn/x.py", "def f():\n    from ..bench import rows\n"),
        ("python/weft/fabric.py", "import matplotlib.pyplot\n"),
        ("python/weft/fabric.py", "try:\n    import torch\nexcept ImportError:\n    pass\n"),
        ("python/weft/events.py", "import rich\n"),
        ("python/weft/cli/x.py", "import sklearn\n"),
        ("python/weft/x.py", "import tests.helpers\n"),
    ],
)
def test_an_import_against_the_arrows_is_found(path, text):
    assert len(layering.python_arrows({path: text})) == 1


def test_lazy_imports_are_fine():
    files = {
        "python/weft/demo.py": "def f():\n    import matplotlib\n    import rich\n",
        "python/weft/cli/x.py": "import click\nfrom weft import demo\n",
        "python/weft/x.py": "if TYPE_CHECKING:\n    import torch\n",
    }
    assert layering.python_arrows(files) == []

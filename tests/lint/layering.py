"""Who may include or import whom.

Arrows of the layers point one way:
core <- topology <- fabric <- collectives <- {python, abi <- node};
inside core the folders have an order too. CUDA lives in folders named cuda/: a file elsewhere may
neither hold device code nor reach a header of the toolkit, by however many includes.
"""

from __future__ import annotations

import ast
import re

from lint.source import CPP, Files, blank_cpp, includes, select

CORE = ["base", "device", "memory", "tensor", "iterator", "dispatch", "autograd", "ops", "io"]
LAYERS = [f"core/{name}" for name in CORE] + ["topology", "fabric", "collectives", "python", "abi"]
ORDER = {layer: i for i, layer in enumerate(LAYERS)}
ROOMS = {"core", "topology", "fabric", "collectives", "python", "tests", "abi", "node", "bench"}
ROOMS |= {"examples", "docs", "cmake"}
ROOM_FILES = {"CMakeLists.txt", "pyproject.toml", "README.md", "CONTRIBUTING.md", "LICENSE"}
ROOM_FILES |= {"Makefile"}

_TOOLKIT = re.compile(
    r"^(cuda|cute/|cutlass/|cub/|thrust/|cooperative_groups|nvtx3/|nv/|nvml|nvrtc|cublas|curand"
    r"|nccl|device_launch_parameters|driver_types|vector_types|sm_\d+)"
)
_DEVICE_CODE = re.compile(
    r"__(?:global|device|shared|constant|grid_constant)__|<<<|\basm volatile\b"
)

# Module -> the only part of python/weft that may import it when it is itself imported.
LAZY = {name: "" for name in ("matplotlib", "sklearn", "torch", "mpi4py", "ml_dtypes", "scipy")}
LAZY |= {"click": "python/weft/cli/", "rich": "python/weft/cli/"}
LAZY["mpi4py"] = "python/weft/bench/rivals/mpi_worker.py"  # a program of its own
# What the library proper must not know.
TOOLS = ("weft.cli", "weft.demo", "weft.bench")
TOOL_FILES = tuple(f"python/weft/{name}" for name in ("cli", "demo", "bench", "__main__.py"))


def layer_of(path: str) -> str | None:
    """The layer of a file, e.g. core/device; None where none applies (tests, bench, ...)."""
    parts = path.split("/")
    name = "/".join(parts[:2]) if parts[0] == "core" else parts[0]
    return name if name in ORDER else None


def in_cuda(path: str) -> bool:
    return "cuda" in path.split("/")[:-1]


def rooms(files: Files) -> list[str]:
    """Top-level names and folders of core that the house does not have."""
    found = []
    for path in files:
        parts = path.split("/")
        known = ROOM_FILES if len(parts) == 1 else ROOMS
        if not parts[0].startswith(".") and parts[0] not in known:
            found.append(f"{path}: {parts[0]} is no room of the house")
        if parts[0] == "core" and (len(parts) < 3 or parts[1] not in CORE):
            found.append(f"{path}: not in a folder of core")
    return found


def cpp_arrows(files: Files) -> list[str]:
    """Includes against the arrows."""
    found = []
    for path, text in select(files, *CPP, ".def").items():
        layer = layer_of(path)
        if layer is None:
            continue
        for line, name in includes(text):
            where = f"{path}:{line}: includes {name}"
            target = layer_of(name)
            if target and {layer, target} == {"python", "abi"}:
                found.append(f"{where}: python and abi do not know each other")
            elif target and ORDER[target] > ORDER[layer]:
                found.append(f"{where}: {target} lies above {layer}")
            elif name.split("/")[0] in ("tests", "bench", "examples"):
                found.append(f"{where}: not part of the library")
            elif name.startswith(("nanobind/", "Python.h")) and layer != "python":
                found.append(f"{where}: Python is known in python/ only")
            elif path.startswith("collectives/schedule/") and "collectives/executor/" in name:
                found.append(f"{where}: a schedule does not know its executors")
    return found


def cuda_places(files: Files) -> list[str]:
    """CUDA outside cuda/: files, device code, and toolkit headers reached by includes."""
    code = select(files, *CPP)
    found = []
    for path, text in code.items():
        if in_cuda(path):
            continue
        if path.endswith((".cu", ".cuh")):
            found.append(f"{path}: CUDA source outside a folder named cuda/")
        elif match := _DEVICE_CODE.search(blank_cpp(text)):
            found.append(f"{path}: device code outside cuda/: {match[0]}")
        elif chain := toolkit_chain(path, code, ()):
            found.append(f"{path}: reaches the CUDA toolkit: {' -> '.join(chain)}")
    return found


def toolkit_chain(path: str, code: Files, seen: tuple[str, ...]) -> list[str]:
    """The includes that lead from a file to the toolkit; empty if none do."""
    for _, name in includes(code.get(path, "")):
        if name in code and name not in seen:
            chain = toolkit_chain(name, code, (*seen, name))
            if chain:
                return [name, *chain]
        elif name not in code and _TOOLKIT.match(name):
            return [name]
    return []


def python_arrows(files: Files) -> list[str]:
    """Imports of python/weft that point the wrong way, and eager imports of what must be lazy."""
    found = []
    for path, text in select(files, ".py").items():
        if not path.startswith("python/weft/"):
            continue
        tree = ast.parse(text, path)
        is_tool = path.startswith(TOOL_FILES)
        eager = set(_eager_imports(tree))
        for node in ast.walk(tree):
            for name in imported(node, path):
                where = f"{path}:{getattr(node, 'lineno', 0)}: imports {name}"
                top = name.split(".")[0]
                if top in ("tests", "bench", "examples", "conftest"):
                    found.append(f"{where}: not part of the library")
                if not is_tool and name.startswith(TOOLS):
                    found.append(f"{where}: the library does not know its tools")
                home = LAZY.get(top)
                if home is not None and node in eager and not (home and path.startswith(home)):
                    found.append(f"{where}: only inside a function")
    return found


def _eager_imports(tree: ast.Module) -> list[ast.stmt]:
    """Import statements that run when the module is imported."""
    found: list[ast.stmt] = []
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append(node)
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not typing_only:
            todo.extend(ast.iter_child_nodes(node))
    return found


def imported(node: ast.AST, path: str) -> list[str]:
    """Full names that an import statement of the file at `path` imports; else nothing."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        package = path.removeprefix("python/").split("/")[: -node.level]
        base = ".".join([*package, *filter(None, [node.module])])
    return [f"{base}.{alias.name}" for alias in node.names]

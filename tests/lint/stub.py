"""The type stub of the extension, from the extension; as a program writes it (`make stubs`).

nanobind's generator does the work. Added here is what it takes for another module's: the exception
classes, which call themselves `weft.*` because that is where users find them.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

from nanobind.stubgen import StubGen

ROOT = Path(__file__).resolve().parents[2]
STUB = "python/weft/_weft.pyi"
FIELDS = {
    "code": "str | None",
    "rank": "int | None",
    "device": "str | None",
    "step": "int | None",
    "culprits": "tuple[int, ...]",
}


class _Generator(StubGen):
    """Knows that methods with an underscore at the end (`fill_`) work in place, and are public."""

    def put(self, value: object, name: str | None = None, parent: object | None = None) -> None:
        in_place = name is not None and name[-1] == "_" != name[0] and isinstance(parent, type)
        self.include_private = in_place
        super().put(value, name, parent)


def generate(module: ModuleType) -> str:
    """The stub of a nanobind module."""
    generator = _Generator(module)
    generator.put(module)
    package = module.__name__.rpartition(".")[0]
    text = re.sub(rf"^from {package} import \(.*?\)\n", "", generator.get(), flags=re.S | re.M)
    # Inside a class with a method numpy() that name is the method.
    text = re.sub(r"^import (numpy|numpy\.typing)$", r"import \1 as \1", text, flags=re.M)
    for name, short in (("numpy.typing", "npt"), ("numpy", "np")):
        text = text.replace(f" as {name}\n", f" as {short}\n")
        text = re.sub(rf"\b{re.escape(name)}\.(?=[A-Z]|dtype|ndarray)", f"{short}.", text)
    return "\n\n".join([text.rstrip(), *_left_out(module), *_exceptions(module)]) + "\n"


def _left_out(module: ModuleType) -> list[str]:
    """Values that the generator takes for private: names with an underscore at the end."""
    values = {n: v for n, v in vars(module).items() if n == "__version__" or n[-1] == "_" != n[0]}
    return [f"{name}: {type(value).__name__}" for name, value in values.items()]


def _exceptions(module: ModuleType) -> list[str]:
    """The module's exception classes; its own base, the first, has the fields."""
    found = []
    for name, value in vars(module).items():
        if isinstance(value, type) and issubclass(value, Exception):
            bases = ", ".join(base.__name__ for base in value.__bases__)
            fields = [f"    {f}: {kind}" for f, kind in FIELDS.items() if f in vars(value)]
            head = f"class {name}({bases}):"
            found.append("\n".join([head, *fields]) if fields else f"{head} ...")
    return found


def items(text: str) -> dict[str, str]:
    """What a stub says of each name, without docstrings and layout; members as Class.member."""
    found: dict[str, str] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = ast.unparse(ast.Tuple(elts=node.bases))
            for member in node.body:
                _add(found, member, f"{node.name}.")
        else:
            _add(found, node, "")
    return found


def _add(found: dict[str, str], node: ast.stmt, prefix: str) -> None:
    if isinstance(node, ast.FunctionDef):
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Expr(ast.Constant(...))]
        key = prefix + node.name
        found[key] = found.get(key, "") + ast.unparse(node)  # overloads and setters add up
    elif isinstance(node, ast.AnnAssign | ast.Assign):
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        found[prefix + ast.unparse(target)] = ast.unparse(node)


def differences(have: str, written: str) -> list[str]:
    """Names whose entries differ between what the extension has and what is written."""
    a, b = items(have), items(written)
    return [
        f"{name}: extension {a.get(name)!r}, stub {b.get(name)!r}"
        for name in sorted(a.keys() | b.keys())
        if a.get(name) != b.get(name)
    ]


if __name__ == "__main__":
    (ROOT / STUB).write_text(generate(importlib.import_module("weft._weft")))
    sys.stderr.write(f"wrote {STUB}\n")

"""How long files and functions are. Generated stubs and presets are exempt by name."""

from __future__ import annotations

import ast
import re

from lint.source import CPP, Files, blank_cpp, line_of, select

HARD, HARD_TESTS, MEDIAN, P90, FUNCTION = 500, 800, 150, 350, 60
Function = tuple[str, int, int]  # name, first line, lines


def measured(files: Files) -> Files:
    """The files that the limits are about."""
    code = select(files, *CPP, ".def", ".py", ".cmake", "CMakeLists.txt", "Makefile")
    return {p: t for p, t in code.items() if "/presets/" not in p}


def lines(text: str) -> int:
    return len(text.splitlines())


def long_files(files: Files) -> list[str]:
    found = []
    for path, text in measured(files).items():
        limit = HARD_TESTS if path.startswith("tests/") else HARD
        if lines(text) > limit:
            found.append(f"{path}: {lines(text)} lines, at most {limit}")
    return found


def spread(files: Files) -> tuple[int, int]:
    """Median and 90th percentile of the lengths of the files that are not tests."""
    sizes = sorted(lines(t) for p, t in measured(files).items() if not p.startswith("tests/"))
    return (sizes[len(sizes) // 2], sizes[len(sizes) * 9 // 10]) if sizes else (0, 0)


def long_functions(files: Files) -> list[str]:
    found = []
    for path, text in measured(files).items():
        if path.endswith(".py"):
            functions = python_functions(text)
        elif path.endswith(CPP):
            functions = cpp_functions(text)
        else:
            functions = []
        for name, first, length in functions:
            if length > FUNCTION:
                found.append(f"{path}:{first}: {name} has {length} lines, at most {FUNCTION}")
    return found


def python_functions(text: str) -> list[Function]:
    """Functions with their lines, less the docstring's."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node) is not None:
                doc = node.body[0]
                length -= (doc.end_lineno or doc.lineno) - doc.lineno + 1
            found.append((node.name, node.lineno, length))
    return found


_SCOPE = re.compile(r"\b(?:namespace|class|struct|union|enum)\b|^extern\s*\"\"|\bTEST_SUITE\b")
_TEMPLATE = re.compile(r"^template\s*<")
_INITIALISER = re.compile(r"\)\s*(?:noexcept\s*)?:[^:].*[\w>]$", re.DOTALL)


def cpp_functions(text: str) -> list[Function]:
    """Functions, with their lines, by their braces; a lambda is part of what it stands in."""
    code = blank_cpp(text)
    found: list[Function] = []
    start = i = 0  # where the declaration in hand begins, and the scanner's place
    while i < len(code):
        c = code[i]
        if c in ";}":
            start = i + 1
        elif c == "{":
            head = code[start:i].strip()
            declared = _without_template(head)
            if _SCOPE.search(declared.split("(")[0]) or declared == "":
                start = i + 1
            else:
                end = _closing(code, i)
                if "(" in declared and not _INITIALISER.search(declared):
                    first = line_of(code, start + len(code[start:i]) - len(code[start:i].lstrip()))
                    found.append((_name(declared), first, line_of(code, end) - first + 1))
                    start = end + 1
                i = end  # an initialiser's braces: the declaration goes on behind them
        i += 1
    return found


def _without_template(head: str) -> str:
    while _TEMPLATE.match(head):
        depth, end = 0, len(head)
        for match in re.finditer("[<>]", head):
            depth += 1 if match[0] == "<" else -1
            if depth == 0:
                end = match.end()
                break
        head = head[end:].strip()
    return head


def _closing(code: str, opening: int) -> int:
    """Where the brace that opens at `opening` closes."""
    depth = 0
    for match in re.compile(r"[{}]").finditer(code, opening):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return match.start()
    return len(code) - 1


def _name(declared: str) -> str:
    match = re.search(r"([\w:~]+|operator\s*\S+?)\s*\(", declared)
    return match[1] if match else declared[:40]

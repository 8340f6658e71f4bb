"""What tracked text may not say, how few macros there are, and that every skip has its reason."""

from __future__ import annotations

import ast
import re

from lint.source import CPP, Files, blank_cpp, line_of, select

MACROS = 6

# Written so that this file does not match itself.
_FORBIDDEN = {
    "a package registry's host": r"p[y]pi\.org|p[y]thonhosted\.org|npm[j]s\.org|npm[j]s\.com"
    r"|anaconda\.o[r]g|crates\.i[o]|pypi\.n[v]idia|ngc\.nv[i]dia",
    "a path of some machine": r"(?<![\w./-])/(?:w[o]rk|h[o]me|r[o]ot|m[n]t|U[s]ers)/[\w.-]+"
    r"|/t[m]p/(?:b[r]ief|bash_)|/opt/(?:p[y]pi|wh[e]els)",
    "who or what wrote it": r"\bsub-?ag[e]nts?\b|\bcl[a]ude\b|\banthr[o]pic\b|\bch[a]tgpt\b"
    r"|\bcop[i]lot\b|\bAI ag[e]nts?\b|\bthis s[e]ssion\b|\bla[n]guage model\b|\bthe le[a]d\b",
}


def forbidden(files: Files) -> list[str]:
    found = []
    for path, text in files.items():
        for what, pattern in _FORBIDDEN.items():
            for match in re.finditer(pattern, text, re.IGNORECASE):
                found.append(f"{path}:{line_of(text, match.start())}: {what}: {match[0]}")
    return found


def macros(files: Files) -> set[str]:
    """Names of the macros that the project defines, in code or for the compiler."""
    names = set()
    for text in select(files, *CPP, ".def").values():
        names |= set(re.findall(r"^\s*#\s*define\s+(\w+)", text, re.MULTILINE))
    for text in select(files, ".cmake", "CMakeLists.txt").values():
        for call in re.findall(r"target_compile_definitions\([^)]*\)", text):
            names |= set(re.findall(r"\b([A-Z]\w*_\w+)(?:=|\s|\))", call)) - {"PRIVATE"}
        names |= set(re.findall(r"(?<!\w)-D(WEFT_\w+)", text))
    return {name for name in names if not name.startswith("DOCTEST_")}


def too_many_macros(files: Files) -> list[str]:
    names = macros(files)
    found = [f"macro {name}: not named WEFT_*" for name in sorted(names) if name[:5] != "WEFT_"]
    if len(names) > MACROS:
        found.append(f"{len(names)} macros, at most {MACROS}: {' '.join(sorted(names))}")
    return found


def silent_skips(files: Files) -> list[str]:
    """Skips and expected failures that do not say why."""
    found = []
    for path, text in files.items():
        if path.endswith(".py"):
            for node in ast.walk(ast.parse(text, path)):
                if _is_silent_skip(node):
                    found.append(f"{path}:{node.lineno}: a skip without a reason")
        elif path.endswith(CPP) and path.startswith("tests/"):
            for match in re.finditer(r"doctest::(?:skip|may_fail|should_fail)\b", blank_cpp(text)):
                found.append(f"{path}:{line_of(text, match.start())}: {match[0]} says no reason")
    return found


def _is_silent_skip(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):  # a bare @pytest.mark.skip is no call
        return False
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return any(
            ast.unparse(d) in ("pytest.mark.skip", "pytest.mark.xfail") for d in node.decorator_list
        )
    if not isinstance(node, ast.Call):
        return False
    name = ast.unparse(node.func)
    reason = next((k.value for k in node.keywords if k.arg == "reason"), None)
    if name in ("pytest.skip", "pytest.xfail", "pytest.mark.skip", "unittest.skip"):
        reason = reason or (node.args[0] if node.args else None)
    elif name not in ("pytest.mark.skipif", "pytest.mark.xfail", "pytest.importorskip"):
        return False
    return reason is None or (isinstance(reason, ast.Constant) and not reason.value)

"""docs/configuration.md from core/base/config.def; as a program prints the page (`make docs`)."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lint.source import CPP, ROOT, Files, line_of

TABLE = "core/base/config.def"
PAGE = "docs/configuration.md"
USER_VARIABLES = 12
BUILD = {
    "WEFT_CUDA": "`auto` (default): with a toolkit, for the GPUs that are present. `on`: for every "
    "default architecture. `off`: no CUDA.",
    "WEFT_CUDA_ARCHITECTURES": "CUDA architectures in place of the default ones, e.g. `90a-real`.",
}


@dataclass(frozen=True)
class Row:
    """One row of the table, as text."""

    field: str
    name: str
    type: str
    initial: str
    allowed: str
    audience: str
    meaning: str


_ROW = re.compile(
    r'^WEFT_CONFIG\((\w+), "(\w+)", (\w+), ("[^"]*"|[^,]+), (\w+\([^)]*\)), (\w+),\s*'
    r'((?:"[^"]*"\s*)+)\)',
    re.MULTILINE,
)


def rows(table: str) -> list[Row]:
    """Rows of the table; ValueError if there is a row that cannot be read."""
    found = [
        Row(*m.groups()[:6], meaning="".join(re.findall(r'"([^"]*)"', m[7])))
        for m in _ROW.finditer(table)
    ]
    if len(found) != len(re.findall(r"^WEFT_CONFIG\(", table, re.MULTILINE)):
        raise ValueError("a row of the table cannot be read")
    return found


def _allowed(row: Row) -> str:
    if row.type == "boolean":
        return "1, true, yes, on, 0, false, no or off"
    nouns = {"integer": "an integer", "real": "a finite number", "text": "any text", "choice": ""}
    rule, _, argument = row.allowed.rstrip(")").partition("(")
    a, _, b = argument.partition(", ")
    forms = {
        "any": "",
        "above": f" above {a}",
        "above_to": f" above {a} and at most {b}",
        "at_least": f" of at least {a}",
        "between": f" from {a} to {b}",
        "one_of": "one of: " + argument.strip('"'),
    }
    return nouns[row.type] + forms[rule]


def _table(chosen: list[Row]) -> list[str]:
    lines = ["| variable | default | allowed | meaning |", "| --- | --- | --- | --- |"]
    for row in chosen:
        initial = row.initial.strip('"')
        shown = f"`{initial}`" if initial else "empty"
        lines.append(f"| `{row.name}` | {shown} | {_allowed(row)} | {row.meaning} |")
    return lines


def page(table: str) -> str:
    """The documentation page of a table."""
    all_rows = rows(table)
    lines = [
        "# Configuration",
        "",
        f"Made from `{TABLE}` by `make docs`. Variables are read once, at first use; arguments of",
        "the API win over them; an empty one counts as not set. A value that is not allowed is a",
        "`weft.Error` (`ConfigError`, a `ValueError`) that names the variable, also where an",
        "argument would win; an unknown `WEFT_*` is a warning. `weft config` shows what is in",
        "force.",
        "",
        "## For users",
        "",
        *_table([row for row in all_rows if row.audience == "user"]),
        "",
        "## For tests and debugging; may change",
        "",
        *_table([row for row in all_rows if row.audience == "internal"]),
        "",
        "## Of the build",
        "",
        "| variable | meaning |",
        "| --- | --- |",
        *(f"| `{name}` | {meaning} |" for name, meaning in BUILD.items()),
    ]
    return "\n".join(lines) + "\n"


def stray_variables(files: Files) -> list[str]:
    """Environment variables of weft that are read past the table."""
    known = {row.name for row in rows(files[TABLE])} | set(BUILD)
    found = []
    for path, text in files.items():
        if path.startswith("tests/") or not path.endswith((*CPP, ".py")):
            continue
        if path.endswith(CPP):
            for match in re.finditer(r"\bgetenv\s*\(|\benviron\b", text):
                if path != "core/base/config.cc":
                    line = line_of(text, match.start())
                    found.append(f"{path}:{line}: {match[0]}: only config.cc reads the environment")
        for match in re.finditer(r"""(?:environ|getenv)\S*?["'](WEFT_\w+)""", text):
            if path.endswith(".py") and match[1] not in known:
                found.append(f"{path}:{line_of(text, match.start())}: {match[1]} is not in {TABLE}")
    return found


def unfinished_rows(files: Files) -> list[str]:
    """Rows that say too little, and too many variables for users."""
    all_rows = rows(files[TABLE])
    users = [row for row in all_rows if row.audience == "user"]
    found = [f"{row.name}: no meaning" for row in all_rows if len(row.meaning.split()) < 3]
    if len(users) > USER_VARIABLES:
        found.append(f"{len(users)} variables for users, at most {USER_VARIABLES}")
    return found


def build_names(files: Files) -> set[str]:
    """The build's variables as config.cc lists them."""
    listed = re.search(r"kBuildVariables = \{([^}]*)\}", files["core/base/config.cc"])
    return set(re.findall(r'"(\w+)"', listed[1])) if listed else set()


if __name__ == "__main__":
    sys.stdout.write(page((ROOT / TABLE).read_text()))

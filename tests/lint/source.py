"""The project's text as the lint rules see it: a dict from path (relative, POSIX) to text.

Rules are functions from such a dict to a list of findings, so that each can be shown a planted
violation as easily as the real tree.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORPUS = "tests/fuzz/corpus/"  # whose files need be no UTF-8
CPP = (".h", ".cc", ".cu", ".cuh")
Files = dict[str, str]


def project_files() -> Files:
    """All text files that git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    files = {}
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            if b"\0" not in data[:8192]:
                files[name] = data.decode(errors="replace" if name.startswith(CORPUS) else "strict")
    return files


def select(files: Files, *suffixes: str) -> Files:
    """The files whose names end in one of the suffixes."""
    return {path: text for path, text in files.items() if path.endswith(suffixes)}


def includes(text: str) -> list[tuple[int, str]]:
    """Line and name of each #include, <> and "" alike."""
    pattern = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"]', re.MULTILINE)
    return [(line_of(text, m.start()), m[1]) for m in pattern.finditer(text)]


def line_of(text: str, offset: int) -> int:
    """The 1-based line of an offset."""
    return text.count("\n", 0, offset) + 1


_TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"([^(\s]*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'",
    re.DOTALL,
)


def blank_cpp(text: str) -> str:
    """C++ without comments, contents of literals and preprocessor lines; every line stays."""

    def blank(match: re.Match[str]) -> str:
        token = match[0]
        kept = '""' if token[0] in 'R"' else "0" if token[0] == "'" else ""
        return kept + "\n" * token.count("\n")

    code = _TOKEN.sub(blank, text)
    directive = re.compile(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", re.MULTILINE)
    return directive.sub(lambda m: "\n" * m[0].count("\n"), code)

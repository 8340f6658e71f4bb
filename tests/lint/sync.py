"""Memory ordering is written down: every ordered atomic access names the edge that it makes.

    // sync(tag): release - publishes X; pairs with acquire in Y

stands on the line of the access or in the comment just above its statement; every tag has a release
and an acquire side (acq_rel is both). Host code has no fences: ThreadSanitizer does not know them.
"""

from __future__ import annotations

import re

from lint.layering import in_cuda
from lint.source import CPP, Files, line_of, select

_ORDERED = re.compile(r"\bmemory_order(?:_|::)(?:acquire|release|acq_rel|seq_cst|consume)\b")
_TAG = re.compile(
    r"sync\(([\w.-]+)\):\s*(release|acquire|acq_rel)\b([^\n]*(?:\n\s*//(?!.*sync\()[^\n]*)*)"
)
_ACCESS = re.compile(r"(?:\.|->)\w+\(|\batomic_\w+\(")
_STATEMENT_END = re.compile(r"[;{}:]\s*(?://.*)?$")


def sources(files: Files) -> Files:
    return {p: t for p, t in select(files, *CPP).items() if not p.startswith("tests/")}


def untagged(files: Files) -> list[str]:
    """Ordered accesses without a tag."""
    found = []
    for path, text in sources(files).items():
        rows = text.splitlines()
        for i, row in enumerate(rows):
            match = _ORDERED.search(row.split("//")[0])
            if match and "sync(" not in _comment_of(rows, i) + _comment_below(rows, i):
                found.append(f"{path}:{i + 1}: {match[0]} without a sync tag")
    return found


def _comment_of(rows: list[str], i: int) -> str:
    """The comments on the statement's lines up to row i, and the block just above the statement."""
    comment = [row.partition("//")[2] for row in rows[i : i + 1]]
    while i > 0 and not rows[i - 1].lstrip().startswith("//"):
        if not rows[i - 1].strip() or _STATEMENT_END.search(rows[i - 1]):
            return "\n".join(comment)
        i -= 1
        comment.append(rows[i].partition("//")[2])
    while i > 0 and rows[i - 1].lstrip().startswith("//"):
        i -= 1
        comment.append(rows[i])
    return "\n".join(comment)


def _comment_below(rows: list[str], i: int) -> str:
    """For a statement that only chooses the order: the comment between it and the access."""
    while i + 1 < len(rows) and not _ACCESS.search(rows[i]):
        i += 1
        if rows[i].lstrip().startswith("//"):
            return rows[i]
    return ""


def unpaired(files: Files) -> list[str]:
    """Tags that lack a side, and tags that do not say what they pair with."""
    sides: dict[str, set[str]] = {}
    places: dict[str, str] = {}
    found = []
    for path, text in sources(files).items():
        for match in _TAG.finditer(text):
            tag, side, rest = match.groups()
            where = f"{path}:{line_of(text, match.start())}"
            sides.setdefault(tag, set()).update(
                ("release", "acquire") if side == "acq_rel" else (side,)
            )
            places.setdefault(tag, where)
            if "pairs with" not in re.sub(r"\s*\n\s*//\s*", " ", rest):
                found.append(f"{where}: sync({tag}) does not say what it pairs with")
    for tag, have in sides.items():
        for side in sorted({"release", "acquire"} - have):
            found.append(f"{places[tag]}: sync({tag}) has no {side} side")
    return found


def malformed(files: Files) -> list[str]:
    """Comments that look like a tag and are none."""
    found = []
    for path, text in sources(files).items():
        known = {m.start() for m in _TAG.finditer(text)}
        for match in re.finditer(r"\bsync\([^)]*\):", text):
            if match.start() not in known:
                found.append(f"{path}:{line_of(text, match.start())}: not a sync tag: {match[0]}")
    return found


def host_fences(files: Files) -> list[str]:
    found = []
    for path, text in sources(files).items():
        for match in re.finditer(r"\batomic_(?:thread|signal)_fence\b", text):
            if not in_cuda(path):
                found.append(f"{path}:{line_of(text, match.start())}: a fence in host code")
    return found

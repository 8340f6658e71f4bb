"""Text that comes from outside, and errors that say where in it something is wrong.

Invariants:
1. No more than LONGEST bytes are ever held, whatever a path leads to.
2. Whatever is wrong with a text is a TopologyError "FILE:LINE: reason".
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft import _weft
from weft._errors import invalid, named

if TYPE_CHECKING:
    from weft.topology import Topology

__all__ = ["LONGEST", "TEXT", "Source", "decoded", "load", "native", "topology", "topology_error"]

LONGEST = 16 << 20  # bytes
TEXT = "<text>"  # what a text is called that came from no file


def topology_error(message: str) -> _weft.TopologyError:
    """A TopologyError with its code set."""
    return named(_weft.TopologyError(message), "topology")


@dataclass(frozen=True)
class Source:
    """A text and the name of the file it came from."""

    text: str
    file: str = TEXT

    def error(self, line: int, reason: str) -> _weft.TopologyError:
        """The error that something is wrong in `line`, counted from 1."""
        return topology_error(f"{self.file}:{line}: {reason}")

    def line_at(self, position: int) -> int:
        """The line that the character at `position` stands in."""
        return self.text.count("\n", 0, position) + 1

    @property
    def stem(self) -> str:
        """What a machine without a name of its own is called."""
        return "topology" if self.file == TEXT else Path(self.file).stem or "topology"


def load(text_or_path: str | os.PathLike[str], opening: str) -> Source:
    """The text itself, or that of a file.

    opening: the characters that a text begins with; one that begins otherwise, in a single line, is
    the name of a file. TopologyError if it cannot be read, is too long or is not UTF-8.
    """
    if isinstance(text_or_path, os.PathLike):
        return _read(os.fspath(text_or_path))
    if not isinstance(text_or_path, str):
        raise invalid(f"a text or a path is needed, not {type(text_or_path).__name__}")
    start = text_or_path[:4096].lstrip("\ufeff \t\r\n")
    if start and start[0] not in opening and "\n" not in text_or_path:
        return _read(text_or_path)
    return decoded(_encoded(text_or_path), TEXT)


def _encoded(text: str) -> bytes:
    # A character has at least one byte, so that a long text is not encoded in vain.
    if len(text) > LONGEST:
        raise _too_long(TEXT)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise topology_error(f"{TEXT}:{line}: a lone surrogate, which is no character") from None


def _read(path: str) -> Source:
    try:
        with open(path, "rb") as file:
            data = file.read(LONGEST + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise topology_error(f"{path!r:.300}: cannot be read: {reason}") from None
    return decoded(data, path)


def decoded(data: bytes, file: str) -> Source:
    """`data`, read from `file`, as text. TopologyError as for `load`."""
    if len(data) > LONGEST:
        raise _too_long(file)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise topology_error(f"{file}:{line}: not UTF-8: {error.reason}") from None
    source = Source(text, file)
    if not text.strip():
        raise source.error(1, "empty")
    return source


def _too_long(file: str) -> _weft.TopologyError:
    return topology_error(f"{file}:1: longer than {LONGEST >> 20} MiB")


def native(document: dict[str, Any], source: Source) -> _weft.Topology:
    """The topology that a complete document is; devices and links it lacks are worked out.

    TopologyError for what only the graph as a whole shows, without a line of its own.
    """
    given = dict(document)
    if not given["devices"]:
        del given["devices"], given["links"]
    elif not given["links"] and given["vertices"]:
        del given["links"]
    try:
        return _weft.topology_from_document(given)
    except _weft.TopologyError as error:
        raise source.error(1, str(error)) from None


def topology(source: Source) -> Topology:
    """What a text says that may be JSON or NCCL's XML, by its first character."""
    from weft.topology import Topology, _json, _nccl_read

    read = _nccl_read.read if source.text.lstrip()[:1] == "<" else _json.read
    return Topology(native(read(source), source))

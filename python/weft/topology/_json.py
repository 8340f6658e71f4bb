"""Topologies as JSON, schema weft.topology/1: text <-> document.

Invariants:
1. `write` is deterministic, and `read(write(d)) == d` for every complete document.
2. What is written is read again: a document whose text would be longer than a file may be is
   refused.
3. Reading refuses what the json module lets pass: a key twice, NaN, numbers that are no numbers any
   more; and what would take long: too many brackets or commas are counted before anything is made.
4. Where something is wrong is only looked up when it is.
"""

from __future__ import annotations

import json
import re
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

from weft.topology import _schema
from weft.topology._schema import Duplicate, Fault
from weft.topology._source import LONGEST, Source, topology_error

__all__ = ["MOST_LISTED", "read", "write"]

# Of more devices links that follow from the graph are not written: 8 racks of 72 GPUs have 331,200.
MOST_LISTED = 128
# What a file of LONGEST bytes keeps well below: some 250 devices with every link listed.
MOST_BRACKETS = 250_000
MOST_COMMAS = 1_500_000
LONGEST_NUMBER = 40  # characters

_SPACE = re.compile(r"[ \t\r\n]*")


def write(document: dict[str, Any]) -> str:
    """The document as JSON: a line for each field, and for each entry of its lists.

    TopologyError for a text that is longer than what `read` takes.
    """
    lines = []
    for key, value in document.items():
        if isinstance(value, list) and value:
            entries = ",\n    ".join(_compact(entry) for entry in value)
            lines.append(f"  {_compact(key)}: [\n    {entries}\n  ]")
        else:
            lines.append(f"  {_compact(key)}: {_compact(value)}")
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    length = len(text.encode())
    if length > LONGEST:
        what = f"JSON of {length / (1 << 20):.1f} MiB, and no more than {LONGEST >> 20} MiB is read"
        raise topology_error(f"{document['name']:.60}: {what}")
    return text


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def read(source: Source) -> dict[str, Any]:
    """The complete document that the text says. Raises TopologyError."""
    _count(source, ("{", "["), MOST_BRACKETS)
    _count(source, (",",), MOST_COMMAS)
    value = _parse(source)
    try:
        return _schema.complete(value)
    except Fault as fault:
        line = source.line_at(_position(source.text, fault.path))
        where = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part:.60}"
            for part in fault.path
            if not isinstance(part, Duplicate)
        )
        reason = f"{where.lstrip('.')}: {fault.reason}" if where else fault.reason
        raise source.error(line, reason) from None


def _count(source: Source, characters: tuple[str, ...], most: int) -> None:
    if sum(source.text.count(character) for character in characters) <= most:
        return
    found = re.finditer(f"[{re.escape(''.join(characters))}]", source.text)
    for number, match in enumerate(found):
        if number == most:
            line = source.line_at(match.start())
            shown = " or ".join(f'"{character}"' for character in characters)
            raise source.error(line, f"more than {most} of {shown}")


def _parse(source: Source) -> Any:
    try:
        return json.loads(
            source.text,
            object_pairs_hook=_object,
            parse_int=_whole,
            parse_float=_real,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        raise source.error(error.lineno, f"no JSON: {error.msg}") from None
    except RecursionError:
        raise source.error(_deepest(source), "nested too deep") from None
    except _BadNumber as error:
        raise source.error(_line_of_number(source, error.spelling), error.reason) from None


def _object(pairs: list[tuple[str, Any]]) -> Any:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return Duplicate(key)
        seen.add(key)
    return members


class _BadNumber(Exception):
    def __init__(self, spelling: str, reason: str) -> None:
        super().__init__(reason)
        self.spelling, self.reason = spelling, reason


def _constant(spelling: str) -> Any:
    raise _BadNumber(spelling, f"{spelling} is no number of JSON; what is unknown is null")


def _whole(spelling: str) -> int:
    if len(spelling) > LONGEST_NUMBER:
        raise _BadNumber(spelling, f"a number of {len(spelling)} digits")
    return int(spelling)


def _real(spelling: str) -> float:
    value = float(spelling)
    if value in (float("inf"), float("-inf")):
        raise _BadNumber(spelling, f"{spelling:.40} is too large a number")
    return value


def _line_of_number(source: Source, spelling: str) -> int:
    """The line of the first number of that spelling; json does not say where it found one."""
    text, at = source.text, -1
    for _ in range(1000):  # more often it stands within texts only in a file made for that
        found = text.find(spelling, at + 1)
        if found < 0:
            break
        at, end = found, found + len(spelling)
        if text[at - 1 : at] in tuple(" \t\r\n[:,") and text[end : end + 1] in tuple(" \t\r\n,]}"):
            break
    return source.line_at(max(at, 0))


def _deepest(source: Source) -> int:
    """The line where brackets are nested deeper than any document's, those in texts included."""
    depth = 0
    for match in re.finditer(r"[\[{\]}]", source.text):
        depth += 1 if match[0] in "[{" else -1
        if depth > 100:
            return source.line_at(match.start())
    return 1


def _position(text: str, path: _schema.Path) -> int:
    """Where in `text`, which is JSON, the value at `path` begins, or the last part that exists."""
    decoder = json.JSONDecoder()
    at = _skip(text, 0)
    for part in path:
        found = _member(decoder, text, at, part) if text[at] == "{" else (
            _entry(decoder, text, at, part) if text[at] == "[" else None)  # fmt: skip
        if found is None:
            return at
        at = found
    return at


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None
    return match.end()


def _member(decoder: json.JSONDecoder, text: str, at: int, part: object) -> int | None:
    """Where the value of a key of the object at `at` begins; of a Duplicate, the second one's."""
    wanted = part.key if isinstance(part, Duplicate) else part
    left = 2 if isinstance(part, Duplicate) else 1
    at = _skip(text, at + 1)
    while text[at] == '"':
        key, at = scanstring(text, at + 1, True)
        at = _skip(text, _skip(text, at) + 1)  # over the colon
        if key == wanted:
            left -= 1
            if left == 0:
                return at
        at = _skip(text, decoder.raw_decode(text, at)[1])
        if text[at] == ",":
            at = _skip(text, at + 1)
    return None


def _entry(decoder: json.JSONDecoder, text: str, at: int, part: object) -> int | None:
    """Where an entry of the list at `at` begins."""
    at = _skip(text, at + 1)
    left = part if isinstance(part, int) else 0
    while text[at] != "]":
        if left == 0:
            return at
        left -= 1
        at = _skip(text, decoder.raw_decode(text, at)[1])
        if text[at] == ",":
            at = _skip(text, at + 1)
    return None

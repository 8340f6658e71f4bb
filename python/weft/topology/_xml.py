"""XML as a tree of elements, each with its line, for files that nobody vouches for.

Invariants:
1. No DTD, so no entities and nothing from outside; only UTF-8.
2. Depth, number of elements, attributes and their lengths are limited while parsing, not after.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.parsers import expat

from weft import _weft
from weft.topology._source import Source

__all__ = ["Element", "parse"]

DEEPEST = 64
MOST_ELEMENTS = 40_000
MOST_ATTRIBUTES = 64
LONGEST_VALUE = 1024


@dataclass
class Element:
    """One element: what it is called, what it says, and where it stands."""

    name: str
    attributes: dict[str, str]
    line: int
    children: list[Element] = field(default_factory=list)


def parse(source: Source) -> Element:
    """The root element of the text. Raises TopologyError."""
    reader = _Reader(source)
    try:
        reader.parser.Parse(source.text.encode(), True)
    except expat.ExpatError as error:
        reason = f"no XML: {expat.ErrorString(error.code)}"
        raise source.error(error.lineno, reason) from None
    assert reader.root is not None  # expat refuses a document without one
    return reader.root


class _Reader:
    """expat's callbacks, and the elements that are open."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.root: Element | None = None
        self.open: list[Element] = []
        self.elements = 0
        # The encoding given here wins over one that the text declares.
        parser = self.parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.ordered_attributes = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.EntityDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text

    def _error(self, reason: str) -> _weft.TopologyError:
        return self.source.error(self.parser.CurrentLineNumber, reason)

    def _doctype(self, *_: object) -> None:
        raise self._error("a document type or an entity is declared, which is refused")

    def _text(self, text: str) -> None:
        if text.strip():
            raise self._error(f"text between elements: {text.strip():.40}")

    def _start(self, name: str, pairs: list[str]) -> None:
        self.elements += 1
        if self.elements > MOST_ELEMENTS:
            raise self._error(f"more than {MOST_ELEMENTS} elements")
        if len(self.open) == DEEPEST:
            raise self._error(f"elements nested deeper than {DEEPEST}")
        if len(pairs) > 2 * MOST_ATTRIBUTES:
            raise self._error(f"<{name:.40}> has more than {MOST_ATTRIBUTES} attributes")
        for text in (name, *pairs):
            if len(text) > LONGEST_VALUE:
                raise self._error(f"a name or a value longer than {LONGEST_VALUE}")
            if not text.isprintable() and any(ord(character) < 32 for character in text):
                raise self._error("a control character in a value")
        attributes = dict(zip(pairs[::2], pairs[1::2], strict=True))
        element = Element(name, attributes, self.parser.CurrentLineNumber)
        if self.open:
            self.open[-1].children.append(element)
        else:
            self.root = element
        self.open.append(element)

    def _end(self, _: str) -> None:
        self.open.pop()

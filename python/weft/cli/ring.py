"""Rings drawn with characters."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

__all__ = ["draw_ring", "in_words"]

MOST_DRAWN = 16  # devices; a longer ring is told in words
_PLAIN = str.maketrans({"─": "-", "│": "|", "╯": "'", "→": ">", "…": ".", "·": "-", "µ": "u"})


def draw_ring(ring: Sequence[int], cell: Callable[[int, int], str], plain: bool) -> list[str]:
    """Lines of text: half of the ring above, half below, and the links' cells between.

    plain: without characters outside of ASCII.

    >>> for line in draw_ring([0, 1, 2, 3], lambda a, b: "NV2", plain=False): print(line)
    0 ──NV2── 1
    │         │
    NV2       NV2
    │         │
    3 ──NV2── 2
    >>> print("\\n".join(draw_ring([0, 2, 1], lambda a, b: "PIX", plain=True)))
    0 --PIX-- 2
    |         |
    PIX       |
    |         |
    1 --PIX---'
    >>> draw_ring([1, 0], lambda a, b: "NV18", plain=False)
    ['1 ──NV18── 0  and back']
    """
    lines = _words(ring) if len(ring) > MOST_DRAWN else _lines(ring, cell)
    return [line.translate(_PLAIN) for line in lines] if plain else lines


def _words(ring: Sequence[int]) -> list[str]:
    return [f"{in_words(ring)} → {ring[0]}"]


def in_words(ring: Sequence[int]) -> str:
    """ "0 → … → 71 → 80": runs by their ends.

    >>> in_words([0, 1, 2, 3, 7, 8, 5])
    '0 → … → 3 → 7 → 8 → 5'
    """
    parts: list[str] = []
    start = 0
    for i in range(1, len(ring) + 1):
        if i < len(ring) and ring[i] == ring[i - 1] + 1:
            continue
        run = ring[start:i]
        shown = map(str, run) if len(run) < 3 else (str(run[0]), "…", str(run[-1]))
        parts += shown
        start = i
    return " → ".join(parts)


def _lines(ring: Sequence[int], cell: Callable[[int, int], str]) -> list[str]:
    size = len(ring)
    if size == 1:
        return [str(ring[0])]
    if size == 2:
        return [f"{ring[0]} ──{cell(ring[0], ring[1])}── {ring[1]}  and back"]
    half = (size + 1) // 2
    top, bottom = list(ring[:half]), list(ring[half:])[::-1]
    after = dict(zip(ring, [*ring[1:], ring[0]], strict=True))
    label = max(len(cell(a, b)) for a, b in after.items())
    number = max(len(str(one)) for one in ring)
    column = number + label + 6

    def row(devices: list[int], back: bool) -> str:
        text = ""
        for one, other in itertools.pairwise(devices):
            words = cell(other, one) if back else cell(one, other)
            text += f"{one!s:<{number}} {words:─^{label + 4}} "
        return text + str(devices[-1])

    first, last = row(top, back=False), row(bottom, back=True)
    right = column * (half - 1)
    left_words, right_words = cell(bottom[0], ring[0]), cell(top[-1], after[top[-1]])
    if len(bottom) < half:  # an odd one is missing below: the line turns the corner
        corner = right - len(last) - 1
        last += " " + f"──{right_words}".ljust(corner, "─") + "╯"
        right_words = "│"
    middle = [f"{a:<{right}}{b}" for a, b in (("│", "│"), (left_words, right_words), ("│", "│"))]
    return [first, *middle, last]

"""Sizes as nccl-tests takes them: `8`, `64K`, `1G`; powers of 1024."""

from __future__ import annotations

import re

__all__ = ["parse_size", "size_steps", "size_text"]

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"([0-9]{1,15})([KMGT]?)(?:I?B)?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes. ValueError for anything else.

    >>> parse_size("64K"), parse_size("1g"), parse_size("8")
    (65536, 1073741824, 8)
    """
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a size; examples: 8, 64K, 16M, 1G")
    return int(match[1]) * _UNITS[match[2].upper()]


def size_steps(smallest: int, largest: int, factor: int, step: int | None = None) -> list[int]:
    """smallest, smallest * factor (or smallest + step), ... to largest. ValueError unless it ends.

    >>> size_steps(8, 64, 2)
    [8, 16, 32, 64]
    >>> size_steps(8, 30, 2, 10)
    [8, 18, 28]
    >>> size_steps(8, 8, 1)
    [8]
    """
    if smallest > largest:
        raise ValueError(f"the smallest size, {smallest} bytes, is above the largest, {largest}")
    if step is not None:
        if step < 1:
            raise ValueError("a step is 1 byte or more")
        return list(range(smallest, largest + 1, step))
    if factor < 2 or smallest < 1:
        if smallest == largest:
            return [smallest]
        raise ValueError("a sweep starts at 1 byte or more and has a factor of 2 or more")
    sizes = [smallest]
    while sizes[-1] * factor <= largest:
        sizes.append(sizes[-1] * factor)
    return sizes


def size_text(count: int) -> str:
    """Short: "64K", "1G", "1000".

    >>> size_text(65536), size_text(1000), size_text(8)
    ('64K', '1000', '8')
    """
    for unit in "TGMK":
        if count and count % _UNITS[unit] == 0:
            return f"{count // _UNITS[unit]}{unit}"
    return str(count)

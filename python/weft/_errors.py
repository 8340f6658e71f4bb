"""Errors raised by the Python layer itself: classes of the extension, with their fields set."""

from __future__ import annotations

import operator
from typing import TypeVar

from weft import _weft

LONGEST_TIMEOUT = 1e9  # seconds; the extension's limit

__all__ = ["invalid", "named", "seconds_or_default", "whole_number"]

E = TypeVar("E", bound=_weft.Error)


def named(error: E, code: str, *, rank: int | None = None, device: str | None = None) -> E:
    """`error` with the fields that the extension would have set."""
    error.code = code
    error.rank = rank
    error.device = device
    return error


def invalid(
    message: str, *, rank: int | None = None, device: str | None = None
) -> _weft.InvalidArgument:
    """An InvalidArgument.

    `device` without `rank` names a device that was asked for and does not exist; with it, the
    device of the one rank that the error concerns.
    """
    return named(_weft.InvalidArgument(message), "invalid_argument", rank=rank, device=device)


def _is_bool(value: object) -> bool:
    """Whether it is a bool, of Python or NumPy: to Python a number, but never one that is meant."""
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    return isinstance(value, bool) or kind == "b"


def whole_number(value: object) -> int | None:
    """`value` as an int, if it is one or has `__index__` (NumPy's integers) and is no bool."""
    if _is_bool(value):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def seconds_or_default(timeout: float | None, default: float) -> float:
    """`timeout` in seconds, checked; `default` where it is None.

    Raises InvalidArgument unless it is above 0 and at most 1e9 (some 30 years).
    """
    if timeout is None:
        return default
    try:
        if _is_bool(timeout) or isinstance(timeout, (str, bytes, bytearray)):
            raise TypeError  # float() would take them
        seconds = float(timeout)
    except (TypeError, ValueError, OverflowError):
        raise invalid(f"timeout must be a number of seconds or None, not {timeout!r}") from None
    if not 0 < seconds <= LONGEST_TIMEOUT:  # NaN is not, either
        raise invalid(f"timeout must be above 0 and at most 1e9 seconds, not {timeout!r}")
    return seconds

"""Errors raised by the Python layer itself: classes of the extension, with their fields set."""

from __future__ import annotations

import math
from typing import TypeVar

from weft import _weft

__all__ = ["invalid", "named", "seconds_or_default"]

E = TypeVar("E", bound=_weft.Error)


def named(error: E, code: str, *, device: str | None = None) -> E:
    """`error` with the fields that the extension would have set."""
    error.code = code
    error.device = device
    return error


def invalid(message: str, *, device: str | None = None) -> _weft.InvalidArgument:
    """An InvalidArgument. `device` names a device that was asked for and does not exist."""
    return named(_weft.InvalidArgument(message), "invalid_argument", device=device)


def seconds_or_default(timeout: float | None, default: float) -> float:
    """`timeout` in seconds, checked; `default` where it is None.

    Raises InvalidArgument unless it is finite and above zero.
    """
    if timeout is None:
        return default
    try:
        seconds = float(timeout)
    except (TypeError, ValueError, OverflowError):
        raise invalid(f"timeout must be a number of seconds or None, not {timeout!r}") from None
    if not math.isfinite(seconds) or seconds <= 0:
        raise invalid(f"timeout must be finite and above 0 seconds, not {timeout!r}")
    return seconds

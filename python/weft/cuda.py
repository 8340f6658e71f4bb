"""CUDA devices of this process. Nothing here needs a driver or raises without one."""

from __future__ import annotations

from weft import _weft

__all__ = ["device_count", "is_available"]


def device_count() -> int:
    """How many CUDA devices weft can use; 0 without a driver, or in a build without CUDA.

    >>> device_count() >= 0
    True
    """
    return int(_weft.cuda_device_count())


def is_available() -> bool:
    """Whether there is a CUDA device.

    >>> is_available() == (device_count() > 0)
    True
    """
    return device_count() > 0

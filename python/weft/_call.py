"""Arguments that every collective takes, checked and in the form of the extension.

What only the extension can check (shapes, dtypes, devices, memory, names of ops and algorithms) is
checked there, before anything is launched.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from weft._errors import invalid, seconds_or_default

__all__ = [
    "arguments",
    "block_limit",
    "member_list",
    "rank_number",
    "stream_handle",
    "stream_handles",
    "text",
    "wait_seconds",
]


def member_list(what: str, tensors: object) -> list[Any]:
    """`tensors` as a list. InvalidArgument unless it is a list or tuple, one tensor a rank."""
    if not isinstance(tensors, (list, tuple)):
        kind = type(tensors).__name__
        raise invalid(f"{what} must be a list with one tensor for each rank, not {kind}")
    for rank, tensor in enumerate(tensors):
        if isinstance(tensor, (list, tuple)):
            raise invalid(f"{what}: rank {rank} has a list; buckets of tensors are not there yet")
    return list(tensors)


def rank_number(what: str, value: object, size: int) -> int:
    """`value` as a rank. InvalidArgument unless it is an integer from 0 to size - 1."""
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if not 0 <= number < size:
        raise invalid(f"{what} must be a rank from 0 to {size - 1}, not {value!r}")
    return number


def arguments(
    algorithm: str, max_blocks: int | None, timeout: float | None, **particular: object
) -> dict[str, object]:
    """The arguments of a collective beside its tensors, as the extension reads them.

    particular: op, root, to, splits, group_size, where the collective has them.
    """
    return {
        "algorithm": text("algorithm", algorithm),
        "max_blocks": block_limit(max_blocks),
        "timeout": wait_seconds(timeout),
        **particular,
    }


def text(what: str, value: object) -> str:
    """`value`, checked to be a string. InvalidArgument otherwise."""
    if not isinstance(value, str):
        raise invalid(f"{what} must be a string, not {value!r}")
    return value


def block_limit(max_blocks: int | None) -> int:
    """The most workers a rank, 0 for the default. InvalidArgument unless it is 1 or more."""
    if max_blocks is None:
        return 0
    if isinstance(max_blocks, bool) or not isinstance(max_blocks, int) or max_blocks < 1:
        raise invalid(f"max_blocks must be a whole number above 0 or None, not {max_blocks!r}")
    return min(max_blocks, 1 << 20)


def wait_seconds(timeout: float | None) -> float:
    """Seconds for the extension, below 0 for the fabric's own timeout."""
    return seconds_or_default(timeout, -1.0)


def stream_handle(stream: object) -> int:
    """The CUDA handle of a stream: an int, or anything with `__cuda_stream__` or `cuda_stream`."""
    if isinstance(stream, int) and not isinstance(stream, bool):
        return stream
    protocol = getattr(stream, "__cuda_stream__", None)
    if protocol is not None:
        return int(protocol()[1])
    handle = getattr(stream, "cuda_stream", None)
    if isinstance(handle, int):
        return handle
    raise invalid(f"a stream is an int or has __cuda_stream__, and {stream!r} is neither")


def stream_handles(streams: Sequence[object] | None) -> list[int] | None:
    """`stream_handle` of each rank's stream; None stays None."""
    return None if streams is None else [stream_handle(s) for s in member_list("streams", streams)]

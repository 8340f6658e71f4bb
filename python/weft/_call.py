"""Arguments that every collective takes, checked and in the form of the extension.

What only the extension can check (shapes, dtypes, devices, memory, names of ops and algorithms) is
checked there, before anything is launched.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Sequence
from typing import Any

from weft import _weft
from weft._errors import invalid, named, seconds_or_default, whole_number
from weft.determinism import is_deterministic

__all__ = [
    "arguments",
    "block_limit",
    "bucket_lists",
    "current_streams",
    "grouping",
    "is_bucket",
    "member_list",
    "rank_number",
    "row_counts",
    "stream_handle",
    "stream_handles",
    "text",
    "wait_seconds",
]


def member_list(what: str, tensors: object, devices: Sequence[str] = ()) -> list[Any]:
    """`tensors` as a list. InvalidArgument unless it is a list or tuple, one tensor a rank.

    devices: of the ranks, for the error that concerns one of them.
    """
    if not isinstance(tensors, (list, tuple)):
        kind = type(tensors).__name__
        raise invalid(f"{what} must be a list with one tensor for each rank, not {kind}")
    for rank, tensor in enumerate(tensors):
        if isinstance(tensor, (list, tuple)):
            raise invalid(
                f"{what}: rank {rank} has a list; buckets (a list of tensors for each rank) are "
                "for all_reduce, and there all ranks have one",
                rank=rank,
                device=_device_of(rank, devices),
            )
    return list(tensors)


def is_bucket(tensors: object) -> bool:
    """Whether the ranks have lists of tensors, not a tensor each."""
    return (
        isinstance(tensors, (list, tuple))
        and len(tensors) > 0
        and isinstance(tensors[0], (list, tuple))
    )


def bucket_lists(what: str, tensors: object, devices: Sequence[str] = ()) -> list[Any]:
    """`tensors` as a list of lists. InvalidArgument unless it is a list of lists, one a rank.

    devices: of the ranks, for the error that concerns one of them.
    """
    if not isinstance(tensors, (list, tuple)):
        kind = type(tensors).__name__
        raise invalid(f"{what} must be a list with a list of tensors for each rank, not {kind}")
    for rank, given in enumerate(tensors):
        if not isinstance(given, (list, tuple)):
            raise invalid(
                f"{what}: rank {rank} has one {type(given).__name__}, other ranks have lists",
                rank=rank,
                device=_device_of(rank, devices),
            )
    return [list(given) for given in tensors]


def _device_of(rank: int, devices: Sequence[str]) -> str | None:
    return devices[rank] if rank < len(devices) else None


def rank_number(what: str, value: object, size: int) -> int:
    """`value` as a rank. InvalidArgument unless it is an integer from 0 to size - 1."""
    number = whole_number(value)
    if number is None or not 0 <= number < size:
        raise invalid(f"{what} must be a rank from 0 to {size - 1}, not {value!r}")
    return number


def row_counts(row: Any, rank: int, devices: Sequence[str]) -> list[int]:
    """The rows that `rank` gives each rank. InvalidArgument, which names it, unless they are one
    whole number from 0 on for each, and fewer than 2^63 in all."""
    ranks = len(devices)
    what = f"splits: rank {rank}'s must be {ranks} whole numbers from 0 on"
    try:
        numbers = [operator.index(x) for x in row]
    except TypeError:
        raise invalid(f"{what}, and {row!r} is not", rank=rank, device=devices[rank]) from None
    if len(numbers) != ranks:
        raise invalid(f"{what}, not {len(numbers)}", rank=rank, device=devices[rank])
    if min(numbers) < 0 or sum(numbers) >= 1 << 63:
        raise invalid(f"{what}, and {row!r} is not", rank=rank, device=devices[rank])
    return numbers


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
        "deterministic": is_deterministic(),
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
    blocks = whole_number(max_blocks)
    if blocks is None or blocks < 1:
        raise invalid(f"max_blocks must be a whole number above 0 or None, not {max_blocks!r}")
    return min(blocks, 1 << 20)


def grouping(group_size: int | None) -> dict[str, int]:
    """group_size, where it is given. InvalidArgument unless it is 1 or more."""
    if group_size is None:
        return {}
    size = whole_number(group_size)
    if size is None or not 0 < size < 1 << 20:
        raise invalid(f"group_size must be a whole number above 0, not {group_size!r}")
    return {"group_size": size}


def wait_seconds(timeout: float | None) -> float:
    """Seconds for the extension, below 0 for the fabric's own timeout."""
    return seconds_or_default(timeout, -1.0)


def stream_handle(stream: object, rank: int, device: str) -> int:
    """What the extension knows the stream of a rank on `device` by; see `weft.Stream`.

    InvalidArgument and DeviceMismatch name the rank.
    """
    return _weft.stream_handle(stream, rank, device)


def current_streams(tensors: Sequence[object]) -> list[int] | None:
    """The stream of each rank that torch works on now; None unless every rank has torch's tensors.

    For torch before its tensors offered DLPack's C exchange API.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    handles = []
    for tensor in tensors:
        if not isinstance(tensor, torch.Tensor) or not tensor.is_cuda:
            return None
        handles.append(int(torch._C._cuda_getCurrentRawStream(tensor.get_device())))
    return handles


def stream_handles(
    streams: Sequence[object] | None, devices: Sequence[str], kept: list[object]
) -> list[int] | None:
    """`stream_handle` of each rank's stream; None stays None.

    devices: of the ranks. kept: gets the streams, which have to live for the call, whatever another
    thread does to the list. WorldSizeError unless there is one stream for each.
    """
    if streams is None:
        return None
    given = member_list("streams", streams, devices)
    kept.append(given)
    if len(given) != len(devices):
        message = f"{len(given)} streams for a fabric of {len(devices)} ranks; give one a rank"
        raise named(_weft.WorldSizeError(message), "world_size")
    return [stream_handle(s, r, devices[r]) for r, s in enumerate(given)]

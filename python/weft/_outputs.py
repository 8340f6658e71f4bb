"""New outputs of the kind of the inputs: NumPy in, NumPy out."""

from __future__ import annotations

from math import prod
from typing import Any

from weft import _weft
from weft._errors import invalid, named

__all__ = ["empty_like_kind", "joined", "shape_of", "split"]


def shape_of(tensor: Any) -> tuple[int, ...]:
    """The shape that an output is made from. InvalidArgument for what is no tensor, or has none."""
    shape = getattr(tensor, "shape", None)
    if shape is not None and hasattr(shape, "__iter__"):
        return tuple(shape)
    kind = type(tensor).__name__
    if hasattr(tensor, "__dlpack__"):
        raise invalid(f"cannot make an output like a {kind}, which has no shape; give out=")
    raise invalid(
        f"{kind} is no tensor: a weft tensor, a NumPy array, or an object with __dlpack__ is needed"
    )


def empty_like_kind(tensor: Any, shape: tuple[int, ...], device: str | None = None) -> Any:
    """An uninitialised tensor of `shape`, with the type, dtype and device of `tensor`.

    device: another one, for weft tensors alone; the others of simulated ranks are host memory.
    NumPy arrays, weft tensors, anything with `new_empty` (torch) or `__array_namespace__` (the
    Python array API). InvalidArgument for others: they need out=. SizeOverflow and OutOfMemory.
    """
    # As everywhere in weft, a size of 0 does not excuse the others.
    bytes_ = prod(max(size, 1) for size in shape) * _item_bytes(tensor)
    if bytes_ >= 1 << 63:
        message = f"an output of shape {shape} would have more than 2^63 - 1 bytes"
        raise named(_weft.SizeOverflow(message), "size_overflow")
    if isinstance(tensor, _weft.Tensor):
        return _weft.empty(shape, dtype=tensor.dtype, device=device or tensor.device)
    if hasattr(tensor, "__array_interface__"):
        import numpy as np

        try:
            return np.empty(shape, tensor.dtype)
        except MemoryError as error:
            raise named(_weft.OutOfMemory(str(error)), "out_of_memory") from None
    if hasattr(tensor, "new_empty"):
        return tensor.new_empty(shape)
    if hasattr(tensor, "__array_namespace__"):
        return tensor.__array_namespace__().empty(shape, dtype=tensor.dtype, device=tensor.device)
    raise invalid(f"cannot make an output like a {type(tensor).__name__}; give out=")


def _item_bytes(tensor: Any) -> int:
    return int(getattr(getattr(tensor, "dtype", None), "itemsize", 1))


def joined(tensor: Any, ranks: int) -> Any:
    """An output with `ranks` times the rows (dimension 0) of `tensor`; of a scalar, that many."""
    shape = shape_of(tensor)
    return empty_like_kind(tensor, (shape[0] * ranks, *shape[1:]) if shape else (ranks,))


def split(tensor: Any, ranks: int, device: str | None = None) -> Any:
    """An output with an equal part of the rows of `tensor`; device: see `empty_like_kind`."""
    shape = shape_of(tensor)
    return empty_like_kind(tensor, (shape[0] // ranks, *shape[1:]) if shape else (), device)

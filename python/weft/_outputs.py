"""New outputs of the kind of the inputs: NumPy in, NumPy out."""

from __future__ import annotations

from typing import Any

from weft import _weft
from weft._errors import invalid

__all__ = ["empty_like_kind", "joined", "split"]


def empty_like_kind(tensor: Any, shape: tuple[int, ...]) -> Any:
    """An uninitialised tensor of `shape`, with the type, dtype and device of `tensor`.

    NumPy arrays, weft tensors, anything with `new_empty` (torch) or `__array_namespace__` (the
    Python array API). InvalidArgument for others: they need out=.
    """
    if isinstance(tensor, _weft.Tensor):
        return _weft.empty(shape, dtype=tensor.dtype, device=tensor.device)
    if hasattr(tensor, "__array_interface__"):
        import numpy as np

        return np.empty(shape, tensor.dtype)
    if hasattr(tensor, "new_empty"):
        return tensor.new_empty(shape)
    if hasattr(tensor, "__array_namespace__"):
        return tensor.__array_namespace__().empty(shape, dtype=tensor.dtype, device=tensor.device)
    raise invalid(f"cannot make an output like a {type(tensor).__name__}; give out=")


def joined(tensor: Any, ranks: int) -> Any:
    """An output with `ranks` times the rows (dimension 0) of `tensor`; of a scalar, that many."""
    shape = tuple(tensor.shape)
    return empty_like_kind(tensor, (shape[0] * ranks, *shape[1:]) if shape else (ranks,))


def split(tensor: Any, ranks: int) -> Any:
    """An output with an equal part of the rows of `tensor`."""
    shape = tuple(tensor.shape)
    return empty_like_kind(tensor, (shape[0] // ranks, *shape[1:]) if shape else ())

"""Which tensors tell a replay on CUDA the streams that it follows; no device is needed for that."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from weft.graph import _member_of_each


def library(name: str) -> type:
    class Lent:
        def __init__(self, ordinal: int) -> None:
            self.ordinal = ordinal

        def __dlpack_device__(self) -> tuple[int, int]:
            return (2, self.ordinal)

        def __dlpack__(self) -> None: ...

    Lent.__module__ = f"{name}.tensors"
    return Lent


ONE, OTHER = library("one"), library("other")


class Derived(ONE):  # type: ignore[misc, valid-type]
    """A class of a user's, of the library all the same."""


def members(held: list[object], *devices: str, backend: str = "cuda") -> Any:
    fabric: Any = SimpleNamespace(backend=backend, devices=list(devices))
    return _member_of_each(held, fabric)


def test_one_tensor_for_each_rank_on_its_device() -> None:
    a, b, c = ONE(0), ONE(1), Derived(0)
    held: list[object] = [([a, b], [a, b]), ([[c, a], [b]], None)]
    assert members(held, "cuda:0", "cuda:1") == [a, b]
    assert members(held, "cuda:1", "cuda:1", "cuda:0") == [b, b, a]
    assert members([c, b], "cuda:0", "cuda:1") == [c, b]


def test_nothing_where_libraries_differ_or_a_device_has_none() -> None:
    assert members([ONE(0), OTHER(1)], "cuda:0", "cuda:1") is None
    assert members([ONE(0)], "cuda:0", "cuda:1") is None
    assert members([ONE(0), 3], "cuda:0") is None
    assert members([], "cuda:0") is None
    assert members([ONE(0)], "sim:0", backend="sim") is None

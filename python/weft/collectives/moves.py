"""Collectives that only move data, from one rank or to one or to all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from weft._call import member_list, rank_number
from weft._errors import invalid
from weft._outputs import joined, split
from weft.collectives.base import Base, gathered

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from weft.collectives.base import Options
    from weft.work import Work

__all__ = ["Moves", "member"]

T = TypeVar("T")


class Moves(Base):
    """all_gather, broadcast, scatter, gather."""

    @overload
    def all_gather(
        self,
        inputs: Sequence[T],
        out: Sequence[T] | None = ...,
        *,
        async_op: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> list[T]: ...
    @overload
    def all_gather(
        self,
        inputs: Sequence[T],
        out: Sequence[T] | None = ...,
        *,
        async_op: Literal[True],
        **options: Unpack[Options],
    ) -> Work: ...
    @overload
    def all_gather(
        self,
        inputs: Sequence[T],
        out: Sequence[T] | None = ...,
        *,
        async_op: bool,
        **options: Unpack[Options],
    ) -> list[T] | Work: ...
    def all_gather(
        self,
        inputs: Sequence[T],
        out: Sequence[T] | None = None,
        *,
        algorithm: str = "auto",
        max_blocks: int | None = None,
        streams: Sequence[object] | None = None,
        timeout: float | None = None,
        async_op: bool = False,
    ) -> list[T] | Work:
        """Give every rank the tensors of all, joined along dimension 0 in rank order.

        inputs: (m, ...) on each of n ranks. out: (n m, ...). algorithm: "one_shot", "copy_engine"
        or "ring".

        >>> import numpy as np, weft
        >>> with weft.Fabric("sim:2") as fab:
        ...     both = fab.all_gather([np.array([1, 2]), np.array([3, 4])])
        >>> both[0].tolist()
        [1, 2, 3, 4]
        """
        ins = member_list("inputs", inputs, self._devices)
        outputs = (
            [self._made("all_gather", r, partial(joined, t, self.size)) for r, t in enumerate(ins)]
            if out is None
            else member_list("out", out, self._devices)
        )
        options = gathered(algorithm, max_blocks, streams, timeout, async_op)
        result: list[T] | Work = self._collective("all_gather", ins, outputs, options)
        return result

    @overload
    def broadcast(
        self,
        tensors: Sequence[T],
        root: int = ...,
        *,
        out: Sequence[T] | None = ...,
        async_op: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> list[T]: ...
    @overload
    def broadcast(
        self,
        tensors: Sequence[T],
        root: int = ...,
        *,
        out: Sequence[T] | None = ...,
        async_op: Literal[True],
        **options: Unpack[Options],
    ) -> Work: ...
    @overload
    def broadcast(
        self,
        tensors: Sequence[T],
        root: int = ...,
        *,
        out: Sequence[T] | None = ...,
        async_op: bool,
        **options: Unpack[Options],
    ) -> list[T] | Work: ...
    def broadcast(
        self,
        tensors: Sequence[T],
        root: int = 0,
        *,
        out: Sequence[T] | None = None,
        algorithm: str = "auto",
        max_blocks: int | None = None,
        streams: Sequence[object] | None = None,
        timeout: float | None = None,
        async_op: bool = False,
    ) -> list[T] | Work:
        """Give every rank the root's tensor.

        tensors: one a rank, all of one shape and dtype; without out= the others' are overwritten.
        algorithm: "one_shot", "ll" (small tensors) or "copy_engine".

        >>> import numpy as np, weft
        >>> with weft.Fabric("sim:2") as fab:
        ...     copies = fab.broadcast([np.array([1, 2]), np.array([0, 0])])
        >>> copies[1].tolist()
        [1, 2]
        """
        inputs = member_list("tensors", tensors, self._devices)
        outputs = inputs if out is None else member_list("out", out, self._devices)
        options = gathered(algorithm, max_blocks, streams, timeout, async_op)
        number = rank_number("root", root, self.size)
        result: list[T] | Work = self._collective(
            "broadcast", inputs, outputs, options, root=number
        )
        return result

    @overload
    def scatter(
        self,
        tensors: Sequence[T | None],
        root: int = ...,
        *,
        out: Sequence[T] | None = ...,
        async_op: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> list[T]: ...
    @overload
    def scatter(
        self,
        tensors: Sequence[T | None],
        root: int = ...,
        *,
        out: Sequence[T] | None = ...,
        async_op: Literal[True],
        **options: Unpack[Options],
    ) -> Work: ...
    @overload
    def scatter(
        self,
        tensors: Sequence[T | None],
        root: int = ...,
        *,
        out: Sequence[T] | None = ...,
        async_op: bool,
        **options: Unpack[Options],
    ) -> list[T] | Work: ...
    def scatter(
        self,
        tensors: Sequence[T | None],
        root: int = 0,
        *,
        out: Sequence[T] | None = None,
        algorithm: str = "auto",
        max_blocks: int | None = None,
        streams: Sequence[object] | None = None,
        timeout: float | None = None,
        async_op: bool = False,
    ) -> list[T] | Work:
        """Give each rank its part of the root's tensor.

        tensors: only the root's is looked at, (n m, ...). out: (m, ...) on every rank, rows i m to
        (i + 1) m on rank i; needed unless the ranks are simulated: there each rank gets a new
        tensor of its own device. algorithm: "one_shot" or "copy_engine".

        >>> import numpy as np, weft
        >>> with weft.Fabric("sim:2") as fab:
        ...     parts = fab.scatter([np.array([1, 2]), None])
        >>> [p.tolist() for p in parts]
        [[1], [2]]
        """
        inputs = member_list("tensors", tensors, self._devices)
        number = rank_number("root", root, self.size)
        if out is None and self._native.backend == "cuda" and self.size > 1:
            raise invalid("scatter needs out= on CUDA: the parts live on other devices")
        if out is None:
            make = partial(split, member(inputs, number), self.size)
            outputs = [self._made("scatter", number, partial(make, d)) for d in self._devices]
        else:
            outputs = member_list("out", out, self._devices)
        options = gathered(algorithm, max_blocks, streams, timeout, async_op)
        result: list[T] | Work = self._collective("scatter", inputs, outputs, options, root=number)
        return result

    @overload
    def gather(
        self,
        tensors: Sequence[T],
        root: int = ...,
        *,
        out: Sequence[T | None] | None = ...,
        async_op: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> list[T | None]: ...
    @overload
    def gather(
        self,
        tensors: Sequence[T],
        root: int = ...,
        *,
        out: Sequence[T | None] | None = ...,
        async_op: Literal[True],
        **options: Unpack[Options],
    ) -> Work: ...
    @overload
    def gather(
        self,
        tensors: Sequence[T],
        root: int = ...,
        *,
        out: Sequence[T | None] | None = ...,
        async_op: bool,
        **options: Unpack[Options],
    ) -> list[T | None] | Work: ...
    def gather(
        self,
        tensors: Sequence[T],
        root: int = 0,
        *,
        out: Sequence[T | None] | None = None,
        algorithm: str = "auto",
        max_blocks: int | None = None,
        streams: Sequence[object] | None = None,
        timeout: float | None = None,
        async_op: bool = False,
    ) -> list[T | None] | Work:
        """Give the root the tensors of all, joined along dimension 0 in rank order.

        tensors: (m, ...) on each of n ranks. out: only the root's element is looked at, (n m, ...);
        the others' outputs are None, also with out=. algorithm: "one_shot" or "copy_engine".

        >>> import numpy as np, weft
        >>> with weft.Fabric("sim:2") as fab:
        ...     both = fab.gather([np.array([1]), np.array([2])])
        >>> both[0].tolist(), both[1]
        ([1, 2], None)
        """
        inputs = member_list("tensors", tensors, self._devices)
        number = rank_number("root", root, self.size)
        outputs: list[Any] = [None] * self.size
        if out is None:
            make = partial(joined, member(inputs, number), self.size)
            outputs[number] = self._made("gather", number, make)
        else:
            given = member_list("out", out, self._devices)
            outputs = [t if rank == number else None for rank, t in enumerate(given)]
        options = gathered(algorithm, max_blocks, streams, timeout, async_op)
        result: list[T | None] | Work = self._collective(
            "gather", inputs, outputs, options, root=number
        )
        return result


def member(tensors: list[Any], rank: int) -> Any:
    """The tensor of a rank that must give one. InvalidArgument otherwise."""
    if len(tensors) <= rank or tensors[rank] is None:
        raise invalid(f"rank {rank} gives no tensor")
    return tensors[rank]

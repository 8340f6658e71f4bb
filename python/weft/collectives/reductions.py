"""Collectives that add up: all_reduce, reduce_scatter, reduce."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar, overload

from weft._call import bucket_lists, grouping, is_bucket, member_list, rank_number, text
from weft._outputs import split
from weft.collectives.base import Base, gathered

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from weft.collectives.base import Options
    from weft.work import Work

__all__ = ["Reductions"]

T = TypeVar("T")


class Reductions(Base):
    """all_reduce, reduce_scatter, reduce."""

    @overload
    def all_reduce(
        self,
        tensors: Sequence[T],
        op: str = ...,
        *,
        out: Sequence[T] | None = ...,
        group_size: int | None = ...,
        async_op: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> list[T]: ...
    @overload
    def all_reduce(
        self,
        tensors: Sequence[T],
        op: str = ...,
        *,
        out: Sequence[T] | None = ...,
        group_size: int | None = ...,
        async_op: Literal[True],
        **options: Unpack[Options],
    ) -> Work: ...
    @overload
    def all_reduce(
        self,
        tensors: Sequence[T],
        op: str = ...,
        *,
        out: Sequence[T] | None = ...,
        group_size: int | None = ...,
        async_op: bool,
        **options: Unpack[Options],
    ) -> list[T] | Work: ...
    def all_reduce(
        self,
        tensors: Sequence[T],
        op: str = "sum",
        *,
        out: Sequence[T] | None = None,
        algorithm: str = "auto",
        max_blocks: int | None = None,
        group_size: int | None = None,
        streams: Sequence[object] | None = None,
        timeout: float | None = None,
        async_op: bool = False,
    ) -> list[T] | Work:
        """Reduce the tensors of all ranks; every rank gets the same bits.

        tensors: one a rank, all of one shape and dtype. op: "sum", "avg" (floats only), "min",
        "max" or "prod". out: where the results go, one a rank; None: in place.
        A bucket: each element of `tensors` (and of `out`) is itself a list of tensors. That is one
        operation and one launch a rank, and the tensors stay where they are. They are of one dtype,
        else DTypeMismatch, of any shapes (also empty), the same on every rank for one place in the
        list. The result is a list of lists; its bits are those of a call for each, by "two_shot".
        algorithm: "ring" (Patarasuk and Yuan 2009), "halving_doubling" (Rabenseifner 2004),
        "hierarchical" and, adding in rank order and so bit for bit alike, "ll", "lamport",
        "one_shot", "one_shot_pull" (needs out=), "two_shot", "push_two_shot", "copy_engine".
        group_size: of "hierarchical", ranks a group in rank order; None: as the topology says.

        >>> import numpy as np, weft
        >>> with weft.Fabric("sim:2") as fab:
        ...     a, b = np.array([1, 5]), np.array([4, 2])
        ...     largest = fab.all_reduce([a, b], "max", out=[np.empty_like(a), np.empty_like(b)])
        >>> [x.tolist() for x in largest]
        [[4, 5], [4, 5]]
        >>> with weft.Fabric("sim:2") as fab:
        ...     sums = fab.all_reduce([[a, np.array([7])], [b, np.array([8])]])
        >>> [x.tolist() for x in sums[1]]
        [[5, 7], [15]]
        """
        listed = bucket_lists if is_bucket(tensors) else member_list
        inputs = listed("tensors", tensors, self._devices)
        outputs = inputs if out is None else listed("out", out, self._devices)
        options = gathered(algorithm, max_blocks, streams, timeout, async_op)
        result: list[T] | Work = self._collective(
            "all_reduce", inputs, outputs, options, op=text("op", op), **grouping(group_size)
        )
        return result

    @overload
    def reduce_scatter(
        self,
        inputs: Sequence[T],
        out: Sequence[T] | None = ...,
        op: str = ...,
        *,
        async_op: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> list[T]: ...
    @overload
    def reduce_scatter(
        self,
        inputs: Sequence[T],
        out: Sequence[T] | None = ...,
        op: str = ...,
        *,
        async_op: Literal[True],
        **options: Unpack[Options],
    ) -> Work: ...
    @overload
    def reduce_scatter(
        self,
        inputs: Sequence[T],
        out: Sequence[T] | None = ...,
        op: str = ...,
        *,
        async_op: bool,
        **options: Unpack[Options],
    ) -> list[T] | Work: ...
    def reduce_scatter(
        self,
        inputs: Sequence[T],
        out: Sequence[T] | None = None,
        op: str = "sum",
        *,
        algorithm: str = "auto",
        max_blocks: int | None = None,
        streams: Sequence[object] | None = None,
        timeout: float | None = None,
        async_op: bool = False,
    ) -> list[T] | Work:
        """Reduce, and give each rank its part of the result.

        inputs: (n m, ...) on each of n ranks. out: (m, ...), rows i m to (i + 1) m of the reduction
        on rank i. algorithm: "one_shot", "one_shot_pull" (both in rank order) or "ring".

        >>> import numpy as np, weft
        >>> with weft.Fabric("sim:2") as fab:
        ...     parts = fab.reduce_scatter([np.array([1, 2]), np.array([10, 20])])
        >>> [p.tolist() for p in parts]
        [[11], [22]]
        """
        ins = member_list("inputs", inputs, self._devices)
        outputs = (
            [
                self._made("reduce_scatter", r, partial(split, t, self.size))
                for r, t in enumerate(ins)
            ]
            if out is None
            else member_list("out", out, self._devices)
        )
        options = gathered(algorithm, max_blocks, streams, timeout, async_op)
        result: list[T] | Work = self._collective(
            "reduce_scatter", ins, outputs, options, op=text("op", op)
        )
        return result

    @overload
    def reduce(
        self,
        tensors: Sequence[T],
        root: int = ...,
        op: str = ...,
        *,
        out: Sequence[T | None] | None = ...,
        async_op: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> list[T]: ...
    @overload
    def reduce(
        self,
        tensors: Sequence[T],
        root: int = ...,
        op: str = ...,
        *,
        out: Sequence[T | None] | None = ...,
        async_op: Literal[True],
        **options: Unpack[Options],
    ) -> Work: ...
    @overload
    def reduce(
        self,
        tensors: Sequence[T],
        root: int = ...,
        op: str = ...,
        *,
        out: Sequence[T | None] | None = ...,
        async_op: bool,
        **options: Unpack[Options],
    ) -> list[T] | Work: ...
    def reduce(
        self,
        tensors: Sequence[T],
        root: int = 0,
        op: str = "sum",
        *,
        out: Sequence[T | None] | None = None,
        algorithm: str = "auto",
        max_blocks: int | None = None,
        streams: Sequence[object] | None = None,
        timeout: float | None = None,
        async_op: bool = False,
    ) -> list[T] | Work:
        """Reduce the tensors of all ranks into the root's; the other tensors do not change.

        tensors: one a rank, all of one shape and dtype. out: only the root's element is looked at;
        None: in place. algorithm: "two_shot" (in rank order).

        >>> import numpy as np, weft
        >>> with weft.Fabric("sim:2") as fab:
        ...     sums = fab.reduce([np.array([1, 2]), np.array([3, 4])], root=1)
        >>> [s.tolist() for s in sums]
        [[1, 2], [4, 6]]
        """
        inputs = member_list("tensors", tensors, self._devices)
        outputs = inputs if out is None else member_list("out", out, self._devices)
        options = gathered(algorithm, max_blocks, streams, timeout, async_op)
        number = rank_number("root", root, self.size)
        result: list[T] | Work = self._collective(
            "reduce", inputs, outputs, options, op=text("op", op), root=number
        )
        return result

"""Collectives that only move data: all_gather, broadcast, scatter, gather and the exchanges."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from weft._call import member_list, rank_number
from weft._errors import invalid
from weft._outputs import empty_like_kind, joined, split
from weft.collectives.base import Base, gathered

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from weft.collectives.base import Options
    from weft.work import Work

__all__ = ["Moves"]

T = TypeVar("T")


class Moves(Base):
    """all_gather, broadcast, scatter, gather, all_to_all, send_recv."""

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
            [joined(t, self.size) for t in ins]
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
        algorithm: "one_shot" or "copy_engine".

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
        (i + 1) m on rank i; needed unless the ranks are simulated. algorithm: "one_shot" or
        "copy_engine".

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
        outputs = (
            [split(_member(inputs, number), self.size) for _ in range(self.size)]
            if out is None
            else member_list("out", out, self._devices)
        )
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
        the others' outputs are None. algorithm: "one_shot" or "copy_engine".

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
            outputs[number] = joined(_member(inputs, number), self.size)
        else:
            outputs = member_list("out", out, self._devices)
        options = gathered(algorithm, max_blocks, streams, timeout, async_op)
        result: list[T | None] | Work = self._collective(
            "gather", inputs, outputs, options, root=number
        )
        return result

    @overload
    def all_to_all(
        self,
        inputs: Sequence[T],
        out: Sequence[T] | None = ...,
        *,
        splits: Sequence[Sequence[int]] | None = ...,
        async_op: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> list[T]: ...
    @overload
    def all_to_all(
        self,
        inputs: Sequence[T],
        out: Sequence[T] | None = ...,
        *,
        splits: Sequence[Sequence[int]] | None = ...,
        async_op: Literal[True],
        **options: Unpack[Options],
    ) -> Work: ...
    def all_to_all(
        self,
        inputs: Sequence[T],
        out: Sequence[T] | None = None,
        *,
        splits: Sequence[Sequence[int]] | None = None,
        algorithm: str = "auto",
        max_blocks: int | None = None,
        streams: Sequence[object] | None = None,
        timeout: float | None = None,
        async_op: bool = False,
    ) -> list[T] | Work:
        """Chunk j of rank i's input becomes chunk i of rank j's output.

        inputs: (n m, ...) on each of n ranks, cut into n equal chunks along dimension 0. out: the
        same shape, and not the inputs. splits: for uneven chunks, n x n numbers of rows:
        splits[i][j] go from rank i to rank j; then rank i's input has sum(splits[i]) rows, and rank
        j's output as many as all give it. algorithm: "one_shot" or "copy_engine".

        >>> import numpy as np, weft
        >>> with weft.Fabric("sim:2") as fab:
        ...     swapped = fab.all_to_all([np.array([1, 2]), np.array([3, 4])])
        >>> [s.tolist() for s in swapped]
        [[1, 3], [2, 4]]
        """
        ins = member_list("inputs", inputs, self._devices)
        n = self.size
        rows = None if splits is None else [_numbers("splits", row, n) for row in splits]
        if rows is not None and len(rows) != n:
            raise invalid(f"splits must have a row for each of {n} ranks, not {len(rows)}")
        if out is not None:
            outputs = member_list("out", out, self._devices)
        elif rows is None:
            outputs = [empty_like_kind(t, tuple(t.shape)) for t in ins]
        else:
            outputs = [
                empty_like_kind(t, (sum(row[rank] for row in rows), *tuple(t.shape)[1:]))
                for rank, t in enumerate(ins)
            ]
        options = gathered(algorithm, max_blocks, streams, timeout, async_op)
        particular = {} if rows is None else {"splits": [x for row in rows for x in row]}
        result: list[T] | Work = self._collective("all_to_all", ins, outputs, options, **particular)
        return result

    @overload
    def send_recv(
        self,
        tensors: Sequence[T | None],
        to: Sequence[int | None],
        *,
        out: Sequence[T | None] | None = ...,
        async_op: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> list[T | None]: ...
    @overload
    def send_recv(
        self,
        tensors: Sequence[T | None],
        to: Sequence[int | None],
        *,
        out: Sequence[T | None] | None = ...,
        async_op: Literal[True],
        **options: Unpack[Options],
    ) -> Work: ...
    def send_recv(
        self,
        tensors: Sequence[T | None],
        to: Sequence[int | None],
        *,
        out: Sequence[T | None] | None = None,
        algorithm: str = "auto",
        max_blocks: int | None = None,
        streams: Sequence[object] | None = None,
        timeout: float | None = None,
        async_op: bool = False,
    ) -> list[T | None] | Work:
        """Rank i sends its tensor to rank to[i]; None: it sends nothing.

        tensors: of those that send, all of one shape and dtype. No two ranks send to the same one.
        out: of those that receive, and not the inputs; None makes them, like the receiver's own
        tensor. Others' outputs are None. algorithm: "one_shot" or "copy_engine".

        >>> import numpy as np, weft
        >>> with weft.Fabric("sim:3") as fab:
        ...     got = fab.send_recv([np.array([r]) for r in range(3)], to=[1, 2, None])
        >>> got[0], got[1].tolist(), got[2].tolist()
        (None, [0], [1])
        """
        inputs = member_list("tensors", tensors, self._devices)
        n = self.size
        partners = [-1 if t is None else rank_number("to", t, n) for t in member_list("to", to)]
        if out is None:
            outputs: list[Any] = [
                _like_receiver(inputs, rank) if rank in partners else None for rank in range(n)
            ]
        else:
            outputs = member_list("out", out, self._devices)
        options = gathered(algorithm, max_blocks, streams, timeout, async_op)
        result: list[T | None] | Work = self._collective(
            "send_recv", inputs, outputs, options, to=partners
        )
        return result


def _numbers(what: str, row: object, count: int) -> list[int]:
    """A row of `count` integers. InvalidArgument otherwise."""
    try:
        numbers = [operator.index(x) for x in row]  # type: ignore[attr-defined]
    except TypeError:
        raise invalid(f"{what} must be lists of whole numbers, and {row!r} is not") from None
    if len(numbers) != count:
        raise invalid(f"{what} must give {count} numbers for each rank, not {len(numbers)}")
    return numbers


def _member(tensors: list[Any], rank: int) -> Any:
    if len(tensors) <= rank or tensors[rank] is None:
        raise invalid(f"rank {rank} gives no tensor")
    return tensors[rank]


def _like_receiver(tensors: list[Any], rank: int) -> Any:
    tensor = _member(tensors, rank)
    return empty_like_kind(tensor, tuple(tensor.shape))

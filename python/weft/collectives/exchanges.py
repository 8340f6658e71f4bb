"""Collectives in which ranks exchange data with each other: all_to_all, send_recv."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from weft import _weft
from weft._call import member_list, rank_number, row_counts
from weft._errors import invalid, named
from weft._outputs import empty_like_kind, shape_of
from weft.collectives.base import Base, gathered
from weft.collectives.moves import member

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from weft.collectives.base import Options
    from weft.work import Work

__all__ = ["Exchanges"]

T = TypeVar("T")


class Exchanges(Base):
    """all_to_all, send_recv."""

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
    @overload
    def all_to_all(
        self,
        inputs: Sequence[T],
        out: Sequence[T] | None = ...,
        *,
        splits: Sequence[Sequence[int]] | None = ...,
        async_op: bool,
        **options: Unpack[Options],
    ) -> list[T] | Work: ...
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
        rows = None if splits is None else _split_rows(splits, self._devices)
        if out is not None:
            outputs = member_list("out", out, self._devices)
        else:
            outputs = [
                self._made("all_to_all", rank, partial(_exchanged, t, rank, rows))
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
    @overload
    def send_recv(
        self,
        tensors: Sequence[T | None],
        to: Sequence[int | None],
        *,
        out: Sequence[T | None] | None = ...,
        async_op: bool,
        **options: Unpack[Options],
    ) -> list[T | None] | Work: ...
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
        tensor. Others' outputs are None, also with out=. algorithm: "one_shot" or "copy_engine".

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
                self._made("send_recv", rank, partial(_like_receiver, inputs, rank))
                if rank in partners
                else None
                for rank in range(n)
            ]
        else:
            given = member_list("out", out, self._devices)
            outputs = [t if rank in partners else None for rank, t in enumerate(given)]
        options = gathered(algorithm, max_blocks, streams, timeout, async_op)
        result: list[T | None] | Work = self._collective(
            "send_recv", inputs, outputs, options, to=partners
        )
        return result


def _split_rows(splits: Any, devices: list[str]) -> list[list[int]]:
    """`splits` as n x n numbers of rows. InvalidArgument, which names the rank, otherwise."""
    ranks = len(devices)
    try:
        given = list(splits)
    except TypeError:
        raise invalid(f"splits must be a list for each of {ranks} ranks, not {splits!r}") from None
    if len(given) != ranks:
        raise invalid(f"splits must have a row for each of {ranks} ranks, not {len(given)}")
    return [row_counts(row, rank, devices) for rank, row in enumerate(given)]


def _exchanged(tensor: Any, rank: int, rows: list[list[int]] | None) -> Any:
    """An output of all_to_all like the rank's input."""
    shape = shape_of(tensor)
    if rows is None:
        return empty_like_kind(tensor, shape)
    need = sum(rows[rank])
    if not shape or shape[0] != need:  # else the sizes of outputs are anything
        message = f"splits send {need} rows, and the input has shape {shape}"
        raise named(_weft.ShapeMismatch(message), "shape_mismatch")
    return empty_like_kind(tensor, (sum(row[rank] for row in rows), *shape[1:]))


def _like_receiver(tensors: list[Any], rank: int) -> Any:
    tensor = member(tensors, rank)
    return empty_like_kind(tensor, shape_of(tensor))

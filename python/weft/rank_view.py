"""`RankView`: one rank of a fabric, driven from that rank's own thread.

Ranks meet in a host rendezvous: a call blocks until every rank has made it, the last to arrive
starts the operation for all, and every caller gets the same error. What one rank's call is refused
for (an argument, a `__dlpack__` that raises), every other rank's call ends with: at once where it
waits already, or when it is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, overload

from weft._call import (
    arguments,
    current_streams,
    grouping,
    rank_number,
    row_counts,
    stream_handle,
    text,
    wait_seconds,
)
from weft._errors import invalid
from weft._outputs import empty_like_kind, joined, shape_of, split
from weft.work import Work

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from weft.fabric import Fabric

__all__ = ["RankView"]

T = TypeVar("T")


class RankOptions(TypedDict, total=False):
    """What every collective of one rank takes; see weft.collectives."""

    algorithm: str
    max_blocks: int | None
    stream: object
    timeout: float | None
    async_op: bool


class _Refusals:
    """A block in which a rank's call is prepared: an exception that leaves it ends the call of
    every other rank too, which would else wait for this one."""

    __slots__ = ("_view",)

    def __init__(self, view: RankView) -> None:
        self._view = view

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._view._fabric._native.refuse(self._view.index, error)


class RankView:
    """Rank `index` of a fabric; made by `fab.rank(index)`.

    >>> import numpy as np, threading, weft
    >>> fab = weft.Fabric("sim:2")
    >>> data = [np.ones(2), np.ones(2)]
    >>> threads = [threading.Thread(target=fab.rank(i).all_reduce, args=(data[i],)) for i in (0, 1)]
    >>> for thread in threads: thread.start()
    >>> for thread in threads: thread.join()
    >>> data[0].tolist()
    [2.0, 2.0]
    >>> fab.close()
    """

    __slots__ = ("_fabric", "_refusals", "index")

    def __init__(self, fabric: Fabric, index: int) -> None:
        self._fabric = fabric
        #: The rank, from 0.
        self.index = index
        self._refusals = _Refusals(self)

    @property
    def size(self) -> int:
        """The number of ranks of the fabric."""
        return self._fabric.size

    @property
    def device(self) -> str:
        """The device of this rank, e.g. "sim:3"."""
        return self._fabric.devices[self.index]

    @overload
    def all_reduce(
        self,
        tensor: T,
        op: str = ...,
        *,
        out: T | None = ...,
        algorithm: str = ...,
        max_blocks: int | None = ...,
        group_size: int | None = ...,
        stream: object = ...,
        timeout: float | None = ...,
        async_op: Literal[False] = ...,
    ) -> T: ...

    @overload
    def all_reduce(
        self,
        tensor: T,
        op: str = ...,
        *,
        out: T | None = ...,
        algorithm: str = ...,
        max_blocks: int | None = ...,
        group_size: int | None = ...,
        stream: object = ...,
        timeout: float | None = ...,
        async_op: Literal[True],
    ) -> Work: ...

    @overload
    def all_reduce(
        self,
        tensor: T,
        op: str = ...,
        *,
        out: T | None = ...,
        algorithm: str = ...,
        max_blocks: int | None = ...,
        group_size: int | None = ...,
        stream: object = ...,
        timeout: float | None = ...,
        async_op: bool,
    ) -> T | Work: ...

    def all_reduce(
        self,
        tensor: T,
        op: str = "sum",
        *,
        out: T | None = None,
        algorithm: str = "auto",
        max_blocks: int | None = None,
        group_size: int | None = None,
        stream: object = None,
        timeout: float | None = None,
        async_op: bool = False,
    ) -> T | Work:
        """`Fabric.all_reduce` for this rank; returns its output, or a `Work`.

        tensor: one, or a bucket: a list of tensors, as every rank must give; then out is one too.

        group_size: as in `Fabric.all_reduce`, the same on every rank.

        Blocks until every rank has called it, at most `timeout` seconds: then CollectiveTimeout, on
        every rank that came, names those that did not.
        """
        options = RankOptions(
            algorithm=algorithm,
            max_blocks=max_blocks,
            stream=stream,
            timeout=timeout,
            async_op=async_op,
        )
        with self._refusals:
            if isinstance(tensor, (list, tuple)) or isinstance(out, (list, tuple)):
                tensor, out = self._bucket(tensor, out)
            output = tensor if out is None else out
            particular = {"op": text("op", op), **grouping(group_size)}
        result: T | Work = self._collective("all_reduce", tensor, output, options, **particular)
        return result

    # The others: `Fabric`'s, for this rank. What they raise and return is the same as above.

    def reduce_scatter(
        self, tensor: T, out: T | None = None, op: str = "sum", **options: Unpack[RankOptions]
    ) -> T | Work:
        """`Fabric.reduce_scatter` for this rank: (n m, ...) in, its (m, ...) out."""
        with self._refusals:
            output = split(tensor, self.size) if out is None else out
            particular = {"op": text("op", op)}
        result: T | Work = self._collective("reduce_scatter", tensor, output, options, **particular)
        return result

    def all_gather(
        self, tensor: T, out: T | None = None, **options: Unpack[RankOptions]
    ) -> T | Work:
        """`Fabric.all_gather` for this rank: (m, ...) in, (n m, ...) out."""
        with self._refusals:
            output = joined(tensor, self.size) if out is None else out
        result: T | Work = self._collective("all_gather", tensor, output, options)
        return result

    def all_to_all(
        self,
        tensor: T,
        out: T | None = None,
        *,
        splits: Sequence[int] | None = None,
        **options: Unpack[RankOptions],
    ) -> T | Work:
        """`Fabric.all_to_all` for this rank. splits: rows for each rank; then out is needed."""
        with self._refusals:
            if splits is not None and out is None:
                raise invalid("all_to_all with splits needs out=")
            output = empty_like_kind(tensor, shape_of(tensor)) if out is None else out
            particular = {} if splits is None else {"splits": self._splits(splits)}
        result: T | Work = self._collective("all_to_all", tensor, output, options, **particular)
        return result

    def broadcast(
        self, tensor: T, root: int = 0, *, out: T | None = None, **options: Unpack[RankOptions]
    ) -> T | Work:
        """`Fabric.broadcast` for this rank."""
        with self._refusals:
            number = rank_number("root", root, self.size)
        output = tensor if out is None else out
        result: T | Work = self._collective("broadcast", tensor, output, options, root=number)
        return result

    def reduce(
        self,
        tensor: T,
        root: int = 0,
        op: str = "sum",
        *,
        out: T | None = None,
        **options: Unpack[RankOptions],
    ) -> T | Work:
        """`Fabric.reduce` for this rank; returns the root's result, or its tensor unchanged."""
        with self._refusals:
            particular = {"root": rank_number("root", root, self.size), "op": text("op", op)}
        output = tensor if out is None else out
        result: T | Work = self._collective("reduce", tensor, output, options, **particular)
        return result

    def scatter(
        self, tensor: T | None, out: T, root: int = 0, **options: Unpack[RankOptions]
    ) -> T | Work:
        """`Fabric.scatter` for this rank: the root gives `tensor`, the others None."""
        with self._refusals:
            number = rank_number("root", root, self.size)
        result: T | Work = self._collective("scatter", tensor, out, options, root=number)
        return result

    def gather(
        self, tensor: T, out: T | None = None, root: int = 0, **options: Unpack[RankOptions]
    ) -> T | Work | None:
        """`Fabric.gather` for this rank; None but on the root."""
        with self._refusals:
            number = rank_number("root", root, self.size)
            output = joined(tensor, self.size) if out is None and number == self.index else out
        result: T | Work | None = self._collective("gather", tensor, output, options, root=number)
        return result

    def send_recv(
        self,
        tensor: T | None,
        to: int | None,
        out: T | None = None,
        **options: Unpack[RankOptions],
    ) -> T | Work | None:
        """`Fabric.send_recv` for this rank: sends `tensor` to rank `to` unless that is None, and
        receives into `out` if some rank sends to it."""
        with self._refusals:
            partner = -1 if to is None else rank_number("to", to, self.size)
        result: T | Work | None = self._collective("send_recv", tensor, out, options, to=[partner])
        return result

    def _collective(
        self, name: str, tensor: Any, output: Any, options: RankOptions, **particular: Any
    ) -> Any:
        with self._refusals:
            self._check(name, tensor, options)
            given = arguments(
                options.get("algorithm", "auto"),
                options.get("max_blocks"),
                options.get("timeout"),
                **particular,
            )
            stream = self._stream_handle(
                options.get("stream"), tensor if output is None else output
            )
        operation = self._fabric._native.rank_collective(
            self.index, name, tensor, output, given, stream
        )
        async_op = options.get("async_op", False)
        self._fabric._finish(operation, (tensor, output), async_op)
        operation.raise_interruption()  # not before its tensors are held
        return Work(operation, [output]) if async_op else output

    def _check(self, name: str, tensor: Any, options: RankOptions) -> None:
        if name != "all_reduce" and isinstance(tensor, (list, tuple)):
            raise invalid(
                f"one rank's {name} takes one tensor; buckets are for all_reduce",
                rank=self.index,
                device=self.device,
            )
        unknown = set(options) - RankOptions.__annotations__.keys()
        if unknown:  # a misspelt option must not be ignored
            raise TypeError(f"{name}() got an unexpected keyword argument {min(unknown)!r}")

    def _bucket(self, tensor: Any, out: Any) -> Any:
        """Lists of its own, that the caller cannot change meanwhile."""
        for what, given in (("tensor", tensor), ("out", out)):
            if not isinstance(given, (list, tuple)) and (what == "tensor" or given is not None):
                raise invalid(
                    f"{what} must be a list like the other, not {type(given).__name__}",
                    rank=self.index,
                    device=self.device,
                )
        return list(tensor), None if out is None else list(out)

    def _splits(self, splits: object) -> list[int]:
        return row_counts(splits, self.index, self._fabric._devices)

    def _stream_handle(self, stream: object, tensor: object) -> int | None:
        if stream is not None:
            return stream_handle(stream, self.index, self.device)
        tensor = next(iter(tensor), None) if isinstance(tensor, list) else tensor
        current = current_streams([tensor]) if self._fabric._stream_ordered else None
        return None if current is None else current[0]

    def barrier(self, timeout: float | None = None) -> None:
        """Block until every rank has called it. CollectiveTimeout names those that did not come."""
        with self._refusals:
            seconds = wait_seconds(timeout)
        self._fabric._native.rank_barrier(self.index, seconds)

    def __repr__(self) -> str:
        return f"<rank {self.index} of {self.size} on {self.device}>"

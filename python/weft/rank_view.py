"""`RankView`: one rank of a fabric, driven from that rank's own thread.

Ranks meet in a host rendezvous: a call blocks until every rank has made it, the last to arrive
starts the operation for all, and every caller gets the same error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar, overload

from weft._call import block_limit, stream_handle, text, wait_seconds
from weft._errors import invalid
from weft.work import Work

if TYPE_CHECKING:
    from weft.fabric import Fabric

__all__ = ["RankView"]

T = TypeVar("T")


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

    __slots__ = ("_fabric", "index")

    def __init__(self, fabric: Fabric, index: int) -> None:
        self._fabric = fabric
        #: The rank, from 0.
        self.index = index

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
        stream: object = ...,
        timeout: float | None = ...,
        async_op: Literal[True],
    ) -> Work: ...

    def all_reduce(
        self,
        tensor: T,
        op: str = "sum",
        *,
        out: T | None = None,
        algorithm: str = "auto",
        max_blocks: int | None = None,
        stream: object = None,
        timeout: float | None = None,
        async_op: bool = False,
    ) -> T | Work:
        """`Fabric.all_reduce` for this rank; returns its output, or a `Work`.

        Blocks until every rank has called it, at most `timeout` seconds: then CollectiveTimeout, on
        every rank that came, names those that did not.
        """
        if isinstance(tensor, (list, tuple)):
            raise invalid(
                "one rank's all_reduce takes one tensor; buckets are not there yet",
                rank=self.index,
                device=self.device,
            )
        output = tensor if out is None else out
        operation = self._fabric._native.rank_all_reduce(
            self.index,
            tensor,
            out,
            text("op", op),
            text("algorithm", algorithm),
            block_limit(max_blocks),
            wait_seconds(timeout),
            None if stream is None else stream_handle(stream, self.index, self.device),
        )
        self._fabric._finish(operation, (tensor, output), async_op)
        return Work(operation, [output]) if async_op else output

    def barrier(self, timeout: float | None = None) -> None:
        """Block until every rank has called it. CollectiveTimeout names those that did not come."""
        self._fabric._native.rank_barrier(self.index, wait_seconds(timeout))

    def __repr__(self) -> str:
        return f"<rank {self.index} of {self.size} on {self.device}>"

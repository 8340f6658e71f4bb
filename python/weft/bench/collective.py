"""The collectives that can be timed: sizes as nccl-tests has them, and who gets what from whom.

A vector is described by segments of sources: rank r's input, or the reduction over all inputs. So
one check serves every collective and every implementation.
"""

from __future__ import annotations

from dataclasses import dataclass

from weft.bench.pattern import numpy_dtype

__all__ = ["COLLECTIVES", "NO_OP", "Case", "Collective", "Segment", "bus_factor", "make_case"]

#: The op of what does not reduce, as nccl-tests prints it.
NO_OP = "none"


@dataclass(frozen=True)
class Collective:
    """What sets one collective apart. Sizes are bytes of the largest vector of a rank."""

    name: str
    ops: tuple[str, ...] = ()  # those it has instead of reductions; empty: it reduces
    chunked: bool = False  # a rank's share is 1/ranks of the size; `count` is of the share
    rooted: bool = False
    in_place: bool = False  # can run in place, input and output being the same vector
    one_way: bool = False  # what limits it is one direction of a link
    moved: str = "once"  # busbw / algbw: once 1, share (n-1)/n, twice 2(n-1)/n

    @property
    def reduces(self) -> bool:
        """Whether it takes an op such as sum."""
        return not self.ops


_ALL = (
    Collective("all_reduce", in_place=True, moved="twice"),
    Collective("reduce_scatter", chunked=True, moved="share"),
    Collective("all_gather", (NO_OP,), chunked=True, moved="share"),
    Collective("broadcast", (NO_OP,), rooted=True, in_place=True, one_way=True),
    Collective("reduce", rooted=True, in_place=True, one_way=True),
    Collective("all_to_all", (NO_OP,), chunked=True, moved="share"),
    Collective("scatter", (NO_OP,), chunked=True, rooted=True, one_way=True, moved="share"),
    Collective("gather", (NO_OP,), chunked=True, rooted=True, one_way=True, moved="share"),
    Collective("send_recv", (NO_OP,)),  # each rank to the next
    Collective("p2p", ("one_way", "both_ways")),  # rank 0 to rank 1; and back at the same time
)
COLLECTIVES = {one.name: one for one in _ALL}


def bus_factor(collective: str, ranks: int) -> float:
    """busbw / algbw, as nccl-tests defines it. KeyError for an unknown collective.

    >>> bus_factor("all_reduce", 4), bus_factor("all_gather", 4), bus_factor("broadcast", 4)
    (1.5, 0.75, 1.0)
    """
    share = (ranks - 1) / ranks
    return {"once": 1.0, "share": share, "twice": 2 * share}[COLLECTIVES[collective].moved]


@dataclass(frozen=True)
class Segment:
    """`count` elements from `start` on of rank `source`'s input; of the reduction where None."""

    source: int | None
    start: int
    count: int


@dataclass(frozen=True)
class Case:
    """What is timed: one collective at one size. `count` is nccl-tests' column of that name."""

    collective: str
    dtype: str
    op: str
    count: int
    item_bytes: int
    in_place: bool
    ranks: int
    root: int = 0

    @property
    def kind(self) -> Collective:
        return COLLECTIVES[self.collective]

    @property
    def elements(self) -> int:
        """Of the largest vector of a rank."""
        return self.count * (self.ranks if self.kind.chunked else 1)

    @property
    def bytes(self) -> int:
        """Of the largest vector of a rank; what algbw refers to."""
        return self.elements * self.item_bytes

    @property
    def input_elements(self) -> int:
        """Elements of every rank's input."""
        return self.count if self.collective in ("all_gather", "gather") else self.elements

    @property
    def output_elements(self) -> int:
        """Elements of every rank's output."""
        return self.count if self.collective in ("reduce_scatter", "scatter") else self.elements

    @property
    def footprint(self) -> int:
        """Bytes that one operation touches on a rank, at most."""
        output = 0 if self.in_place else self.output_elements
        return (self.input_elements + output) * self.item_bytes

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """(from, to) of send_recv and p2p."""
        if self.collective == "send_recv":
            return [(rank, (rank + 1) % self.ranks) for rank in range(self.ranks)]
        return [(0, 1), (1, 0)] if self.op == "both_ways" else [(0, 1)]

    def expected(self, rank: int) -> list[Segment]:
        """What rank's output holds afterwards, in order; empty: it gets nothing.

        >>> make_case("reduce_scatter", "float32", "sum", 32, 2).expected(1)
        [Segment(source=None, start=4, count=4)]
        """
        k, mine, everyone = self.count, rank * self.count, range(self.ranks)
        if self.collective == "all_reduce":
            return [Segment(None, 0, k)]
        if self.collective == "reduce":
            return [Segment(None, 0, k)] if rank == self.root else []
        if self.collective == "reduce_scatter":
            return [Segment(None, mine, k)]
        if self.collective == "broadcast":
            return [Segment(self.root, 0, k)]
        if self.collective == "scatter":
            return [Segment(self.root, mine, k)]
        if self.collective == "all_to_all":
            return [Segment(source, mine, k) for source in everyone]
        if self.collective == "all_gather" or (self.collective == "gather" and rank == self.root):
            return [Segment(source, 0, k) for source in everyone]
        if self.collective == "gather":
            return []
        return [Segment(source, 0, k) for source, target in self.pairs if target == rank]


def make_case(
    collective: str,
    dtype: str,
    op: str,
    size: int,
    ranks: int,
    *,
    in_place: bool = False,
    root: int = 0,
) -> Case:
    """The case of `size` bytes or the whole elements next below, one a share at least.

    >>> make_case("all_gather", "float32", "none", 1000, 3).count
    83
    """
    item = numpy_dtype(dtype).itemsize
    shares = ranks if COLLECTIVES[collective].chunked else 1
    count = max(size // (item * shares), 1)
    return Case(collective, dtype, op, count, item, in_place, ranks, root)

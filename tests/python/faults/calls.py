"""Calls of every collective, good ones that a check makes wrong, and the four ways to make them.

`refused` is what the rows about arguments share: the error is of the class and says what it must,
nothing was launched, no byte of anybody's memory has changed, and the fabric works as before.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import weft

Array = np.ndarray[Any, Any]

COLLECTIVES = (
    "all_reduce", "reduce_scatter", "all_gather", "broadcast", "reduce", "all_to_all", "scatter",
    "gather", "send_recv", "bucket",
)  # fmt: skip
REDUCTIONS = ("all_reduce", "reduce_scatter", "reduce", "bucket")
IN_PLACE = ("all_reduce", "broadcast", "reduce", "bucket")
ROOTED = ("broadcast", "reduce", "scatter", "gather")
_SPLIT = ("reduce_scatter", "all_to_all", "scatter")  # dimension 0 is n times as long
_GUARD = 64  # bytes around each array


class Memory:
    """Host and simulated memory whose every byte is looked at, also those around the arrays."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(11)
        self._bases: list[Any] = []

    def array(self, shape: tuple[int, ...], dtype: Any = np.int64, offset: int = 0) -> Array:
        """An array of random values from 0 to 1, `offset` bytes beyond an aligned place."""
        kind = np.dtype(dtype)
        length = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        base = self._rng.integers(0, 255, length + 3 * _GUARD + offset, dtype=np.uint8)
        start = -base.ctypes.data % _GUARD + _GUARD + offset
        made = base[start : start + length].view(kind).reshape(shape)
        made[...] = self._rng.integers(0, 2, shape).astype(kind)
        self._bases.append(base)
        return made

    def on_device(self, shape: tuple[int, ...], device: str) -> weft.Tensor:
        """A tensor of int64 in the memory of a device."""
        made = weft.tensor(self._rng.integers(0, 100, shape).tolist(), dtype="int64", device=device)
        self._bases.append(made)
        return made

    def keep(self, base: Any) -> Any:
        """`base`, whose bytes count from now on."""
        self._bases.append(base)
        return base

    def contents(self) -> list[bytes]:
        """All bytes there are."""
        return [np.asarray(base).tobytes() for base in self._bases]


@dataclass
class Call:
    """One call of a collective: what each rank gives and gets, and the arguments beside that."""

    name: str
    world: int
    memory: Memory
    inputs: list[Any]
    outputs: list[Any] | None  # None: in place, or made by the call
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def method(self) -> str:
        return "all_reduce" if self.name == "bucket" else self.name

    @property
    def givers(self) -> list[int]:
        """The ranks whose input is looked at."""
        return [1] if self.name == "scatter" else list(range(self.world))

    @property
    def getters(self) -> list[int]:
        """The ranks whose output is looked at."""
        return [1] if self.name in ("reduce", "gather") else list(range(self.world))

    def get(self, what: str, rank: int) -> Any:
        """A rank's tensor; of a bucket, the second."""
        tensor = getattr(self, what)[rank]
        return tensor[1] if self.name == "bucket" else tensor

    def put(self, what: str, rank: int, tensor: Any) -> None:
        """Another tensor for a rank."""
        given = getattr(self, what)
        given[rank] = [given[rank][0], tensor] if self.name == "bucket" else tensor

    def keywords(self) -> dict[str, Any]:
        out = {} if self.outputs is None else {"out": self.outputs}
        return {**self.arguments, **out}

    def of_rank(self, rank: int) -> tuple[Any, dict[str, Any]]:
        """What one rank says in its own thread."""
        own = dict(self.arguments)
        for name in ("to", "splits"):
            if name in own:
                own[name] = own[name][rank]
        if self.outputs is not None:
            own["out"] = self.outputs[rank]
        return self.inputs[rank], own


def rooted(name: str, world: int) -> dict[str, Any]:
    """The arguments that a collective cannot do without; the root is rank 1."""
    if name == "send_recv":
        return {"to": [(rank + 1) % world for rank in range(world)]}
    return {"root": 1} if name in ROOTED else {}


def sizes(name: str, world: int, rows: int, rest: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    """The shapes of an input and an output; `rows` are those of the smaller one."""
    whole, part = (rows * world, *rest), (rows, *rest)
    if name in ("all_gather", "gather"):
        return [part, whole]
    return [whole if name in _SPLIT else part, whole if name == "all_to_all" else
            part]  # fmt: skip


Make = Callable[[tuple[int, ...], int], Any]


def call(
    name: str, world: int = 3, rows: int = 4, rest: tuple[int, ...] = (), dtype: Any = np.int64,
    make: Make | None = None, memory: Memory | None = None,
) -> Call:  # fmt: skip
    """A good call, out of place. make: a tensor of a shape for a rank; None: arrays of dtype."""
    memory = memory or Memory()
    make = make or (lambda shape, rank: memory.array(shape, dtype))
    given, got = sizes(name, world, rows, rest)

    def tensors(shape: tuple[int, ...], ranks: Sequence[int]) -> list[Any]:
        made = [make(shape, rank) if rank in ranks else None for rank in range(world)]
        if name == "bucket":
            return [[make((3,), rank), tensor] for rank, tensor in enumerate(made)]
        return made

    made = Call(name, world, memory, [], None, rooted(name, world))
    made.inputs = tensors(given, made.givers)
    made.outputs = tensors(got, made.getters)
    return made


def oracle(made: Call) -> list[Any]:
    """The array that each rank must get from inputs that are NumPy's; None for none."""
    n, ins = made.world, [made.get("inputs", r) for r in range(made.world)]
    with np.errstate(over="ignore"):
        total = ins[0] if made.name == "scatter" else sum(ins[1:], ins[0])
    if made.name in ("all_reduce", "bucket"):
        return [total] * n
    if made.name == "reduce":
        return [total if r == 1 else None for r in range(n)]
    if made.name == "broadcast":
        return [ins[1].copy()] * n
    if made.name == "send_recv":
        return [ins[(r - 1) % n].copy() for r in range(n)]
    if made.name in ("all_gather", "gather"):
        joined = np.concatenate([np.atleast_1d(x) for x in ins])
        return [joined if r in made.getters else None for r in range(n)]
    if made.name == "all_to_all":
        return list(
            np.stack([np.split(x, n) for x in ins]).swapaxes(0, 1).reshape(n, *ins[0].shape)
        )
    return [np.array(part) for part in np.split(ins[1] if made.name == "scatter" else total, n)]


def in_threads(count: int, work: Callable[[int], Any]) -> list[BaseException | None]:
    """Runs work(0) ... work(count - 1), a thread each; what each raised."""
    errors: list[BaseException | None] = [None] * count

    def run(index: int) -> None:
        try:
            work(index)
        except BaseException as error:
            errors[index] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    return errors


def _error_of(what: Callable[[], Any]) -> list[BaseException | None]:
    try:
        what()
    except Exception as error:
        return [error]
    return [None]


def listed(fabric: weft.Fabric, made: Call) -> list[BaseException | None]:
    """One call for all ranks."""
    method = getattr(fabric, made.method)
    return _error_of(lambda: method(made.inputs, **made.keywords()))


def asynchronous(fabric: weft.Fabric, made: Call) -> list[BaseException | None]:
    """One call for all ranks, that is waited for."""
    method = getattr(fabric, made.method)
    return _error_of(lambda: method(made.inputs, **made.keywords(), async_op=True).wait())


def captured(fabric: weft.Fabric, made: Call) -> list[BaseException | None]:
    """One call for all ranks, recorded and then replayed."""

    def record() -> None:
        graph = weft.Graph()
        with graph.capture(fabric):
            getattr(fabric, made.method)(made.inputs, **made.keywords())
        graph.replay()

    return _error_of(record)


def by_ranks(fabric: weft.Fabric, made: Call) -> list[BaseException | None]:
    """A call of each rank, from its own thread."""

    def one(rank: int) -> None:
        tensor, own = made.of_rank(rank)
        getattr(fabric.rank(rank), made.method)(tensor, **own)

    return in_threads(made.world, one)


Way = Callable[[weft.Fabric, Call], list[BaseException | None]]
WHOLE: tuple[Way, ...] = (listed, asynchronous, captured)  # all ranks at once
WAYS: tuple[Way, ...] = (*WHOLE, by_ranks)


def works(fabric: weft.Fabric) -> None:
    """The fabric is not poisoned, and its next collective has the right bits."""
    fabric.check()
    data = [np.arange(100, dtype=np.int64) * (rank + 1) for rank in range(fabric.size)]
    want = sum(data[1:], data[0])
    for got in fabric.all_reduce(data):
        assert got.tobytes() == want.tobytes()


def unchanged(fabric: weft.Fabric, memory: Memory, what: Callable[[], Any]) -> Any:
    """What `what` returns, if it launched nothing and changed nothing."""
    before = memory.contents(), fabric.stats(), fabric.events().next_seq
    result = what()
    assert memory.contents() == before[0], "memory has changed"
    assert fabric.stats() == before[1], "statistics have changed"
    assert fabric.events().next_seq == before[2], "an event was recorded"
    works(fabric)
    return result


def refused(
    made: Call, error: type[weft.Error], *patterns: str, ways: Sequence[Way] = WAYS
) -> list[weft.Error]:
    """Every caller gets an error of that very class; nothing was launched, nothing has changed.

    patterns: what the message says, of each error. Returns the errors.
    """
    caught: list[weft.Error] = []
    with weft.Fabric(f"sim:{made.world}", timeout=30) as fabric:
        works(fabric)
        for way in ways:
            errors = unchanged(fabric, made.memory, lambda way=way: way(fabric, made))
            for one in errors:
                assert type(one) is error, f"{way.__name__}: {one!r}"
                assert one.code
                for pattern in patterns:
                    assert re.search(pattern, str(one)), f"{way.__name__}: {one} lacks {pattern}"
                caught.append(one)
    return caught


def accepted(made: Call, ways: Sequence[Way] = WAYS) -> None:
    """Every way gives the outputs that they must be, and writes nothing else."""
    want = oracle(made)
    with weft.Fabric(f"sim:{made.world}", timeout=30) as fabric:
        for way in ways:
            before = made.memory.contents()
            assert set(way(fabric, made)) == {None}, way.__name__
            for rank in made.getters:
                got = made.get("outputs", rank)
                assert got.tobytes() == want[rank].tobytes(), f"{way.__name__}: rank {rank}"
                got[...] = 0
            _only_outputs(made, before)


def _only_outputs(made: Call, before: list[bytes]) -> None:
    """Beside the outputs, which were set to 0, every byte is as it was."""
    for base, old in zip(made.memory._bases, before, strict=True):
        new = np.asarray(base)
        kept = np.frombuffer(old, np.uint8).copy()
        differs = np.flatnonzero(new.view(np.uint8).ravel() != kept)
        if differs.size:
            outputs = [made.get("outputs", rank) for rank in made.getters]
            outputs += [o[0] for o in made.outputs or [] if isinstance(o, list)]
            touched = np.zeros(new.nbytes, bool)
            for output in outputs:
                for address in addresses(output):
                    at = address - new.ctypes.data
                    if 0 <= at < new.nbytes:
                        touched[at : at + output.itemsize] = True
            assert touched[differs].all(), "bytes around an output have changed"


def addresses(array: Array) -> list[int]:
    """Where each element lies."""
    offsets = np.zeros(array.shape, np.int64)
    for axis, (size, stride) in enumerate(zip(array.shape, array.strides, strict=True)):
        shape = [1] * array.ndim
        shape[axis] = size
        offsets += (np.arange(size) * stride).reshape(shape)
    return [int(array.ctypes.data + o) for o in offsets.ravel()]

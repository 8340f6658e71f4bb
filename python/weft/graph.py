"""`Graph`: operations of a fabric, recorded once and run as often as wanted.

Thread safety: one thread at a time uses a graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, overload

from weft._call import stream_handles
from weft._errors import invalid
from weft._recording import Held, new_token

if TYPE_CHECKING:
    from weft import _weft
    from weft.fabric import Fabric

__all__ = ["Graph"]


def _leaves(held: object) -> Iterator[object]:
    if isinstance(held, (list, tuple)):
        for each in held:
            yield from _leaves(each)
    elif held is not None:
        yield held


def _library(tensor: object) -> str:
    """The package whose class says how the tensor is lent."""
    bases = (base for base in type(tensor).__mro__ if "__dlpack__" in vars(base))
    return next(bases, type(tensor)).__module__.partition(".")[0]


def _member_of_each(held: object, fabric: Fabric) -> list[object] | None:
    """A tensor on the device of each rank: its library says which stream it works on there.

    None if they are of several libraries, or there is none on some device.
    """
    if fabric.backend != "cuda":
        return None
    found: dict[str, object] = {}
    for tensor in _leaves(held):
        device = getattr(tensor, "__dlpack_device__", None)
        if device is None:
            return None
        found.setdefault(f"cuda:{device()[1]}", tensor)
    libraries = {_library(tensor) for tensor in _leaves(held)}
    if len(libraries) != 1 or not found.keys() >= set(fabric.devices):
        return None
    return [found[device] for device in fabric.devices]


class Graph:
    """What a fabric is asked for in a `with graph.capture(fabric)` block, recorded, not done.

    On CUDA it becomes one CUDA graph a rank, so that a replay costs one launch for each device,
    however many operations it holds. The tensors must live, and stay where they are, for as long as
    the graph; it holds references to them.

    >>> import numpy as np, weft
    >>> with weft.Fabric("sim:2") as fab:
    ...     data = [np.ones(2), np.ones(2)]
    ...     graph = weft.Graph()
    ...     with graph.capture(fab):
    ...         _ = fab.all_reduce(data)
    ...     for _ in range(3):
    ...         _ = graph.replay()
    >>> data[0].tolist()
    [8.0, 8.0]
    """

    def __init__(self) -> None:
        self._fabric: Fabric | None = None
        self._recorded: _weft.RecordedGraph | None = None
        self._held = Held()
        self._members: list[object] | None = None

    @contextmanager
    def capture(self, fabric: Fabric) -> Iterator[None]:
        """Record the collectives that `fabric` is asked for in the block, from any thread.

        They are checked as ever, and return at once with outputs that hold nothing yet. What is
        copied by the host (non-contiguous tensors, `Fabric.copy`) is InvalidArgument. A call that
        was under way when the block began is not recorded: it waits for its result as ever. An
        exception in the block drops the recording. Not blocking, but for operations under way on
        CUDA.
        """
        from weft.fabric import Fabric

        if not isinstance(fabric, Fabric):
            raise invalid(f"capture records what a Fabric is asked for, not {fabric!r}")
        if self._recorded is not None:
            raise invalid("this graph holds a recording already; make another")
        held = Held()
        token = new_token(held)
        fabric._native.begin_capture(token)
        try:
            yield
            self._recorded = fabric._native.end_capture()
            self._fabric, self._held = fabric, held
            self._members = _member_of_each(held, fabric)
        finally:
            if self._recorded is None:
                fabric._native.drop_capture(token)

    @overload
    def replay(
        self, timing: Literal[False] = ..., *, streams: Sequence[object] | None = ...
    ) -> None: ...
    @overload
    def replay(self, timing: Literal[True], *, streams: Sequence[object] | None = ...) -> float: ...
    def replay(
        self, timing: bool = False, *, streams: Sequence[object] | None = None
    ) -> float | None:
        """Run what was recorded, after what the fabric was asked for before.

        On CUDA it is stream-ordered; on simulated devices it returns when all is done. streams: one
        a rank, as the collectives take them; those given while recording do not count. None: the
        current streams of the library (PyTorch) that all recorded tensors are of, else the default
        streams. timing: wait for the end, and return the microseconds from start to end, of the
        slowest device: on its own clock (CUDA), or on the host's.
        Raises InvalidArgument without a recording, FabricPoisoned, FabricClosed, and what the
        operations raise.
        """
        if self._recorded is None or self._fabric is None:
            raise invalid("this graph holds no recording yet; see Graph.capture")
        if not isinstance(timing, bool):
            raise invalid(f"timing is True or False, not {timing!r}")
        start = perf_counter()
        kept: list[object] = []
        handles = stream_handles(streams, self._fabric._devices, kept)
        if handles is None and self._members is not None:
            handles = self._fabric._native.current_streams(self._members)
        operation = self._recorded.replay(timing, handles)
        self._fabric._finish(operation, self._held, async_op=False)
        if not timing:
            return None
        operation.wait(None)
        on_device = self._recorded.elapsed_us
        return 1e6 * (perf_counter() - start) if on_device is None else float(on_device)

    @property
    def operations(self) -> list[dict[str, Any]]:
        """`Work.info` of each operation that was recorded, in order."""
        return [] if self._recorded is None else [dict(i) for i in self._recorded.operations]

    @property
    def info(self) -> dict[str, Any]:
        """`Work.info` of the first operation; empty where there is none."""
        return self.operations[0] if self.operations else {}

    def __repr__(self) -> str:
        state = "empty" if self._recorded is None else f"{len(self.operations)} operations"
        return f"<weft.Graph: {state}>"

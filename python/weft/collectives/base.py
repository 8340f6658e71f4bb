"""What every collective shares: the options, and the way into the extension."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

from weft import _weft
from weft._call import arguments, stream_handles
from weft._errors import named
from weft.work import Work

__all__ = ["Base", "Options", "gathered"]


class Options(TypedDict, total=False):
    """What every collective takes; see the module."""

    algorithm: str
    max_blocks: int | None
    streams: Sequence[object] | None
    timeout: float | None


class Base:
    """What the collectives need of a fabric."""

    _native: _weft.Fabric
    _devices: list[str]
    _stream_ordered: bool

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of ranks."""

    @abstractmethod
    def _finish(self, operation: _weft.Operation, tensors: object, async_op: bool) -> None: ...

    def _made(self, name: str, rank: int, make: Callable[[], Any]) -> Any:
        """The output that `make` makes for a rank; its refusal says whose it is."""
        try:
            return make()
        except _weft.Error as error:
            device = self._devices[rank] if rank < len(self._devices) else None
            refusal = type(error)(f"{name}: rank {rank}: {error}")
            raise named(refusal, str(error.code), rank=rank, device=device) from None

    def _collective(
        self,
        name: str,
        inputs: list[Any],
        outputs: list[Any],
        options: dict[str, Any],
        **particular: Any,
    ) -> Any:
        async_op = options.pop("async_op")
        kept: list[object] = []
        streams = stream_handles(options.pop("streams"), self._devices, kept)
        operation = self._native.collective(
            name,
            inputs,
            None if outputs is inputs else outputs,
            arguments(**options, **particular),
            streams,
        )
        self._finish(operation, (inputs, outputs), async_op)
        operation.raise_interruption()  # not before its tensors are held
        return Work(operation, outputs) if async_op else outputs


def gathered(
    algorithm: str,
    max_blocks: int | None,
    streams: Sequence[object] | None,
    timeout: float | None,
    async_op: bool,
) -> dict[str, Any]:
    """The options of a call, as `Base._collective` takes them."""
    return {
        "algorithm": algorithm,
        "max_blocks": max_blocks,
        "streams": streams,
        "timeout": timeout,
        "async_op": async_op,
    }

"""Inputs of the GPU tests, and how their results are compared."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

import weft

torch: Any = pytest.importorskip("torch", reason="the GPU tests use PyTorch's tensors")

DTYPES = {
    "bool": torch.bool,
    "uint8": torch.uint8,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "float8_e4m3fn": torch.float8_e4m3fn,
    "float8_e5m2": torch.float8_e5m2,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}


FLOAT8 = ("float8_e4m3fn", "float8_e5m2")


def _cannot_lend(name: str) -> str:
    """Why PyTorch does not lend tensors of that dtype; empty if it does."""
    try:
        torch.zeros(4, dtype=torch.uint8).view(DTYPES[name]).__dlpack__()
    except (BufferError, RuntimeError) as error:
        return f"PyTorch {torch.__version__} does not lend {name}: {error}"
    return ""


def dtypes(*names: str) -> list[Any]:
    """Parameters of a test: those that this PyTorch does not lend are skipped, and say so."""
    reasons = {name: _cannot_lend(name) if name in FLOAT8 else "" for name in names}
    return [
        pytest.param(name, marks=pytest.mark.skipif(bool(why), reason=why or "it does"))
        for name, why in reasons.items()
    ]


def random_inputs(ranks: int, elements: int, dtype: str, op: str, seed: int = 1) -> list[Any]:
    """One CPU tensor a rank: small enough for prod to stay finite, any bits for integers."""
    generator = torch.Generator().manual_seed(seed)
    kind = DTYPES[dtype]

    def one() -> Any:
        if kind is torch.bool:
            return torch.rand(elements, generator=generator) < 0.5
        if kind.is_floating_point:
            values = torch.rand(elements, generator=generator, dtype=torch.float64)
            if op == "prod":
                return (0.5 + 1.5 * values).to(kind)
            return (2 * values - 1).to(kind)
        limits = torch.iinfo(kind)
        low, high = max(limits.min, -(2**62)), min(limits.max, 2**62)
        return torch.randint(low, high, (elements,), generator=generator, dtype=kind)

    return [one() for _ in range(ranks)]


def bits(tensor: Any) -> Any:
    """The tensor's bytes on the host, to compare bit for bit."""
    return tensor.cpu().contiguous().view(torch.uint8)


def synchronize(fabric: weft.Fabric) -> None:
    """Wait for all of the fabric's devices."""
    for device in sorted(set(fabric.devices)):
        torch.cuda.synchronize(device)


def captured(streams: list[Any], work: Any) -> Any:
    """A graph of torch's: `work(rank)` on every rank's stream, forked from rank 0's and joined.

    work: called with None, once, between the two, to put on what all ranks do together.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=streams[0], capture_error_mode="relaxed"):
        fork = torch.cuda.Event()
        fork.record(streams[0])
        for stream in streams[1:]:
            stream.wait_event(fork)
        for together in (False, True, False):
            with ExitStack() as on:
                for rank, stream in enumerate(streams):
                    on.enter_context(torch.cuda.stream(stream))
                    if not together:
                        work(rank, stream)
                if together:
                    work(None, None)
        for stream in streams[1:]:
            join = torch.cuda.Event()
            join.record(stream)
            streams[0].wait_event(join)
    return graph

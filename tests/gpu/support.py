"""Inputs of the GPU tests, and how their results are compared."""

from __future__ import annotations

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="the GPU tests use PyTorch's tensors")

DTYPES = {
    "bool": torch.bool,
    "uint8": torch.uint8,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}


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

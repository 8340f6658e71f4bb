"""What the GPU tests share: a test that needs more CUDA devices than there are is skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import weft


@pytest.fixture(autouse=True)
def _enough_devices(request: pytest.FixtureRequest) -> None:
    """Skip what needs more CUDA devices than there are."""
    needed = 2 if request.node.get_closest_marker("gpu2") else 1
    found = weft.cuda.device_count()
    if found < needed:
        pytest.skip(f"needs {needed} CUDA device(s), found {found}")


@pytest.fixture(scope="module")
def fabrics() -> Iterator[Callable[[str], weft.Fabric]]:
    """Fabrics by their specification, opened once a module."""
    opened: dict[str, weft.Fabric] = {}

    def get(spec: str) -> weft.Fabric:
        if spec not in opened:
            opened[spec] = weft.Fabric(spec)
        return opened[spec]

    yield get
    for fabric in opened.values():
        fabric.close()

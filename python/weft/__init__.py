"""weft: single-process, multi-GPU collectives and fabric research on its own eager tensor core.

    import numpy as np, weft

    with weft.Fabric() as fab:                 # every CUDA device, or 4 simulated ones
        fab.all_reduce([np.ones(8) for _ in range(fab.size)])

Importing it needs no driver and no GPU. What is heavy loads at first use.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

from weft import _weft, cuda
from weft._weft import (
    AliasError,
    CollectiveAborted,
    CollectiveTimeout,
    ConfigError,
    CoResidencyError,
    CudaError,
    Device,
    DeviceLost,
    DeviceMismatch,
    DType,
    DTypeMismatch,
    Error,
    Event,
    FabricClosed,
    FabricPoisoned,
    InternalError,
    InvalidArgument,
    OutOfMemory,
    PeerAccessError,
    ReadOnlyBuffer,
    ShapeMismatch,
    SizeOverflow,
    Stream,
    Tensor,
    TopologyError,
    WorldSizeError,
    arange,
    bfloat16,
    empty,
    empty_like,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    from_dlpack,
    from_numpy,
    full,
    full_like,
    int8,
    int16,
    int32,
    int64,
    ones,
    ones_like,
    tensor,
    uint8,
    zeros,
    zeros_like,
)
from weft._weft import bool_ as bool

if TYPE_CHECKING:
    from weft import topology
    from weft.determinism import deterministic, is_deterministic
    from weft.events import Events
    from weft.fabric import Fabric
    from weft.graph import Graph
    from weft.rank_view import RankView
    from weft.work import Work

__version__: str = _weft.__version__

_LAZY = {
    "Events": "weft.events",
    "Fabric": "weft.fabric",
    "deterministic": "weft.determinism",
    "is_deterministic": "weft.determinism",
    "Graph": "weft.graph",
    "RankView": "weft.rank_view",
    "Work": "weft.work",
}
_LAZY_MODULES = ("topology",)

__all__ = [
    "AliasError",
    "CoResidencyError",
    "CollectiveAborted",
    "CollectiveTimeout",
    "ConfigError",
    "CudaError",
    "DType",
    "DTypeMismatch",
    "Device",
    "DeviceLost",
    "DeviceMismatch",
    "Error",
    "Event",
    "Events",
    "Fabric",
    "FabricClosed",
    "FabricPoisoned",
    "Graph",
    "InternalError",
    "InvalidArgument",
    "OutOfMemory",
    "PeerAccessError",
    "RankView",
    "ReadOnlyBuffer",
    "ShapeMismatch",
    "SizeOverflow",
    "Stream",
    "Tensor",
    "TopologyError",
    "Work",
    "WorldSizeError",
    "__version__",
    "arange",
    "bfloat16",
    "bool",
    "cuda",
    "deterministic",
    "empty",
    "empty_like",
    "float8_e4m3fn",
    "float8_e5m2",
    "float16",
    "float32",
    "float64",
    "from_dlpack",
    "from_numpy",
    "full",
    "full_like",
    "int8",
    "int16",
    "int32",
    "int64",
    "is_deterministic",
    "ones",
    "ones_like",
    "tensor",
    "topology",
    "uint8",
    "zeros",
    "zeros_like",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
    elif name in _LAZY_MODULES:
        value = importlib.import_module(f"weft.{name}")
    else:
        raise AttributeError(f"module 'weft' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))


def _warn_of_unknown_variables() -> None:
    """One RuntimeWarning for each WEFT_* variable that nothing reads."""
    try:
        unknown = _weft.config_warnings()
    except ConfigError:
        return  # said by the first call that needs the value
    for message in unknown:  # of no line of anybody's code
        warnings.warn_explicit(message, RuntimeWarning, "<environment>", 1, module="weft")


_warn_of_unknown_variables()

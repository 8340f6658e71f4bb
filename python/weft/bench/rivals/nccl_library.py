"""NCCL by ctypes: found, loaded and called. NVLink multicast (NVLS) is always off.

NCCL reads its environment when it is loaded, so `load` sets NCCL_NVLS_ENABLE=0 before.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import threading
from collections.abc import Iterable, Sequence
from ctypes import byref, c_int, c_size_t, c_void_p
from pathlib import Path
from typing import Any

from weft import _weft
from weft._errors import named
from weft.bench.collective import Case
from weft.bench.runner import RivalUnavailableError

__all__ = ["DTYPES", "OPS", "Nccl", "find", "load", "refuse", "require"]

#: ncclDataType_t and ncclRedOp_t.
DTYPES = {
    "int8": 0, "uint8": 1, "int32": 2, "int64": 4, "float16": 6, "float32": 7, "float64": 8,
    "bfloat16": 9, "float8_e4m3fn": 10, "float8_e5m2": 11,
}  # fmt: skip
OPS = {"sum": 0, "prod": 1, "max": 2, "min": 3, "avg": 4}
_BYTE = DTYPES["uint8"]
_SYMMETRIC = 1  # NCCL_WIN_COLL_SYMMETRIC
_FLOAT8_SINCE = 22400

#: One call: the function and its arguments.
Call = tuple[Any, tuple[Any, ...]]


def refuse(case_op: str, dtype: str, ranks: int) -> None:
    """RivalUnavailableError where NCCL has no such reduction, or not the exact result."""
    if case_op not in OPS:
        return
    if dtype not in DTYPES:
        raise RivalUnavailableError(f"NCCL has no {case_op} of {dtype}; compare without it")
    if case_op == "avg" and ranks & (ranks - 1):
        raise RivalUnavailableError(
            "NCCL multiplies by 1/n before it adds: avg is exact only for 2, 4, 8, ... ranks"
        )


def require(nccl: Nccl, kinds: Iterable[tuple[str, str]]) -> None:
    """RivalUnavailableError where this version does not reduce one of the (dtype, op) `kinds`."""
    for dtype, op in kinds:
        if op in OPS and dtype.startswith("float8") and nccl.number() < _FLOAT8_SINCE:
            raise RivalUnavailableError(
                f"NCCL reduces {dtype} from 2.24 on; this is {nccl.version()}"
            )


def find(path: str | None = None) -> str:
    """The path of libnccl.so.2: `path`, else of the package that torch uses, else the loader's.

    RivalUnavailableError where `path` is no file. Imports nothing.
    """
    if path is not None:
        if not Path(path).is_file():
            raise RivalUnavailableError(f"--nccl {path}: no such file")
        return path
    try:
        spec = importlib.util.find_spec("nvidia.nccl")
    except ModuleNotFoundError:
        spec = None
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        library = Path(folder) / "lib" / "libnccl.so.2"
        if library.is_file():
            return str(library)
    return "libnccl.so.2"


def load(path: str) -> Nccl:
    """The library at `path`, with multicast off. RivalUnavailableError if it does not load."""
    os.environ["NCCL_NVLS_ENABLE"] = "0"
    try:
        return Nccl(ctypes.CDLL(path))
    except OSError as error:
        raise RivalUnavailableError(
            f"NCCL does not load: {error}; pip install nvidia-nccl-cu13, or --nccl PATH"
        ) from error


class Nccl:
    """`library`: libnccl as ctypes loads it, or a stand-in."""

    def __init__(self, library: Any) -> None:
        self._library = library
        library.ncclGetErrorString.restype = ctypes.c_char_p
        self.group_start = library.ncclGroupStart
        self.group_end = library.ncclGroupEnd

    def has(self, name: str) -> bool:
        """Whether this version has the function."""
        return hasattr(self._library, name)

    def check(self, status: int, what: str) -> None:
        """InternalError, with NCCL's words, unless `status` is 0."""
        if status != 0:
            said = self._library.ncclGetErrorString(c_int(status))
            words = said.decode() if said else "unknown error"
            error = _weft.InternalError(f"{what}: {words} (NCCL error {status})")
            raise named(error, "internal")

    def call(self, name: str, *arguments: Any) -> None:
        """`name`(*arguments), checked."""
        self.check(getattr(self._library, name)(*arguments), name)

    def version(self) -> str:
        """E.g. "2.28.9"."""
        number = self.number()
        return f"{number // 10000}.{number // 100 % 100}.{number % 100}"

    def number(self) -> int:
        """The version as NCCL counts, e.g. 22809."""
        number = c_int()
        self.call("ncclGetVersion", byref(number))
        return number.value

    def communicators(self, ordinals: Sequence[int], timeout: float) -> list[c_void_p]:
        """One for each device, all of this process. CollectiveTimeout after `timeout` seconds."""
        handles = (c_void_p * len(ordinals))()
        devices = (c_int * len(ordinals))(*ordinals)
        status: list[int] = []

        def start() -> None:
            status.append(self._library.ncclCommInitAll(handles, c_int(len(ordinals)), devices))

        # NCCL's own start has no deadline; left behind, the thread ends with the process.
        thread = threading.Thread(target=start, daemon=True)
        thread.start()
        thread.join(timeout)
        if not status:
            late = _weft.CollectiveTimeout(f"ncclCommInitAll did not end within {timeout} s")
            raise named(late, "collective_timeout")
        self.check(status[0], "ncclCommInitAll")
        return [c_void_p(handle) for handle in handles]

    def register(
        self, communicators: Sequence[c_void_p], addresses: Sequence[int], size: int
    ) -> list[c_void_p]:
        """Symmetric windows over `size` bytes of each rank."""
        windows = [c_void_p() for _ in addresses]
        self.call("ncclGroupStart")
        for comm, address, window in zip(communicators, addresses, windows, strict=True):
            arguments = (comm, c_void_p(address), c_size_t(size), byref(window), c_int(_SYMMETRIC))
            self.call("ncclCommWindowRegister", *arguments)
        self.call("ncclGroupEnd")
        return windows

    def calls(
        self, case: Case, rank: int, comm: c_void_p, stream: c_void_p, given: int, out: int
    ) -> list[Call]:
        """What `rank` calls for one operation, between group start and end."""
        end = (comm, stream)
        # What is only moved is moved as bytes: NCCL does not know every type.
        moves = case.op not in OPS
        dtype = c_int(_BYTE if moves else DTYPES[case.dtype])
        count = case.count * case.item_bytes if moves else case.count
        middle: tuple[Any, ...] = (c_size_t(count), dtype)
        if not moves:
            middle += (c_int(OPS[case.op]),)
        if case.kind.rooted:
            middle += (c_int(case.root),)
        buffers = (c_void_p(given), c_void_p(out))
        name = _WHOLE.get(case.collective)
        if name is not None and self.has(name):
            return [(getattr(self._library, name), (*buffers, *middle, *end))]
        return [
            (
                getattr(self._library, "ncclSend" if sends else "ncclRecv"),
                (c_void_p((given if sends else out) + at * count), *middle[:2], c_int(peer), *end),
            )
            for sends, at, peer in _messages(case, rank)
        ]


_WHOLE = {
    "all_reduce": "ncclAllReduce",
    "reduce_scatter": "ncclReduceScatter",
    "all_gather": "ncclAllGather",
    "broadcast": "ncclBroadcast",
    "reduce": "ncclReduce",
    "all_to_all": "ncclAlltoAll",  # from 2.28 on, as the two below
    "scatter": "ncclScatter",
    "gather": "ncclGather",
}


def _messages(case: Case, rank: int) -> list[tuple[bool, int, int]]:
    """(whether it sends, which share of its vector, the other rank) of `rank`."""
    everyone = range(case.ranks)
    if case.collective == "all_to_all":
        return [m for peer in everyone for m in ((True, peer, peer), (False, peer, peer))]
    if case.collective == "scatter":
        sent = [(True, peer, peer) for peer in everyone] if rank == case.root else []
        return [*sent, (False, 0, case.root)]
    if case.collective == "gather":
        got = [(False, peer, peer) for peer in everyone] if rank == case.root else []
        return [*got, (True, 0, case.root)]
    sent = [(True, 0, target) for source, target in case.pairs if source == rank]
    return sent + [(False, 0, source) for source, target in case.pairs if target == rank]

"""The native part of weft. Private: import weft instead."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt



def config() -> list:
    """
    Every run-time variable: name, type, default, value, problem, allowed, meaning, internal.

    problem: why the environment's value is unusable, or None; value is then the default.
    """

def config_warnings() -> list[str]:
    """One sentence for each unknown WEFT_* variable in the environment."""

class DType:
    """
    An element type: `weft.float32` and so on. Equal to its name.

    >>> weft.float32.itemsize, weft.float32 == "float32", str(weft.bool)
    (4, True, 'bool')
    """

    @property
    def name(self) -> str:
        """"float32", "bool", ..."""

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""

    @property
    def is_floating(self) -> bool:
        """A floating-point type, of 8 to 64 bits?"""

    def __eq__(self, other: object) -> bool: ...

    def __hash__(self) -> int: ...

    def __str__(self) -> str: ...

    def __repr__(self) -> str: ...

    def __reduce__(self) -> str: ...

uint8: DType = ...

int8: DType = ...

int16: DType = ...

int32: DType = ...

int64: DType = ...

float8_e4m3fn: DType = ...

float8_e5m2: DType = ...

float16: DType = ...

bfloat16: DType = ...

float32: DType = ...

float64: DType = ...

class Device:
    """
    A device of this process: "cpu", "sim:0" to "sim:63", "cuda:0" and so on.
    Equal to its name. Raises InvalidArgument for one that is not there.

    >>> d = weft.Device("sim:3")
    >>> d.kind, d.index, str(d)
    ('sim', 3, 'sim:3')
    """

    def __init__(self, name: Device | str) -> None: ...

    @property
    def kind(self) -> str:
        """"cpu", "sim" or "cuda"."""

    @property
    def index(self) -> int:
        """Which one of its kind, from 0."""

    def __eq__(self, other: object) -> bool: ...

    def __hash__(self) -> int: ...

    def __str__(self) -> str: ...

    def __repr__(self) -> str: ...

    def __reduce__(self) -> tuple[type[Device], tuple[str]]: ...

class Tensor:
    """
    A typed, shaped view of memory on one device. Made by `weft.zeros`, `weft.tensor`,
    `weft.from_dlpack`, ...; indexing gives views of the same memory.

    >>> t = weft.zeros((2, 3), dtype=weft.float32, device="sim:0")
    >>> t.shape, t.dtype, str(t.device), t.strides
    ((2, 3), weft.float32, 'sim:0', (3, 1))
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions."""

    @property
    def strides(self) -> tuple[int, ...]:
        """From one index to the next in each dimension, in elements."""

    @property
    def dtype(self) -> DType:
        """Type of the elements."""

    @property
    def device(self) -> Device:
        """Where the memory is."""

    @property
    def ndim(self) -> int:
        """Number of dimensions, 0 to 64."""

    @property
    def size(self) -> int:
        """Number of elements."""

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""

    @property
    def read_only(self) -> bool:
        """May nobody write this memory through weft?"""

    def data_ptr(self) -> int:
        """Address of the first element."""

    def is_contiguous(self) -> bool:
        """Are the elements in row-major order without gaps?"""

    def numpy(self) -> npt.NDArray[Any]:
        """
        A NumPy array: the same memory on "cpu" and simulated devices (read-only if the
        tensor is), a copy of a CUDA tensor, for which it blocks. bfloat16 and float8
        need ml_dtypes.

        >>> t = weft.zeros(2, device="sim:0")
        >>> t.numpy()[0] = 5
        >>> t
        tensor([5., 0.], dtype=float32, device='sim:0')
        """

    def to(self, target: DType | Device | str | type | np.dtype[Any] | None = None, *, dtype: DType | str | type | np.dtype[Any] | None = None, device: Device | str | None = None) -> Tensor:
        """
        The tensor with another dtype or on another device; itself if it is so already.
        Blocks. Integers wrap, as in NumPy's astype.

        >>> weft.arange(2).to("sim:3").to(weft.float64)
        tensor([0., 1.], dtype=float64, device='sim:3')
        """

    def item(self) -> bool | int | float:
        """
        The number in a tensor of one element. Blocks for CUDA. Raises InvalidArgument.

        >>> weft.full((1, 1), 2.5).item()
        2.5
        """

    def tolist(self) -> Any:
        """
        Nested lists of Python numbers; a number for 0 dimensions. Blocks for CUDA.

        >>> weft.ones(1, 2).tolist()
        [[1.0, 1.0]]
        """

    def __bool__(self) -> bool: ...

    def __int__(self) -> int: ...

    def __float__(self) -> float: ...

    def __repr__(self) -> str: ...

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]: ...

    def __dlpack__(self, *, stream: object = None, max_version: tuple[int, int] | None = None, dl_device: tuple[int, int] | None = None, copy: bool | None = None) -> Any:
        """
        A DLPack capsule over the same memory, or over a copy. Simulated memory is CPU.

        stream: None or -1; for CUDA also 1, 2, a stream's address or what weft.Stream
        takes for one: what comes next on it follows the default stream, and so what was
        given no stream. Raises InvalidArgument for another one, DeviceMismatch,
        ReadOnlyBuffer for a read-only tensor and a consumer from before DLPack 1.0,
        BufferError where dl_device and copy ask for what cannot be.

        >>> import numpy
        >>> numpy.from_dlpack(weft.arange(3))
        array([0, 1, 2])
        """

    def __dlpack_device__(self) -> tuple[int, int]:
        """
        (DLPack device type, index): (1, 0) for the host and simulated devices.
        """

    def reshape(self, *size: int | Sequence[int]) -> Tensor:
        """
        The elements in another shape: a view of a contiguous tensor, else a copy. One size
        may be -1. Raises ShapeMismatch where the counts differ.

        >>> weft.arange(6).reshape(2, -1).shape
        (2, 3)
        """

    def contiguous(self) -> Tensor:
        """The tensor if it is contiguous, else a contiguous copy."""

    def clone(self) -> Tensor:
        """A contiguous copy on the same device."""

    def __getitem__(self, index: Any) -> Tensor:
        """
        A view. The index is made of integers, slices (steps of any sign), None and `...`.
        Raises IndexError outside the shape.

        >>> weft.arange(6).reshape(2, 3)[1, ::-2].tolist()
        [5, 3]
        """

    def __len__(self) -> int: ...

    def copy_(self, other: object) -> Tensor:
        """
        Writes the elements of a tensor or array of the same shape and dtype, on any device,
        or one number. Blocks. Returns the tensor.

        Raises ShapeMismatch, DTypeMismatch, ReadOnlyBuffer, AliasError, before it writes.

        >>> weft.zeros(2, device="sim:0").copy_(weft.ones(2, device="sim:1")).tolist()
        [1.0, 1.0]
        """

    def fill_(self, value: object) -> Tensor:
        """
        Writes one number to every element. Returns the tensor. Raises InvalidArgument where
        an integer dtype does not hold it, ReadOnlyBuffer, AliasError.

        >>> weft.empty(2).fill_(4).tolist()
        [4.0, 4.0]
        """

    def __setitem__(self, index: Any, value: object) -> None: ...

    def __copy__(self) -> Tensor:
        """Another Tensor over the same memory, as in PyTorch."""

    def __deepcopy__(self, memo: object) -> Tensor:
        """`clone()`: a contiguous copy on the same device."""

    def __getstate__(self) -> tuple[bytes, tuple[int, ...], DType, Device]:
        """
        Elements, shape, dtype and device, for pickle; to load it needs that device.
        """

    def __setstate__(self, state: tuple[bytes, tuple[int, ...], DType, Device]) -> None: ...

    def __iter__(self) -> Iterator[Tensor]:
        """Views of its rows."""

    def __eq__(self, other: object) -> bool:
        """Not there yet: InvalidArgument for tensors, arrays and numbers."""

    def __ne__(self, other: object) -> bool:
        """Not there yet: InvalidArgument for tensors, arrays and numbers."""

    def __hash__(self) -> int:
        """By identity, as in PyTorch."""

    def __contains__(self, value: object) -> bool:
        """Not there yet: InvalidArgument for tensors, arrays and numbers."""

def zeros(*size: int | Sequence[int], dtype: DType | str | type | np.dtype[Any] | None = None, device: Device | str | None = None) -> Tensor:
    """
    A tensor of zeros. Shape: `zeros(2, 3)` or `zeros((2, 3))`; dtype: float32 unless given;
    device: "cpu" unless given. Blocks until the memory is set.

    Raises InvalidArgument, SizeOverflow, DTypeMismatch, OutOfMemory.

    >>> weft.zeros(2, device="sim:1")
    tensor([0., 0.], dtype=float32, device='sim:1')
    """

def ones(*size: int | Sequence[int], dtype: DType | str | type | np.dtype[Any] | None = None, device: Device | str | None = None) -> Tensor:
    """
    A tensor of ones; see `zeros`.

    >>> weft.ones((2, 2), dtype=weft.int64).tolist()
    [[1, 1], [1, 1]]
    """

def empty(*size: int | Sequence[int], dtype: DType | str | type | np.dtype[Any] | None = None, device: Device | str | None = None) -> Tensor:
    """
    A tensor whose elements are not set; see `zeros`.

    >>> weft.empty(2, 3).shape
    (2, 3)
    """

def full(size: int | Sequence[int], fill_value: object, *, dtype: DType | str | type | np.dtype[Any] | None = None, device: Device | str | None = None) -> Tensor:
    """
    A tensor of one value. dtype: that of the value (bool, int64 or float32) unless given.
    Raises InvalidArgument where an integer dtype does not hold the value; see `zeros`.

    >>> weft.full((2,), 7)
    tensor([7, 7], dtype=int64, device='cpu')
    """

def zeros_like(input: Tensor, *, dtype: DType | str | type | np.dtype[Any] | None = None, device: Device | str | None = None) -> Tensor:
    """
    Zeros of the shape and, unless given, the dtype and device of a tensor.

    >>> weft.zeros_like(weft.ones(2, device="sim:0"))
    tensor([0., 0.], dtype=float32, device='sim:0')
    """

def ones_like(input: Tensor, *, dtype: DType | str | type | np.dtype[Any] | None = None, device: Device | str | None = None) -> Tensor:
    """
    Ones of the shape and, unless given, the dtype and device of a tensor.

    >>> weft.ones_like(weft.zeros(2, dtype=weft.bool)).tolist()
    [True, True]
    """

def empty_like(input: Tensor, *, dtype: DType | str | type | np.dtype[Any] | None = None, device: Device | str | None = None) -> Tensor:
    """
    A tensor like another, its elements not set.

    >>> weft.empty_like(weft.zeros(3), device="sim:2").device
    Device('sim:2')
    """

def full_like(input: Tensor, fill_value: object, *, dtype: DType | str | type | np.dtype[Any] | None = None, device: Device | str | None = None) -> Tensor:
    """
    A tensor like another, of one value.

    >>> weft.full_like(weft.zeros(2), 1.5).tolist()
    [1.5, 1.5]
    """

def tensor(data: object, *, dtype: DType | str | type | np.dtype[Any] | None = None, device: Device | str | None = None) -> Tensor:
    """
    A new tensor with the numbers of nested sequences, an array or a tensor; always a copy.
    dtype: that of an array; bool, int64 or float32 for Python numbers, unless given.

    Raises InvalidArgument for ragged sequences and values an integer dtype does not hold,
    DTypeMismatch for elements that are no real numbers.

    >>> weft.tensor([[1, 2], [3, 4]], dtype=weft.float64, device="sim:0")[1].tolist()
    [3.0, 4.0]
    """

def arange(start: float, end: float | None = None, step: float = 1, *, dtype: DType | str | type | np.dtype[Any] | None = None, device: Device | str | None = None) -> Tensor:
    """
    start, start + step, ... below end; `arange(n)` is 0 to n - 1. dtype: int64 for
    integers, else float32, unless given. Raises InvalidArgument.

    >>> weft.arange(1, 7, 2)
    tensor([1, 3, 5], dtype=int64, device='cpu')
    """

def from_numpy(array: object) -> Tensor:
    """
    The array's memory as a tensor on "cpu": no copy, read-only if the array is. The
    memory lives as long as either does. bfloat16 and float8 are those of
    ml_dtypes.

    Raises DTypeMismatch for dtypes weft has not, InvalidArgument for foreign strides.

    >>> import numpy
    >>> array = numpy.zeros(2)
    >>> _ = weft.from_numpy(array).fill_(3)
    >>> array
    array([3., 3.])
    """

def from_dlpack(object: object, *, device: Device | str | None = None, copy: bool | None = None) -> Tensor:
    """
    The memory of any object with `__dlpack__` (torch, cupy, JAX, NumPy) or of a DLPack
    capsule as a tensor: no copy, unless `device` is another one or `copy` is true. CUDA
    memory is made ready for the default stream.

    Raises DTypeMismatch for elements weft has not (complex, fp8), InvalidArgument and
    SizeOverflow for what the producer got wrong, and whatever the producer raises.

    >>> import numpy
    >>> weft.from_dlpack(numpy.arange(3.0)).tolist()
    [0.0, 1.0, 2.0]
    """

class Topology:
    """What is known of a machine: devices and links."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def simulated(self) -> bool: ...

    @property
    def notes(self) -> list[str]: ...

    def matrix(self) -> list[list[str]]:
        """Rows of "X", "NV18", "PIX", ..., "SYS"."""

    def document(self, derived: bool = True) -> dict:
        """
        The whole as a dict of schema weft.topology/1. Without `derived` links and matrix are empty where they follow from vertices and wires.
        """

    def nodes(self) -> list:
        """A dict a device: device, name, numa, pci, uuid; None if not known."""

    def peer_access(self) -> list[list[bool]]:
        """size x size booleans."""

    def rings(self, k: int) -> list:
        """A dict a ring, best first."""

    def trees(self, k: int, children: int) -> list:
        """A dict a tree; children 0: any number."""

    def cliques(self) -> list[list[int]]: ...

    def groups(self) -> list[list[int]]: ...

    def predict(self, algorithm: str, bytes: int, group_size: int) -> dict:
        """
        An all-reduce with one rank on each device. The arrays are n x n int64 and float64.
        """

def topology_from_document(document: dict) -> Topology:
    """
    What document() gave. Raises TopologyError that says where it is not as it must be.
    """

def topology_preset(name: str, devices: int) -> Topology:
    """A known machine. Raises InvalidArgument that lists what there is."""

def topology_preset_size(name: str) -> int:
    """How many devices that machine has. Raises as topology_preset does."""

def topology_cluster(name: str, machines: int) -> Topology:
    """Several of a machine on a made-up network. Raises InvalidArgument."""

def topology_presets() -> list[str]: ...

def topology_probe(verify: bool = True) -> Topology:
    """
    The CUDA devices of this machine. Never raises.

    verify: bytes are moved between them, and pairs that lie are quarantined.
    """

def topology_measure(machine: Topology, budget: float = 0.0, progress: object | None = None) -> Topology:
    """
    A copy with measurements. progress(done, next) is called between trials.
    """

def topology_counters() -> dict:
    """What NVML counted on each NVLink: seconds, links, notes. Never raises."""

def topology_system(sysfs: str = '/sys', proc: str = '/proc') -> dict:
    """What Linux tells of the machine. Never raises."""

def topology_driver() -> dict:
    """What the driver and NVML tell. Never raises."""

class Stream:
    """
    Works of one device in their order; what `streams=` of the collectives takes, one a rank.

    device: a simulated or CUDA one. priority: "normal" or "high". A CUDA stream does not
    wait for the default stream, nor that for it. A stream that is dropped loses nothing: what
    is on it still happens; a simulated one waits for that. Not for a child after fork().
    Wherever weft takes a stream of a CUDA device it also takes other libraries': an int, or an
    object with `cuda_stream` (torch), `__cuda_stream__` (cuda.core, numba) or `ptr` (CuPy).

    Raises InvalidArgument, DeviceMismatch for "cpu", CudaError.

    >>> import numpy as np
    >>> streams = [weft.Stream("sim:0"), weft.Stream("sim:1")]
    >>> with weft.Fabric("sim:2") as fab:
    ...     data = [np.ones(2), np.ones(2)]
    ...     for _ in range(3):  # one after the other on each stream
    ...         work = fab.all_reduce(data, streams=streams, async_op=True)
    ...     streams[0].wait_stream(streams[1])
    ...     streams[0].synchronize()
    ...     data[0].tolist(), streams[0].query()
    ([8.0, 8.0], True)
    """

    def __init__(self, device: Device | str, priority: str = 'normal') -> None: ...

    @staticmethod
    def from_handle(stream: object, device: Device | str) -> Stream:
        """
        Another library's stream, which is kept alive, as a weft.Stream of that device.

        Raises InvalidArgument for what is no stream, DeviceMismatch for one that says it is of
        another device.
        """

    @property
    def device(self) -> Device:
        """Whose works it holds."""

    @property
    def cuda_stream(self) -> int:
        """
        The cudaStream_t as an int. Raises InvalidArgument on simulated devices.
        """

    def __cuda_stream__(self) -> tuple[int, int]:
        """
        (0, the cudaStream_t as an int): the protocol by which other libraries take it.
        """

    def __eq__(self, other: object) -> bool: ...

    def __hash__(self) -> int: ...

    def __repr__(self) -> str: ...

    def query(self) -> bool:
        """Whether all that was put on it has happened. Does not block."""

    def synchronize(self, timeout: float | None = None) -> None:
        """
        Block until all that is on it now has happened.

        timeout: seconds; None is WEFT_TIMEOUT (30). Then CollectiveTimeout. InvalidArgument
        while the stream is being captured into a graph.
        """

    def record_event(self, event: object = None) -> Any:
        """
        Record an event, a new weft.Event where none is given, and return it. Does not block.

        >>> event = weft.Stream("sim:0").record_event()
        >>> event.synchronize()
        >>> event.query()
        True
        """

    def wait_event(self, event: object) -> None:
        """
        What comes next on the stream waits for the event's last record. Does not block.

        event: a weft.Event of any device of the same kind or, on CUDA, one of torch, CuPy or
        cuda.core.
        """

    def wait_stream(self, stream: object) -> None:
        """
        What comes next on the stream waits for all that is on the other one now. Does not block.
        """

def stream_handle(stream: object | None, rank: int, device: str) -> int:
    """A rank's stream, for `Fabric.collective`."""

class Event:
    """
    A point in the works of a stream, which other streams and the host can wait for.

    device: a simulated or CUDA one; only its streams record the event. enable_timing: for
    `elapsed_time`. An event that was never recorded has happened. Not for a child after
    fork(). Raises what weft.Stream raises.

    >>> first, second = weft.Stream("sim:0"), weft.Stream("sim:1")
    >>> event = weft.Event("sim:0")
    >>> event.record(first)
    >>> event.wait(second)  # second goes on after what is on first
    >>> second.synchronize()
    >>> event.query()
    True
    """

    def __init__(self, device: Device | str, enable_timing: bool = False) -> None: ...

    @property
    def device(self) -> Device:
        """Whose streams record it."""

    @property
    def cuda_event(self) -> int:
        """
        The cudaEvent_t as an int. Raises InvalidArgument on simulated devices.
        """

    def record(self, stream: object = None) -> None:
        """
        Record it on a stream of its device; None: CUDA's default stream. Does not block.

        Raises DeviceMismatch, InvalidArgument for None on simulated devices.
        """

    def wait(self, stream: object = None) -> None:
        """
        What comes next on the stream, of any device of the same kind, waits for the last
        record. None: CUDA's default stream of the event's device. Does not block.
        """

    def query(self) -> bool:
        """Whether the last record has happened. Does not block."""

    def synchronize(self, timeout: float | None = None) -> None:
        """
        Block until the last record has happened.

        timeout: seconds; None is WEFT_TIMEOUT (30). Then CollectiveTimeout.
        """

    def elapsed_time(self, end: Event) -> float:
        """
        Milliseconds from this event to a later one, by the device's clock; on simulated
        devices by the host's.

        Raises InvalidArgument unless both have enable_timing=True and have happened.

        >>> stream = weft.Stream("sim:0")
        >>> start, end = (weft.Event("sim:0", enable_timing=True) for _ in range(2))
        >>> start.record(stream), end.record(stream), stream.synchronize()
        (None, None, None)
        >>> start.elapsed_time(end) >= 0
        True
        """

    def __repr__(self) -> str: ...

class Operation:
    """An operation that was launched."""

    def wait(self, timeout: float | None = None) -> None:
        """
        Block until it ended on every rank; raise what it ended with. Ctrl-C aborts it.
        """

    def raise_interruption(self) -> None:
        """
        Raise what came up while it was launched: Ctrl-C, or what a signal's handler raised.
        """

    def done(self) -> bool: ...

    @property
    def decided(self) -> bool: ...

    @property
    def recorded_for(self) -> int:
        """
        The token of the capture that it was recorded for; 0 where it was launched.
        """

    def exception(self) -> object: ...

    def watch(self) -> None:
        """Leave it to the watchdog: its faults poison the fabric without a wait."""

    @property
    def info(self) -> dict: ...

class Fabric:
    """Ranks bound to devices. Wrapped by weft.Fabric."""

    def __init__(self, devices: Sequence[str], timeout: float = 30.0, topology: Topology | None = None, scratch: int = 0, first_epoch: int = 0, events: bool | None = None) -> None: ...

    @property
    def size(self) -> int: ...

    @property
    def devices(self) -> list[str]: ...

    @property
    def backend(self) -> str: ...

    @property
    def topology(self) -> Topology: ...

    @property
    def records_events(self) -> bool: ...

    @property
    def closed(self) -> bool: ...

    def peer_access(self) -> list[list[bool]]: ...

    def copy(self, src: object | None, dst: object | None) -> None: ...

    def plan_fault(self, rank: int, step: int, action: str, delay: float = 0.0) -> None:
        """Tests: the fault that the next operations meet."""

    def abort(self) -> None: ...

    def check(self) -> None: ...

    def recover(self) -> None: ...

    def close(self) -> None: ...

    def stats(self) -> dict: ...

    def reset_stats(self) -> None: ...

    @property
    def poison_cause(self) -> str | None: ...

    def events(self) -> tuple: ...

    def begin_capture(self, token: int) -> None: ...

    def end_capture(self) -> RecordedGraph: ...

    def drop_capture(self, token: int) -> None: ...

    def collective(self, name: str, tensors: list, out: list | None, arguments: dict, streams: Sequence[int] | None) -> Operation:
        """Check and launch a collective on all ranks."""

    def current_streams(self, tensors: list) -> list[int] | None:
        """
        The streams that the libraries of these tensors, one a rank, work on now.
        """

    def rank_collective(self, rank: int, name: str, tensor: object | None, out: object | None, arguments: dict, stream: int | None) -> Operation:
        """Meet the other ranks, then the same."""

    def refuse(self, rank: int, exception: object) -> None:
        """
        Instead of meeting them: every other rank's call ends with that exception's text.
        """

    def barrier(self, timeout: float) -> None: ...

    def rank_barrier(self, rank: int, timeout: float) -> None: ...

    def start_chunks(self) -> None:
        """From now on operations record what each chunk does; see weft.chunks."""

    def stop_chunks(self) -> dict:
        """What was recorded, as records of 64 bytes."""

    def set_tuning(self, rows: list) -> None:
        """
        Rows that were measured, before the shipped ones; instead of those of an earlier call.
        """

    @property
    def gpu_names(self) -> list[str]:
        """Of each device once; none for simulated ones."""

    def tuning(self) -> list:
        """The table in force, in order of preference."""

    def preference(self, collective: str, dtype: object, bytes: int, captured: bool, in_place: bool, shipped: bool) -> list[str]:
        """
        The algorithms that "auto" tries for a call, by the table in force or by the shipped rows alone.
        """

class RecordedGraph:
    """What a fabric recorded. Wrapped by weft.Graph."""

    def replay(self, timed: bool, streams: Sequence[int] | None) -> Operation:
        """Run it; the operation is the whole of it."""

    @property
    def operations(self) -> list: ...

    @property
    def elapsed_us(self) -> float | None: ...

def algorithms() -> list[str]:
    """The names of all algorithms but "auto"."""

def collectives() -> list[str]:
    """The names of all collectives."""

def build_info() -> dict:
    """
    How this extension was built: cuda (bool), cuda_architectures, compiler.
    """

def set_leak_warnings(enabled: bool) -> None:
    """Tests: whether objects that are left at exit are reported on stderr."""

def cuda_device_count() -> int:
    """CUDA devices of this process; 0 without a driver. Never raises."""

__version__: str

bool_: DType

class Error(Exception):
    code: str | None
    rank: int | None
    device: str | None
    step: int | None
    culprits: tuple[int, ...]

class InternalError(Error, RuntimeError): ...

class InvalidArgument(Error, ValueError): ...

class ShapeMismatch(Error, ValueError): ...

class WorldSizeError(Error, ValueError): ...

class DeviceMismatch(Error, ValueError): ...

class AliasError(Error, ValueError): ...

class DTypeMismatch(Error, TypeError): ...

class SizeOverflow(Error, OverflowError): ...

class ReadOnlyBuffer(Error, BufferError): ...

class PeerAccessError(Error, RuntimeError): ...

class TopologyError(Error, RuntimeError): ...

class CoResidencyError(Error, RuntimeError): ...

class CollectiveTimeout(Error, TimeoutError): ...

class CollectiveAborted(Error, RuntimeError): ...

class FabricPoisoned(Error, RuntimeError): ...

class FabricClosed(Error, RuntimeError): ...

class OutOfMemory(Error, MemoryError): ...

class DeviceLost(Error, RuntimeError): ...

class CudaError(Error, RuntimeError): ...

class ConfigError(Error, ValueError): ...

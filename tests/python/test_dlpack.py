"""DLPack at the Python boundary: capsules, foreign producers, memory shared with libraries."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import weft

VERSIONED, LEGACY = b"dltensor_versioned", b"dltensor"
DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

api = ctypes.pythonapi
api.PyCapsule_New.restype = ctypes.py_object
api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
api.PyCapsule_GetPointer.restype = ctypes.c_void_p
api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
api.PyCapsule_GetName.restype = ctypes.c_char_p
api.PyCapsule_GetName.argtypes = [ctypes.py_object]


class View(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
    )


class Legacy(ctypes.Structure):
    _fields_ = (("view", View), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


class Versioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("view", View),
    )


class Producer:
    """Memory of 24 float32 numbers, lent by a struct made here; counts its deleter's calls."""

    def __init__(self, kind: type = Versioned, takes_version: bool = True) -> None:
        self.memory = (ctypes.c_float * 24)(*range(24))
        self.shape = (ctypes.c_int64 * 64)(2, 3, *[1] * 62)
        self.strides = (ctypes.c_int64 * 64)(3, 1, *[1] * 62)
        self.deletes = 0
        self.calls: list[dict[str, Any]] = []
        self.device = (1, 0)
        self.takes_version = takes_version
        self.callback = DELETER(self._delete)
        self.managed = kind()
        self.managed.deleter = ctypes.cast(self.callback, ctypes.c_void_p).value
        if kind is Versioned:
            self.managed.major = 1
        view = self.view = self.managed.view
        view.data = ctypes.addressof(self.memory)
        view.device_type, view.device_id, view.ndim = 1, 0, 2
        view.code, view.bits, view.lanes = 2, 32, 1
        view.shape = ctypes.addressof(self.shape)
        view.strides = ctypes.addressof(self.strides)

    def _delete(self, _: int) -> None:
        self.deletes += 1

    def capsule(self) -> Any:
        name = VERSIONED if isinstance(self.managed, Versioned) else LEGACY
        return api.PyCapsule_New(ctypes.addressof(self.managed), name, None)

    def __dlpack__(self, **arguments: Any) -> Any:
        self.calls.append(arguments)
        if not self.takes_version and "max_version" in arguments:
            raise TypeError("__dlpack__() got an unexpected keyword argument 'max_version'")
        return self.capsule()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


def lent_array() -> tuple[weft.Tensor, Any]:
    """A tensor over a NumPy array, and a reference that says whether the array still lives."""
    array = np.arange(6, dtype=np.float32)
    return weft.from_numpy(array), weakref.ref(array)


# --- import ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Versioned, Legacy])
def test_an_import_shares_memory_and_deletes_once(kind):
    producer = Producer(kind)
    tensor = weft.from_dlpack(producer)
    assert tensor.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    tensor[1, 2] = 50
    assert producer.memory[5] == 50
    view = tensor[1:]
    del tensor
    assert producer.deletes == 0
    del view
    assert producer.deletes == 1


def test_the_producer_is_asked_for_the_version_weft_reads():
    producer = Producer()
    weft.from_dlpack(producer)
    assert producer.calls == [{"max_version": (1, 1)}]


@pytest.mark.parametrize(("code", "name"), [(10, "float8_e4m3fn"), (12, "float8_e5m2")])
def test_floats_of_8_bits_come_by_their_codes(code, name):
    producer = Producer()
    producer.view.code, producer.view.bits = code, 8
    tensor = weft.from_dlpack(producer)
    assert tensor.dtype == name
    assert tensor.nbytes == 6
    tensor.fill_(-2)
    assert bytes(producer.memory)[:6] == b"\xc0" * 6
    del tensor
    assert producer.deletes == 1


def test_a_producer_from_before_versions_is_asked_again():
    producer = Producer(Legacy, takes_version=False)
    assert weft.from_dlpack(producer).shape == (2, 3)
    assert producer.calls[1:] == [{}]
    assert producer.deletes == 1


def test_a_capsule_is_consumed_once():
    producer = Producer()
    capsule = producer.capsule()
    tensor = weft.from_dlpack(capsule)
    assert api.PyCapsule_GetName(capsule) == b"used_dltensor_versioned"
    with pytest.raises(weft.InvalidArgument, match="used_dltensor_versioned"):
        weft.from_dlpack(capsule)
    del tensor, capsule
    assert producer.deletes == 1


@pytest.mark.parametrize("name", [b"tensor", b"", None, b"used_dltensor"])
def test_a_capsule_of_another_name_is_refused_and_left_alone(name):
    producer = Producer()
    capsule = api.PyCapsule_New(ctypes.addressof(producer.managed), name, None)
    with pytest.raises(weft.InvalidArgument):
        weft.from_dlpack(capsule)
    assert producer.deletes == 0


@pytest.mark.parametrize("thing", [None, 3, "text", [1.0], object()])
def test_what_is_no_tensor_is_refused(thing):
    with pytest.raises(weft.InvalidArgument):
        weft.from_dlpack(thing)


def test_what_a_producer_returns_is_checked():
    class Liar:
        def __dlpack_device__(self):
            return (1, 0)

        def __dlpack__(self, **_):
            return "no capsule"

    with pytest.raises(weft.InvalidArgument, match="str"):
        weft.from_dlpack(Liar())


@pytest.mark.parametrize("error", [ZeroDivisionError, TypeError, KeyboardInterrupt])
def test_what_a_producer_raises_passes_through(error):
    class Raiser(Producer):
        def __dlpack__(self, **_):
            raise error("from the producer")

    with pytest.raises(error, match="from the producer"):
        weft.from_dlpack(Raiser())


def test_a_foreign_major_version_is_refused_and_deleted():
    producer = Producer()
    producer.managed.major = 2
    with pytest.raises(weft.InvalidArgument, match=r"2\.0"):
        weft.from_dlpack(producer)
    assert producer.deletes == 1


def test_the_read_only_flag_is_kept_and_travels_on():
    producer = Producer()
    producer.managed.flags = 1
    tensor = weft.from_dlpack(producer)
    assert tensor.read_only
    with pytest.raises(weft.ReadOnlyBuffer):
        tensor.fill_(0)
    assert not np.from_dlpack(tensor).flags.writeable
    with pytest.raises(weft.ReadOnlyBuffer):
        tensor.__dlpack__()
    with pytest.raises(BufferError):
        tensor.__dlpack__(max_version=(0, 8))
    assert producer.memory[1] == 1


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        (weft.DTypeMismatch, {"code": 5, "bits": 64}),
        (weft.DTypeMismatch, {"code": 11, "bits": 8}),
        (weft.DTypeMismatch, {"code": 10, "bits": 32}),
        (weft.DTypeMismatch, {"lanes": 4}),
        (weft.InvalidArgument, {"ndim": 65}),
        (weft.InvalidArgument, {"ndim": -1}),
        (weft.InvalidArgument, {"shape": None}),
        (weft.InvalidArgument, {"data": None}),
        (weft.InvalidArgument, {"device_type": 8}),
        (weft.InvalidArgument, {"device_type": 2, "device_id": 99}),
        (weft.InvalidArgument, {"byte_offset": 1}),
        (weft.SizeOverflow, {"byte_offset": 2**64 - 4}),
    ],
)
@pytest.mark.parametrize("kind", [Versioned, Legacy])
def test_a_wrong_struct_is_refused_and_deleted_once(kind, error, fields):
    producer = Producer(kind)
    for name, value in fields.items():
        setattr(producer.view, name, value)
    with pytest.raises(error):
        weft.from_dlpack(producer)
    assert producer.deletes == 1


numbers = st.one_of(
    st.integers(-4, 4), st.sampled_from([2**63 - 1, -(2**63), 2**62, 2**40, -(2**61)])
)


@given(
    kind=st.sampled_from([Versioned, Legacy]),
    shape=st.lists(numbers, min_size=3, max_size=3),
    strides=st.none() | st.lists(numbers, min_size=3, max_size=3),
    ndim=st.integers(-1, 3) | st.integers(-(2**31), 2**31 - 1),
    code=st.integers(0, 8),
    bits=st.sampled_from([0, 1, 8, 16, 32, 64, 255]),
    lanes=st.sampled_from([0, 1, 1, 1, 2]),
    byte_offset=st.sampled_from([0, 4, 8, 3, 2**63, 2**64 - 1]),
    null=st.booleans(),
)
def test_any_struct_is_taken_or_refused_by_name(
    kind, shape, strides, ndim, code, bits, lanes, byte_offset, null
):
    producer = Producer(kind)
    view = producer.view
    producer.shape[:3] = shape
    if strides is None:
        view.strides = None
    else:
        producer.strides[:3] = strides
    view.ndim, view.code, view.bits, view.lanes = ndim, code, bits, lanes
    view.byte_offset = byte_offset
    if null:
        view.data = None
    try:
        tensor = weft.from_dlpack(producer)
    except (weft.DTypeMismatch, weft.InvalidArgument, weft.SizeOverflow):
        pass
    else:
        assert producer.deletes == 0
        assert list(tensor.shape) == shape[:ndim]
        del tensor
    assert producer.deletes == 1


def test_from_dlpack_copies_where_asked():
    producer = Producer()
    assert weft.from_dlpack(producer, device="sim:2").device == "sim:2"
    assert producer.deletes == 1
    copied = weft.from_dlpack(Producer(), copy=True)
    assert copied.device == "cpu"
    tensor = weft.ones(3, device="sim:0")
    assert weft.from_dlpack(tensor).data_ptr() == tensor.data_ptr()
    with pytest.raises(weft.InvalidArgument):
        weft.from_dlpack(tensor, device="sim:1", copy=False)


# --- export ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", "sim:4"])
def test_an_export_is_the_same_memory(device):
    tensor = weft.arange(6, device=device).reshape(2, 3)[:, ::-1]
    assert tensor.__dlpack_device__() == (1, 0)
    for version, name, kind in [
        (None, LEGACY, Legacy),
        ((0, 8), LEGACY, Legacy),
        ((1, 0), VERSIONED, Versioned),
        ((2, 1), VERSIONED, Versioned),
    ]:
        capsule = tensor.__dlpack__(max_version=version)
        managed = kind.from_address(api.PyCapsule_GetPointer(capsule, name))
        assert managed.view.data == tensor.data_ptr()
        assert (managed.view.code, managed.view.bits, managed.view.lanes) == (0, 64, 1)
        assert kind is Legacy or (managed.major, managed.flags) == (1, 0)
    array = np.from_dlpack(tensor)
    assert array.tolist() == [[2, 1, 0], [5, 4, 3]]
    tensor[0, 0] = 9
    assert array[0, 0] == 9


@pytest.mark.parametrize("version", [None, (1, 0)])
def test_a_capsule_that_is_never_consumed_frees_its_memory(version):
    tensor, alive = lent_array()
    capsule = tensor.__dlpack__(max_version=version)
    del tensor
    gc.collect()
    assert alive() is not None
    del capsule
    gc.collect()
    assert alive() is None


def test_the_deleter_of_an_export_runs_on_a_thread_without_the_gil():
    tensor, alive = lent_array()
    capsule = tensor.__dlpack__(max_version=(1, 0))
    tensor = None
    address = api.PyCapsule_GetPointer(capsule, VERSIONED)
    api.PyCapsule_SetName(ctypes.py_object(capsule), b"used_dltensor_versioned")
    deleter = DELETER(Versioned.from_address(address).deleter)  # ctypes lets the GIL go around it
    thread = threading.Thread(target=deleter, args=(address,))
    thread.start()
    thread.join()
    del capsule
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("stream", [0, 1, 2, -2, 2**70, "x", 1.0, True])
def test_a_stream_that_host_memory_has_not_is_refused(stream):
    with pytest.raises(weft.InvalidArgument):
        weft.zeros(2).__dlpack__(stream=stream)


def test_the_host_needs_no_stream():
    for stream in (None, -1):
        assert api.PyCapsule_GetName(weft.zeros(2).__dlpack__(stream=stream)) == LEGACY


@pytest.mark.parametrize("version", [1, (1,), ("a", 0), (1, 0, 0)])
def test_a_max_version_that_is_none_is_refused(version):
    with pytest.raises(weft.InvalidArgument):
        weft.zeros(2).__dlpack__(max_version=version)


def test_an_export_copies_where_asked():
    tensor = weft.ones(3, device="sim:0")
    for arguments, same in [
        ({"copy": False}, True),
        ({"dl_device": (1, 0)}, True),
        ({"dl_device": (1, 0), "copy": False}, True),
        ({"copy": True}, False),
    ]:
        capsule = tensor.__dlpack__(max_version=(1, 0), **arguments)
        managed = Versioned.from_address(api.PyCapsule_GetPointer(capsule, VERSIONED))
        assert (managed.view.data == tensor.data_ptr()) is same
        assert managed.flags == (0 if same else 2)
    with pytest.raises(BufferError):
        tensor.__dlpack__(dl_device=(2, 0))


# --- other libraries ------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["tensor", "array"])
def test_numpy_and_weft_may_die_in_either_order(first):
    tensor = weft.arange(100, device="sim:0")
    array = np.from_dlpack(tensor)
    again = weft.from_dlpack(array)
    assert again.data_ptr() == tensor.data_ptr()
    if first == "tensor":
        del tensor
    else:
        del array
    gc.collect()
    assert again.tolist() == list(range(100))


def test_views_alive_at_exit_do_no_harm():
    code = (
        "import weft, numpy as np\n"
        "a = np.ones(3); t = weft.from_dlpack(a); b = np.from_dlpack(t); c = t.__dlpack__()\n"
        "import builtins; builtins.kept = [a, t, b, c]\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


TORCH_NAMES = [
    "bool", "uint8", "int8", "int16", "int32", "int64",
    "float16", "bfloat16", "float32", "float64",
]  # fmt: skip


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="torch is not installed")


@pytest.mark.parametrize("name", TORCH_NAMES)
def test_torch_both_ways(torch, name):
    there = torch.ones(4, 6, dtype=getattr(torch, name))[1:, ::2]
    here = weft.from_dlpack(there)
    assert here.data_ptr() == there.data_ptr()
    assert (here.dtype, here.shape, here.strides) == (name, (3, 3), (6, 2))
    here.fill_(0)
    assert not there.any()
    made = weft.ones(2, 3, dtype=name, device="sim:1")
    back = torch.from_dlpack(made)
    assert back.data_ptr() == made.data_ptr()
    assert back.dtype == there.dtype
    del made
    gc.collect()
    assert back.sum().item() == 6 or name == "bool"


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
def test_torch_lends_and_takes_floats_of_8_bits(torch, name):
    there = torch.arange(24, dtype=torch.uint8).view(4, 6).view(getattr(torch, name))[1:, ::2]
    try:
        there.__dlpack__()
    except (BufferError, RuntimeError) as error:
        pytest.skip(f"PyTorch {torch.__version__} does not lend {name}: {error}")
    here = weft.from_dlpack(there)
    assert here.data_ptr() == there.data_ptr()
    assert (here.dtype, here.shape, here.strides) == (name, (3, 3), (6, 2))
    assert here.tolist() == there.to(torch.float32).tolist()
    back = torch.from_dlpack(weft.full((3,), 2.5, dtype=name, device="sim:1"))
    assert back.dtype == there.dtype
    assert back.to(torch.float32).tolist() == [2.5] * 3


def test_copy_and_tensor_take_torch(torch):
    source = torch.arange(6, dtype=torch.float32).reshape(2, 3).T
    assert weft.zeros(3, 2, device="sim:0").copy_(source).tolist() == source.tolist()
    assert weft.tensor(source, dtype="int8").tolist() == source.tolist()


def test_torch_tensors_that_weft_has_not_are_refused(torch):
    for dtype in (torch.complex64, torch.float8_e4m3fnuz, torch.uint16):
        with pytest.raises(weft.DTypeMismatch):
            weft.from_dlpack(torch.zeros(2).to(dtype))
    with pytest.raises(BufferError):
        weft.from_dlpack(torch.zeros(2, requires_grad=True))

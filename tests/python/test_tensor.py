"""Tensors: factories, NumPy both ways, views, copies, and what is refused. NumPy is the oracle."""

from __future__ import annotations

import copy
import doctest
import gc
import pickle
import subprocess
import sys
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import weft

ml_dtypes = pytest.importorskip("ml_dtypes", reason="some floats of NumPy need ml_dtypes")

NAMES = [
    "bool", "uint8", "int8", "int16", "int32", "int64",
    "float8_e4m3fn", "float8_e5m2", "float16", "bfloat16", "float32", "float64",
]  # fmt: skip
FROM_ML_DTYPES = ["float8_e4m3fn", "float8_e5m2", "bfloat16"]
DEVICES = ["cpu", "sim:0", "sim:63"]


def numpy_dtype(name: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, name, name))


def bits(array: np.ndarray) -> bytes:
    """Shape and bytes: equal for NaNs, unequal for -0.0 and 0.0."""
    return repr(array.shape).encode() + np.ascontiguousarray(array).tobytes()


def views(max_side: int = 5) -> st.SearchStrategy[np.ndarray]:
    """Arrays of every dtype, sliced and transposed: strides of any sign, empty dimensions."""

    @st.composite
    def build(draw: st.DrawFn) -> np.ndarray:
        dtype = numpy_dtype(draw(st.sampled_from(NAMES)))
        shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=max_side))
        count = int(np.prod(shape)) * dtype.itemsize
        data = draw(st.binary(min_size=count, max_size=count))
        raw = np.frombuffer(bytearray(data), dtype=np.uint8)
        if dtype == np.bool_:
            raw = raw & 1
        array = raw.view(dtype).reshape(shape)
        for axis in range(array.ndim):
            step = draw(st.sampled_from([1, 1, 2, -1, -3]))
            array = array[(slice(None),) * axis + (slice(None, None, step),)]
        return array.transpose(draw(st.permutations(range(array.ndim))))

    return build()


# --- dtypes and devices ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_dtype_has_one_object_and_equals_its_name(name):
    dtype = getattr(weft, name)
    assert dtype == name
    assert str(dtype) == dtype.name == name
    assert hash(dtype) == hash(name)
    assert dtype != "complex64"
    assert dtype != 3
    assert dtype != None  # noqa: E711 - the comparison is the point
    assert dtype.itemsize == numpy_dtype(name).itemsize
    assert dtype.is_floating == ("float" in name)
    assert weft.zeros(1, dtype=name).dtype is dtype
    assert weft.zeros(1, dtype=numpy_dtype(name)).dtype is dtype
    assert weft.zeros(1, dtype=numpy_dtype(name).type).dtype is dtype
    assert pickle.loads(pickle.dumps(dtype)) is dtype


@pytest.mark.parametrize(
    "dtype",
    ["complex64", "float8_e4m3fnuz", "", "uint16", ">f4", np.complex128, np.dtype(">i4"), 7],
)
def test_a_dtype_that_weft_has_not_is_refused(dtype):
    with pytest.raises(weft.DTypeMismatch):
        weft.zeros(1, dtype=dtype)


def test_a_device_is_a_value():
    device = weft.Device("sim:3")
    assert (device.kind, device.index, str(device)) == ("sim", 3, "sim:3")
    assert device == weft.Device(device) == "sim:3"
    assert device != weft.Device("sim:4")
    assert len({device, weft.Device("sim:3")}) == 1
    assert pickle.loads(pickle.dumps(device)) == copy.copy(device) == device
    assert weft.zeros(1, device=device).device == device


@pytest.mark.parametrize("name", ["", "gpu:1", "sim:64", "sim:-1", "cuda:99", "sim:x", 3])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(weft.InvalidArgument):
        weft.Device(name)
    with pytest.raises(weft.InvalidArgument):
        weft.zeros(1, device=name)


# --- factories ------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", NAMES)
def test_factories_equal_numpy(name, device):
    like = {"dtype": name, "device": device}
    expected = np.zeros((2, 3), numpy_dtype(name))
    for zeros in (weft.zeros(2, 3, **like), weft.zeros((2, 3), **like), weft.zeros([2, 3], **like)):
        assert bits(zeros.numpy()) == bits(expected)
        assert zeros.device == device
        assert zeros.dtype == name
    assert bits(weft.ones((2, 3), **like).numpy()) == bits(np.ones_like(expected))
    assert bits(weft.full((2, 3), 1, **like).numpy()) == bits(np.ones_like(expected))
    assert weft.empty((2, 0), **like).shape == (2, 0)
    source = weft.ones((2, 3), **like)
    for made in (weft.zeros_like(source), weft.full_like(source, 0)):
        assert bits(made.numpy()) == bits(expected)
        assert made.device == device
    assert weft.empty_like(source, dtype="int8", device="sim:7").device == "sim:7"
    assert weft.ones_like(source, dtype=weft.float64).tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize(
    "arguments", [(5,), (0,), (2, 9), (2, 9, 3), (9, 2, -2), (0.0, 1.0, 0.25), (3.5,), (5, 2)]
)
def test_arange_equals_numpy(arguments):
    expected = np.arange(*arguments)
    made = weft.arange(*arguments)
    assert made.dtype == ("int64" if expected.dtype.kind == "i" else "float32")
    assert made.tolist() == expected.tolist()
    assert weft.arange(*arguments, dtype="float64").tolist() == expected.tolist()


def test_the_dtype_of_python_numbers():
    assert weft.tensor([1, 2]).dtype == "int64"
    assert weft.tensor([1, 2.5]).dtype == "float32"
    assert weft.tensor([True]).dtype == "bool"
    assert weft.tensor(np.float64(2)).dtype == "float64"
    assert weft.tensor(np.ones(2, np.int16)).dtype == "int16"
    assert weft.full((), 2.0).dtype == "float32"
    assert weft.tensor([[1, 2], [3, 4]], dtype="bfloat16").tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert weft.tensor([]).shape == (0,)
    assert weft.tensor(3.5).item() == 3.5


@pytest.mark.parametrize("name", FROM_ML_DTYPES)
@given(value=st.floats(width=32, allow_nan=True))
def test_narrow_floats_round_as_those_of_ml_dtypes(name, value):
    expected = np.array(value, np.float32).astype(numpy_dtype(name))
    made = weft.tensor(value, dtype=name).numpy()
    if np.isnan(expected.astype(np.float32)):
        assert np.isnan(made.astype(np.float32))
    else:
        assert bits(made) == bits(expected)


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (weft.InvalidArgument, lambda: weft.zeros(-1)),
        (weft.InvalidArgument, lambda: weft.zeros(1.5)),
        (weft.InvalidArgument, lambda: weft.zeros("ab")),
        (weft.InvalidArgument, lambda: weft.zeros((1,) * 65)),
        (weft.SizeOverflow, lambda: weft.zeros(2**63)),
        (weft.SizeOverflow, lambda: weft.empty(2**62, 2**62)),
        (weft.SizeOverflow, lambda: weft.empty(2**61, dtype="float64")),
        (weft.OutOfMemory, lambda: weft.empty(2**58, dtype="float64")),
        (weft.InvalidArgument, lambda: weft.tensor([[1, 2], [3]])),
        (weft.DTypeMismatch, lambda: weft.tensor(["a"])),
        (weft.DTypeMismatch, lambda: weft.tensor([1j])),
        (weft.InvalidArgument, lambda: weft.tensor([256], dtype="uint8")),
        (weft.InvalidArgument, lambda: weft.tensor([-129], dtype="int8")),
        (weft.InvalidArgument, lambda: weft.tensor([float("nan")], dtype="int32")),
        (weft.InvalidArgument, lambda: weft.full(3, 1e10, dtype="int32")),
        (weft.ShapeMismatch, lambda: weft.full(3, [1, 2])),
        (weft.InvalidArgument, lambda: weft.arange(1, 2, 0)),
        (weft.InvalidArgument, lambda: weft.arange("a")),
        (weft.InvalidArgument, lambda: weft.from_numpy([1, 2])),
        (weft.DTypeMismatch, lambda: weft.from_numpy(np.zeros(2, np.complex64))),
        (weft.DTypeMismatch, lambda: weft.from_numpy(np.zeros(2, ">f4"))),
        (weft.DTypeMismatch, lambda: weft.from_numpy(np.zeros(2, "U3"))),
        (weft.DTypeMismatch, lambda: weft.from_numpy(np.zeros(2, ml_dtypes.float8_e4m3fnuz))),
        (weft.DTypeMismatch, lambda: weft.from_numpy(np.zeros(2, [("a", "i2")]))),
    ],
)
def test_what_cannot_be_made_is_refused(error, call):
    with pytest.raises(error) as caught:
        call()
    assert isinstance(caught.value, weft.Error)
    assert str(caught.value)


# --- NumPy ----------------------------------------------------------------------------------------


@given(views())
def test_from_numpy_and_back_is_the_same_memory(array):
    tensor = weft.from_numpy(array)
    assert tensor.shape == array.shape
    assert tensor.nbytes == array.nbytes
    assert (tensor.ndim, tensor.size, tensor.itemsize) == (array.ndim, array.size, array.itemsize)
    back = tensor.numpy()
    assert back.dtype == array.dtype
    assert bits(back) == bits(array)
    if array.size:
        assert tensor.data_ptr() == array.__array_interface__["data"][0]
        assert np.shares_memory(back, array)
        assert [
            s * array.itemsize for s, n in zip(tensor.strides, array.shape, strict=True) if n > 1
        ] == [s for s, n in zip(array.strides, array.shape, strict=True) if n > 1]


@given(views(), st.sampled_from(DEVICES))
def test_copies_between_devices_and_layouts_equal_numpy(array, device):
    tensor = weft.from_numpy(array)
    there = tensor.to(device)
    assert there.device == device
    assert bits(there.numpy()) == bits(array)
    assert bits(tensor.clone().numpy()) == bits(array)
    assert tensor.clone().is_contiguous()
    assert bits(tensor.contiguous().numpy()) == bits(array)
    assert bits(weft.tensor(array, device=device).numpy()) == bits(array)
    target = weft.zeros(array.shape[::-1], dtype=there.dtype, device=device).numpy().T
    weft.from_numpy(target).copy_(there)
    assert bits(target) == bits(array)


@given(views(), st.sampled_from(NAMES))
def test_to_another_dtype_equals_astype(array, name):
    with np.errstate(all="ignore"):
        wide = array.astype(np.float32) if array.dtype.name in FROM_ML_DTYPES else array
        middle = wide.astype(np.float32) if name in FROM_ML_DTYPES else wide
        expected = middle.astype(numpy_dtype(name))
    made = weft.from_numpy(array).to(name).numpy()
    assert made.dtype == expected.dtype
    same = made == expected
    if made.dtype.kind not in "biu":
        same = same | ((made != made) & (expected != expected))
    assert np.all(same)


def test_to_returns_itself_where_nothing_changes():
    tensor = weft.ones(3, device="sim:1")
    for same in (
        tensor.to("sim:1"),
        tensor.to(weft.float32),
        tensor.to(),
        tensor.to(device="sim:1"),
    ):
        assert same.data_ptr() == tensor.data_ptr()
    assert tensor.to("cpu", dtype="int8").tolist() == [1, 1, 1]


def test_memory_lives_as_long_as_anyone_needs_it():
    array = np.arange(1000.0)
    alive = weakref.ref(array)
    tensor = weft.from_numpy(array)[10:20]
    back = tensor.numpy()
    del array
    gc.collect()
    assert alive() is not None
    del tensor
    gc.collect()
    assert back.tolist() == list(range(10, 20))
    del back
    gc.collect()
    assert alive() is None


def test_read_only_memory_stays_read_only():
    array = np.arange(3.0)
    array.flags.writeable = False
    tensor = weft.from_numpy(array)
    assert tensor.read_only
    assert not tensor.numpy().flags.writeable
    for write in (
        lambda: tensor.fill_(1),
        lambda: tensor[0:1].copy_(weft.zeros(1, dtype="float64")),
    ):
        with pytest.raises(weft.ReadOnlyBuffer):
            write()
    assert array.tolist() == [0.0, 1.0, 2.0]
    assert not tensor.clone().read_only


def test_asarray_shares_memory_and_converts():
    tensor = weft.ones(2, device="sim:0")
    assert np.shares_memory(np.asarray(tensor), tensor.numpy())
    assert np.asarray(tensor, dtype=np.int8).dtype == np.int8
    assert not np.shares_memory(np.array(tensor), tensor.numpy())
    assert not np.shares_memory(tensor.__array__(copy=True), tensor.numpy())
    with pytest.raises(weft.InvalidArgument):
        tensor.__array__(np.int8, copy=False)
    assert (np.asarray(tensor) + 1).tolist() == [2.0, 2.0]


def test_strides_that_are_no_elements_are_refused_but_copied():
    records = np.zeros(4, [("a", "i1"), ("b", "<f4")])
    with pytest.raises(weft.InvalidArgument):
        weft.from_numpy(records["b"])
    with pytest.raises(weft.InvalidArgument):
        weft.from_numpy(np.zeros(9, np.uint8)[1:].view(np.float32))
    assert weft.tensor(records["b"]).tolist() == [0.0] * 4
    assert weft.tensor(np.arange(3, dtype=">i2"), dtype="int16").tolist() == [0, 1, 2]


# --- views ----------------------------------------------------------------------------------------


@given(st.data(), hnp.array_shapes(max_dims=4, min_side=0, max_side=5))
def test_basic_indexing_equals_numpy(data, shape):
    array = np.arange(np.prod(shape)).reshape(shape)
    tensor = weft.tensor(array, device="sim:0")
    key = data.draw(hnp.basic_indices(shape, allow_newaxis=True))
    view = tensor[key]
    expected = array[key]
    assert view.shape == np.shape(expected)
    assert view.tolist() == expected.tolist()
    if view.size:
        tensor[key] = -1
        array[key] = -1
        assert tensor.tolist() == array.tolist()


@pytest.mark.parametrize("key", [4, -5, (0, 0, 0), (0, 3), (..., 3), (slice(None),) * 3])
def test_an_index_outside_the_shape_is_an_index_error(key):
    with pytest.raises(IndexError):
        weft.zeros(4, 3)[key]


@pytest.mark.parametrize("key", [1.0, "a", [0], True, (..., ...), np.array([0])])
def test_an_index_of_another_kind_is_refused(key):
    with pytest.raises(weft.InvalidArgument):
        weft.zeros(4, 3)[key]


def test_a_step_of_any_size_is_an_index():
    tensor = weft.arange(4)
    assert tensor[:: 2**62].tolist() == [0]
    assert tensor[:: -(2**62)].tolist() == [3]
    assert [int(x) for x in tensor] == [0, 1, 2, 3]
    assert len(tensor) == 4


def test_reshape_views_or_copies():
    tensor = weft.arange(12)
    view = tensor.reshape(3, -1)
    assert view.shape == (3, 4)
    assert view.data_ptr() == tensor.data_ptr()
    columns = view[:, ::2]
    assert columns.reshape((6,)).tolist() == columns.numpy().reshape(6).tolist()
    assert weft.zeros(0, 3).reshape(-1).shape == (0,)
    assert weft.ones(()).reshape(1, 1).shape == (1, 1)
    for sizes in [(5, -1), (11,), (-1, 0)]:
        with pytest.raises(weft.ShapeMismatch):
            tensor.reshape(*sizes)
    for sizes in [(-2,), (-1, -1)]:
        with pytest.raises(weft.InvalidArgument):
            tensor.reshape(*sizes)


# --- copies, numbers, text ------------------------------------------------------------------------


def test_copy_refuses_before_it_writes():
    tensor = weft.zeros(3)
    for error, other in [
        (weft.ShapeMismatch, weft.ones(2)),
        (weft.DTypeMismatch, weft.ones(3, dtype="float64")),
        (weft.AliasError, None),
    ]:
        with pytest.raises(error):
            tensor.copy_(tensor[::-1] if other is None else other)
    assert tensor.tolist() == [0.0] * 3
    assert tensor.copy_(np.full(3, 2, np.float32)).tolist() == [2.0] * 3
    assert tensor.copy_(7).tolist() == [7.0] * 3


def test_a_large_copy_and_fill_equal_numpy():
    array = np.arange(1 << 20, dtype=np.float32).reshape(1024, 1024)
    tensor = weft.from_numpy(array.T[::-1])
    assert np.array_equal(tensor.clone().numpy(), array.T[::-1])
    assert np.all(weft.full((1 << 20,), 3, device="sim:5").numpy() == 3)


def test_one_element_is_a_number():
    assert weft.full((1, 1), 2.5).item() == 2.5
    for name in FROM_ML_DTYPES:
        assert float(weft.tensor([2.5], dtype=name)) == 2.5
    assert int(weft.tensor(7)) == 7
    assert bool(weft.tensor(0)) is False
    assert weft.tensor(True).item() is True
    with pytest.raises(weft.InvalidArgument):
        weft.zeros(2).item()
    with pytest.raises(weft.InvalidArgument):
        bool(weft.zeros(0))
    with pytest.raises(TypeError):
        len(weft.zeros(()))


def test_a_tensor_prints_its_numbers_dtype_and_device():
    assert (
        repr(weft.tensor([1.5, 2], device="sim:0"))
        == "tensor([1.5, 2. ], dtype=float32, device='sim:0')"
    )
    for name in FROM_ML_DTYPES:
        assert repr(weft.ones(1, dtype=name)) == f"tensor([1.], dtype={name}, device='cpu')"
    assert repr(weft.zeros(0, 2)) == "tensor([], shape=(0, 2), dtype=float32, device='cpu')"


FUNCTIONS = [
    "zeros", "ones", "empty", "full", "arange", "tensor", "from_numpy", "from_dlpack",
    "zeros_like", "ones_like", "empty_like", "full_like",
]  # fmt: skip


def documented():
    for owner in (weft.Tensor, weft.DType, weft.Device):
        yield owner.__name__, owner.__doc__
        for name in dir(owner):
            yield f"{owner.__name__}.{name}", getattr(owner, name).__doc__
    for name in FUNCTIONS:
        yield name, getattr(weft, name).__doc__


def test_every_example_in_a_docstring_runs():
    runner = doctest.DocTestRunner()
    for name, doc in documented():
        runner.run(doctest.DocTestParser().get_doctest(doc or "", {"weft": weft}, name, None, 0))
    assert runner.failures == 0
    assert runner.tries >= 30


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_an_example(name):
    assert ">>> " in getattr(weft, name).__doc__


@pytest.mark.parametrize("name", FROM_ML_DTYPES)
def test_without_ml_dtypes_it_is_said_what_to_install(name):
    code = f"""
import sys
sys.modules["ml_dtypes"] = None
import weft
t = weft.ones(2, dtype="{name}")
assert t.tolist() == [1.0, 1.0] and "{name}" in repr(t)
try:
    t.numpy()
except weft.InvalidArgument as error:
    assert "no {name}: install ml_dtypes" in str(error)
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


def test_tensors_alive_at_exit_do_no_harm():
    code = (
        "import weft, numpy as np; a = weft.from_numpy(np.ones(3)); b = a.numpy(); c = weft.ones(2)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")

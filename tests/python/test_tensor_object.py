"""A tensor under Python's own protocols: iteration, comparison, copy, pickle."""

import copy
import pickle

import numpy as np
import pytest

import weft


def test_a_tensor_of_0_dimensions_has_no_rows():
    with pytest.raises(TypeError, match="0 dimensions"):
        list(weft.zeros(()))


def test_iteration_gives_views_of_the_rows():
    tensor = weft.arange(6).reshape(2, 3)
    for row in tensor:
        row.fill_(row[0].item())
    assert tensor.tolist() == [[0, 0, 0], [3, 3, 3]]
    assert list(weft.zeros(0)) == []


@pytest.mark.parametrize("other", [weft.zeros(2), np.zeros(2), 0, 1.5])
def test_comparison_by_element_is_refused_until_it_is_there(other):
    tensor = weft.zeros(2)
    for compare in (lambda: tensor == other, lambda: tensor != other, lambda: other in tensor):
        with pytest.raises(weft.InvalidArgument, match="not compared element by element yet"):
            compare()


def test_a_tensor_differs_from_what_holds_no_numbers_and_can_be_a_key():
    tensor = weft.zeros(2)
    assert tensor != "cpu"
    assert "x" not in tensor
    assert tensor not in (None, ...)
    assert {tensor: 1}[tensor] == 1
    assert tensor in [tensor]


def test_copy_shares_the_memory_and_deepcopy_does_not():
    tensor = weft.ones(2, device="sim:1")
    shared, own = copy.copy(tensor), copy.deepcopy(tensor)
    assert copy.deepcopy([tensor, tensor])[0].data_ptr() != tensor.data_ptr()
    tensor.fill_(5)
    assert shared.tolist() == [5, 5]
    assert own.tolist() == [1, 1]
    assert own.device == "sim:1"
    pair = copy.deepcopy([tensor, tensor])
    assert pair[0] is pair[1]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "bfloat16", "float16", "float64"])
@pytest.mark.parametrize("device", ["cpu", "sim:2"])
def test_pickles_hold_elements_dtype_and_device(dtype, device):
    tensor = weft.tensor([[0, 1, 1], [1, 0, 1]]).to(dtype).to(device)
    back = pickle.loads(pickle.dumps(tensor[:, ::2]))
    assert back.tolist() == tensor[:, ::2].tolist()
    assert (back.dtype, back.device, back.shape) == (tensor.dtype, tensor.device, (2, 2))
    assert pickle.loads(pickle.dumps(weft.zeros(0, 3))).shape == (0, 3)
    assert pickle.loads(pickle.dumps(weft.full((), 7))).item() == 7

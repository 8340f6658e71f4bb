"""DLPack's C exchange API: tensors whose type has it are taken without a call into Python."""

from __future__ import annotations

import ctypes
import gc
from typing import Any

import numpy as np
import pytest

import weft
from python.test_dlpack import Producer, View, api

VIEW_FROM_OBJECT = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(View))
FROM_OBJECT = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(ctypes.c_void_p))


class Table(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("previous", ctypes.c_void_p),
        ("allocate", ctypes.c_void_p),
        ("managed_from_object", ctypes.c_void_p),
        ("managed_to_object", ctypes.c_void_p),
        ("view_from_object", ctypes.c_void_p),
        ("current_work_stream", ctypes.c_void_p),
    )


class Lender(Producer):
    """A producer whose type has the table: every subclass gets one of its own."""

    __dlpack_c_exchange_api__: Any = None
    asked = 0
    shown = 0
    requires_grad: object = False

    def __init_subclass__(
        cls, major: int = 1, previous: Table | None = None, function: object = None
    ) -> None:
        cls.callback_of_type = FROM_OBJECT(lend) if function is None else function
        address = ctypes.cast(cls.callback_of_type, ctypes.c_void_p)
        older = None if previous is None else ctypes.addressof(previous)
        cls.view_of_type = VIEW_FROM_OBJECT(show)
        view = ctypes.cast(cls.view_of_type, ctypes.c_void_p)
        cls.table = Table(major, 3, older, None, address, None, view, None)
        cls.name = b"dlpack_exchange_api"
        cls.__dlpack_c_exchange_api__ = api.PyCapsule_New(
            ctypes.addressof(cls.table), cls.name, None
        )

    def floats(self) -> list[float]:
        return list(self.memory)[:6]


def lend(lender: Lender, out: Any) -> int:
    lender.asked += 1
    out[0] = ctypes.addressof(lender.managed)
    return 0


def show(lender: Lender, out: Any) -> int:
    lender.shown += 1
    out[0] = lender.view
    return 0


class Plain(Lender):
    pass


@pytest.fixture
def fab():
    with weft.Fabric("sim:2") as fabric:
        yield fabric


def test_the_table_is_used_and_python_is_not_called(fab):
    lenders = [Plain(), Plain()]
    fab.all_reduce(lenders)
    assert [x.floats() for x in lenders] == [[0, 2, 4, 6, 8, 10]] * 2
    assert [x.asked for x in lenders] == [1, 1]
    assert [x.calls for x in lenders] == [[], []]


def test_each_share_is_given_back_once(fab):
    lenders = [Plain(), Plain()]
    for call in range(1, 4):
        fab.all_reduce(lenders)
        gc.collect()
        assert [x.deletes for x in lenders] == [call, call]


def test_shares_are_given_back_after_a_refusal(fab):
    lenders = [Plain(), Plain()]
    lenders[1].shape[0] = 1
    lenders[1].managed.view = lenders[1].view
    with pytest.raises(weft.ShapeMismatch):
        fab.all_reduce(lenders)
    gc.collect()
    assert [x.deletes for x in lenders] == [1, 1]
    assert lenders[0].floats() == [0, 1, 2, 3, 4, 5]


def test_lenders_mix_with_other_tensors(fab):
    lender, array = Plain(), np.ones((2, 3), np.float32)
    fab.all_reduce([lender, array])
    assert array.ravel().tolist() == lender.floats() == [1, 2, 3, 4, 5, 6]


def test_more_types_than_are_remembered(fab):
    types = [type(f"Lender{i}", (Lender,), {}) for i in range(9)]
    for kind in types * 2:
        lenders = [kind(), kind()]
        fab.all_reduce(lenders)
        assert [x.asked for x in lenders] == [1, 1]
        assert lenders[0].floats() == [0, 2, 4, 6, 8, 10]


def test_an_older_table_is_found_behind_a_newer_one(fab):
    class Newer(Lender, major=2, previous=Plain.table):
        pass

    lenders = [Newer(), Newer()]
    fab.all_reduce(lenders)
    assert [x.asked for x in lenders] == [1, 1]


def test_only_unknown_versions_leave_dlpack_itself(fab):
    class Unknown(Lender, major=2):
        pass

    lenders = [Unknown(), Unknown()]
    fab.all_reduce(lenders)
    assert [x.asked for x in lenders] == [0, 0]
    assert [len(x.calls) for x in lenders] == [1, 1]


@pytest.mark.parametrize("thing", [None, 3, "text"])
def test_what_is_no_table_is_not_used(fab, thing):
    class Odd(Lender):
        pass

    Odd.__dlpack_c_exchange_api__ = thing
    lenders = [Odd(), Odd()]
    fab.all_reduce(lenders)
    assert [len(x.calls) for x in lenders] == [1, 1]


@pytest.mark.parametrize("reason", ["requires_grad", "is_neg"])
def test_a_tensor_that_may_not_be_lent_is_left_to_dlpack(fab, reason):
    class Refused(Lender):
        def is_neg(self) -> bool:
            return reason == "is_neg"

    lenders = [Plain(), Refused()]
    lenders[1].requires_grad = reason == "requires_grad"
    fab.all_reduce(lenders)
    assert [x.asked for x in lenders] == [1, 0]
    assert [len(x.calls) for x in lenders] == [0, 1]


def test_what_the_table_raises_passes_through(fab):
    # A function of C that returns -1 with an error set: this one calls fileno().
    class Raiser(Lender, function=ctypes.pythonapi.PyObject_AsFileDescriptor):
        def fileno(self) -> int:
            raise ZeroDivisionError("from the producer")

    lenders = [Plain(), Raiser()]
    with pytest.raises(ZeroDivisionError, match="from the producer"):
        fab.all_reduce(lenders)
    gc.collect()
    assert lenders[0].deletes == 1
    assert lenders[0].floats() == [0, 1, 2, 3, 4, 5]


def test_a_managed_tensor_of_another_version_is_refused_and_deleted(fab):
    lenders = [Plain(), Plain()]
    lenders[0].managed.major = 2
    with pytest.raises(weft.InvalidArgument, match=r"2\.0"):
        fab.all_reduce(lenders)
    assert lenders[0].deletes == 1


def test_memory_of_another_device_is_refused(fab):
    lenders = [Plain(), Plain()]
    lenders[1].managed.view.device_type = 2  # CUDA
    with pytest.raises(weft.Error):
        fab.all_reduce(lenders)
    gc.collect()
    assert [x.deletes for x in lenders] == [1, 1]
    assert lenders[0].floats() == [0, 1, 2, 3, 4, 5]


def test_a_bucket_only_looks(fab):
    lists = [[Plain(), Plain()], [Plain(), Plain()]]
    for _ in range(3):
        fab.all_reduce(lists)
    lenders = [lender for given in lists for lender in given]
    assert [x.floats() for x in lenders] == [[0, 8, 16, 24, 32, 40]] * 4
    assert [(x.asked, x.calls, x.deletes) for x in lenders] == [(0, [], 0)] * 4


def test_a_bucket_seen_before_is_looked_at_again(fab):
    lists = [[Plain()], [Plain()]]
    fab.all_reduce(lists)
    shown = [given[0].shown for given in lists]
    lists[1][0].shape[0] = 1
    with pytest.raises(weft.ShapeMismatch):
        fab.all_reduce(lists)
    assert all(given[0].shown > before for given, before in zip(lists, shown, strict=True))
    assert lists[0][0].floats() == [0, 2, 4, 6, 8, 10]


@pytest.mark.parametrize("reason", ["requires_grad", "is_neg"])
def test_a_bucket_leaves_to_dlpack_what_may_not_be_lent(fab, reason):
    class Refused(Lender):
        def is_neg(self) -> bool:
            return reason == "is_neg"

    lists = [[Plain()], [Refused()]]
    lists[1][0].requires_grad = reason == "requires_grad"
    fab.all_reduce(lists)
    assert [len(given[0].calls) for given in lists] == [0, 1]
    assert lists[1][0].asked == 0


@pytest.mark.parametrize("reason", ["requires_grad", "is_neg"])
def test_a_bucket_seen_before_is_not_lent_by_a_tensor_that_now_refuses(fab, reason):
    class Changing(Lender):
        negated = False

        def is_neg(self) -> bool:
            return self.negated

    lists = [[Changing()], [Changing()]]
    fab.all_reduce(lists)
    assert [given[0].calls for given in lists] == [[], []]
    lists[1][0].requires_grad = reason == "requires_grad"
    lists[1][0].negated = reason == "is_neg"
    fab.all_reduce(lists)
    assert [len(given[0].calls) for given in lists] == [0, 1]

"""Section D, CUDA errors and lost devices: below Python, so that a fake driver or device fails."""

from __future__ import annotations

from python.faults.table import covered

_DRIVER = "tests/core/device/cuda/test_cuda_device.cc"
_MAPPED = "a CUDA error becomes the error it means, names the call and leaves nothing behind"
_OPENING = (
    "tests/collectives/test_faults.cc",
    "every device call of opening may fail: named error, nothing left behind",
)
_LAUNCH = (
    "tests/collectives/test_faults.cc",
    "a launch that fails on one rank ends the others, and leaves nothing behind",
)
_OF_A_RANK = (
    "tests/fabric/test_fabric.cc",
    "a device's error names its rank, and does not end an operation that others still run",
)

covered(
    "D-01",
    "an error of the user's own kernel that stays, before a call",
    "DeviceLost that names the call and the device",
    (_DRIVER, _MAPPED),
    (_DRIVER, "an event that is not there yet is no error, and waiting for it ends"),
)
covered(
    "D-02",
    "such an error during a collective",
    "the error names the rank, and the others end",
    _OF_A_RANK,
    _LAUNCH,
)
covered(
    "D-03",
    "any call of a device fails, at any use",
    "a named error, the state as before, nothing left behind",
    _OPENING,
    _LAUNCH,
    ("tests/fabric/test_fabric.cc", "what a joint work enqueued before it failed is waited for"),
    ("tests/topology/probe/test_measure.cc",
     "a call that fails ends it: what was measured is kept, nothing is left behind"),
)  # fmt: skip
covered(
    "D-04",
    "an error that another library left behind",
    "calls go by their own result, and leave no error of theirs behind",
    (_DRIVER, "an error that another library left behind is neither taken for ours nor swallowed"),
    (_DRIVER, _MAPPED),
    (_DRIVER, "a stream that is busy is no error; to ask leaves captures and the current device "
     "alone"),
)  # fmt: skip
covered(
    "D-05",
    "the current device, where a call fails",
    "as it was before the call",
    (_DRIVER, _MAPPED),
    (_DRIVER, "in a scope the device is made current once, and what was current comes back"),
)
covered(
    "D-06",
    "an event, a stream or memory cannot be made midway",
    "all that was made before is given back",
    _OPENING,
    (_DRIVER, "a shared segment that fails half way gives everything back"),
)
covered(
    "D-07",
    "an uncorrectable memory error, or a device that is gone",
    "DeviceLost; other devices serve another fabric",
    (_DRIVER, _MAPPED),
    ("tests/fabric/test_quarantine.cc",
     "a quarantined pair is refused with what was found, other devices are not"),
)  # fmt: skip
covered(
    "D-08",
    "the process ends while fabrics, tensors and work are left",
    "quietly, with its own exit code",
    ("tests/python/test_threads.py", "test_the_interpreter_ends_quietly_with"),
    ("tests/python/test_exit.py", "test_a_daemon_thread_in_a_call_does_not_end_the_process"),
)

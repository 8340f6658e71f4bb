"""How the interpreter ends while a daemon thread is in weft: quietly, with its own exit code."""

import subprocess
import sys

import pytest

START = """
import sys, threading, time
import numpy as np, weft
fab = weft.Fabric("sim:2")
data = [np.ones(1 << 22, np.float32) for _ in range(2)]

class Slow:
    def __dlpack_device__(self):
        return (1, 0)
    def __dlpack__(self, **kwargs):
        time.sleep(0.001)
        return data[0].__dlpack__(**kwargs)

def forever(call):
    while True:
        call()

CALLS = {
    "rank": lambda: fab.rank(0).all_reduce(data[0]),
    "barrier": lambda: fab.rank(0).barrier(20),
    "all_reduce": lambda: fab.all_reduce(data),
    "wait": lambda: fab.all_reduce(data, async_op=True).wait(),
    "tensor": lambda: weft.zeros(1 << 22),
    "open": lambda: weft.Fabric("sim:2").close(),
    "copy": lambda: fab.copy(data[0], data[1]),
    "events": lambda: fab.events(),
    "numbers": lambda: weft.tensor([1, 2, 3], dtype=weft.float32),
    "producer": lambda: weft.from_dlpack(Slow()),
}
threading.Thread(target=forever, args=(CALLS[sys.argv[1]],), daemon=True).start()
time.sleep(0.2)
"""


@pytest.mark.stress
@pytest.mark.parametrize(
    "call",
    ["rank", "barrier", "all_reduce", "wait", "tensor", "open", "copy", "events", "numbers",
     "producer"],
)  # fmt: skip
@pytest.mark.parametrize("code", [0, 7])
def test_a_daemon_thread_in_a_call_does_not_end_the_process(call, code):
    done = subprocess.run(
        [sys.executable, "-c", f"{START}\nsys.exit({code})", call],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (code, "")


def test_an_exception_that_nobody_caught_ends_the_process_as_ever():
    code = f"{START}\nraise KeyError('mine')"
    done = subprocess.run(
        [sys.executable, "-c", code, "rank"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "KeyError: 'mine'"

"""Section P, Python, threads and the process: signals, fork, exit, imports, limits.

Programs run in processes of their own, each with a deadline.
"""

from __future__ import annotations

import copy
import gc
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from typing import Any

import numpy as np
import pytest

import weft
from python.faults.calls import Memory, call, in_threads, listed, oracle, unchanged, works
from python.faults.runtime import planned
from python.faults.table import ROOT, checked, covered
from python.faults.world import SECONDS, in_process

#: What programs begin with. A background shell has Ctrl-C ignored.
PRELUDE = """
import os, signal, sys, threading, time
import numpy as np, weft
signal.signal(signal.SIGINT, signal.default_int_handler)

def works(fab):
    data = [np.arange(50) * (r + 1) for r in range(fab.size)]
    want = sum(data[1:], data[0])
    assert all((x == want).all() for x in fab.all_reduce(data))
"""


def program(text: str, *arguments: Any, **environment: str) -> str:
    """Runs a program that has to end well and say nothing on stderr; what it said on stdout."""
    code = PRELUDE + textwrap.dedent(text)
    code = code.replace("ARGUMENT", repr(arguments[0])) if arguments else code
    done = in_process(code, **environment)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


INTERRUPTED = """
rng = np.random.default_rng(1)
fab = weft.Fabric("sim:3", timeout=30)
data = [np.ones(20_000) for _ in range(3)]
blocked = [
    lambda: fab.rank(1).all_reduce(data[1]),
    lambda: fab.rank(2).barrier(),
    lambda: [fab.all_reduce(data) for _ in range(1_000_000)],
    lambda: [fab.all_reduce(data, async_op=True).wait() for _ in range(1_000_000)],
]
sent, worst = [], 0.0
def interrupt(seconds):
    time.sleep(seconds)
    sent.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)
for turn in range(ARGUMENT):
    thread = threading.Thread(target=interrupt, args=(rng.uniform(0, 0.02),))
    heard = None
    try:
        thread.start()
        blocked[turn % 4]()
    except KeyboardInterrupt:
        heard = time.monotonic()
    thread.join()
    assert heard is not None
    worst = max(worst, heard - sent[-1])
    fab.recover()
    works(fab)
print(worst)
"""


@checked(
    "P-01",
    "Ctrl-C while a call waits, at any time",
    "KeyboardInterrupt soon, and the fabric recovers",
    cases=[20, pytest.param(500, marks=pytest.mark.slow)],
    stress=True,
)
def interrupted(times: int) -> None:
    worst = float(program(INTERRUPTED, times))
    assert worst < 5, f"{worst} s"  # 0.1 s on a machine with nothing else to do


WAITING = """
fab = weft.Fabric("sim:2", timeout=60)
data = [np.ones(10), np.ones(10)]
fab._native.plan_fault(1, 0, "delay", 50.0)
print("ready", flush=True)
ARGUMENT
"""


@checked(
    "P-02",
    "SIGTERM, and Ctrl-C twice, while a call waits",
    "the process ends soon, by the signal",
    cases=("SIGTERM", "SIGINT"),
    stress=True,
)
def terminated(name: str) -> None:
    number = getattr(signal, name)
    for call_ in ("fab.all_reduce(data)", "fab.rank(0).all_reduce(data[0])"):
        code = PRELUDE + WAITING.replace("ARGUMENT", call_)
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == b"ready\n"
                process.send_signal(number)
                if name == "SIGINT":
                    time.sleep(0.02)
                    process.send_signal(number)
                assert process.wait(20) == -number
            finally:
                process.kill()


@checked(
    "P-03",
    "a call that waits while another thread runs Python",
    "the other thread goes on",
    cases=("call", "wait", "rank", "close"),
)
def others_go_on(what: str) -> None:
    ticks = [0]
    over = threading.Event()

    def tick() -> None:
        while not over.is_set():
            ticks[0] += 1
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    with weft.Fabric("sim:2", timeout=30) as fabric:
        data = [np.ones(10), np.ones(10)]
        with planned(fabric, 1, 0, "delay", 0.5):
            work = fabric.all_reduce(data, async_op=True) if what in ("wait", "close") else None
            thread.start()
            before = ticks[0]
            if what == "call":
                fabric.all_reduce(data)
            elif work is not None:
                work.wait() if what == "wait" else fabric.close()
            else:
                with pytest.raises(weft.CollectiveTimeout):
                    fabric.rank(0).barrier(0.5)
            counted = ticks[0] - before
            over.set()
            thread.join()
    assert counted > 20  # with the lock of the interpreter held it would be one or two


FORKED = """
import multiprocessing, warnings
warnings.simplefilter("ignore")  # Python warns of threads
fab = weft.Fabric("sim:2", timeout=30)
works(fab)

def child():
    barrier = fab.rank(0).barrier
    for use in (lambda: works(fab), fab.barrier, fab.recover, fab.check, barrier):
        try:
            use()
        except weft.FabricClosed as error:
            assert "fork" in str(error)
        else:
            os._exit(3)
    with weft.Fabric("sim:2") as own:
        works(own)
    sys.exit(7)

def by_fork():
    number = os.fork()
    if number == 0:
        child()
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])

def by_multiprocessing():
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(30)
    return process.exitcode

for way in (by_fork, by_multiprocessing):
    assert way() == 7
    works(fab)
fab.close()
"""


@checked(
    "P-04",
    "a fork after a fabric was opened, and the child uses it",
    "FabricClosed in the child, which may open its own; the parent goes on",
    stress=True,
)
def forked() -> None:
    program(FORKED)


FORKS = """
import warnings
warnings.simplefilter("ignore")
fab = weft.Fabric("sim:2", timeout=30)
data = [np.ones(20_000) for _ in range(2)]
over = threading.Event()
def traffic():
    while not over.is_set():
        fab.all_reduce(data, "max", async_op=True)
        fab.events(), fab.stats()
    fab.settle()
threads = [threading.Thread(target=traffic) for _ in range(2)]
for thread in threads: thread.start()
for turn in range(ARGUMENT):
    number = os.fork()
    if number == 0:
        fab.close()
        del fab
        os._exit(7) if turn % 2 else sys.exit(7)
    deadline = time.monotonic() + 30
    while True:
        ended, status = os.waitpid(number, os.WNOHANG)
        if ended: break
        if time.monotonic() > deadline:
            os.kill(number, signal.SIGKILL)
        time.sleep(0.001)
    assert os.waitstatus_to_exitcode(status) == 7, (turn, status)
over.set()
for thread in threads: thread.join()
works(fab)
fab.close()
"""


@checked(
    "P-05",
    "a fork while other threads are in calls and hold locks",
    "the child can end, by either way",
    cases=[10, pytest.param(200, marks=pytest.mark.slow)],
    stress=True,
)
def forked_in_traffic(times: int) -> None:
    program(FORKS, times)


OPEN = "fab = weft.Fabric('sim:2', timeout=30)\ndata = [np.ones(1000), np.ones(1000)]\n"
LATE = OPEN + "fab._native.plan_fault(1, 0, 'delay', 0.2)\n"
EXITS = {
    "nothing": "",
    "an open fabric": OPEN,
    "a fabric that was used": OPEN + "works(fab)",
    "an operation under way": LATE + "work = fab.all_reduce(data, async_op=True)",
    "an operation nobody holds": LATE + "fab.all_reduce(data, async_op=True); del data",
    "tensors of devices": "t = weft.ones(5, device='sim:1'); u = weft.from_dlpack(t); del t",
    "a graph": OPEN + "graph = weft.Graph()\nwith graph.capture(fab): fab.all_reduce(data)\n"
    "graph.replay()",
    "a cycle": OPEN + "class Holder: pass\nh = Holder(); h.h = h; h.fab = fab; del fab",
    "a module's attribute": OPEN + "sys.fab = fab; sys.data = [weft.ones(3)]",
    "a poisoned fabric": OPEN + "fab.abort()",
    "atexit": OPEN + "import atexit; atexit.register(lambda: works(fab))",
    "atexit that closes": LATE + "import atexit\nwork = fab.all_reduce(data, async_op=True)\n"
    "atexit.register(fab.close)",
    "a stopped rank": "fab = weft.Fabric('sim:2', timeout=0.2)\n"
    "fab._native.plan_fault(1, 0, 'stop')\n"
    "work = fab.all_reduce([np.ones(9), np.ones(9)], async_op=True)",
}


@checked(
    "P-06",
    "the process ends with this left over",
    "exit code 0, nothing on stderr, nothing leaked",
    cases=EXITS,
)
def left_over(what: str) -> None:
    assert program("weft._weft.set_leak_warnings(True)\n" + EXITS[what]) == ""


covered(
    "P-07",
    "a thread of weft drops the last reference after the interpreter has ended",
    "nobody asks for the interpreter: no crash, no hang",
    ("tests/python/test_exit.py", "test_a_daemon_thread_in_a_call_does_not_end_the_process"),
    ("tests/python/test_dlpack.py", "test_views_alive_at_exit_do_no_harm"),
    ("tests/python/test_dlpack.py",
     "test_the_deleter_of_an_export_runs_on_a_thread_without_the_gil"),
)  # fmt: skip


@checked(
    "P-08",
    "a call into Python from a thread of weft's own",
    "there is none: events are fetched, never pushed",
)
def no_calls_into_python() -> None:
    python = re.compile(r"Python\.h|nanobind|PyGILState|gil_scoped_acquire")
    threads = re.compile(r"\bstd::(?:j?thread|async)\b")
    below, above = 0, 0
    for folder in ("core", "fabric", "collectives", "topology", "python/bind"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix not in (".h", ".cc", ".cu", ".cuh"):
                continue
            code = re.sub(r"//.*", "", path.read_text(encoding="utf-8"))
            if folder == "python/bind":
                assert not threads.search(code), f"{path} starts a thread"
                assert "PyGILState_Ensure" not in code
                above += 1
            else:
                assert not python.search(code), f"{path} knows Python"
                below += 1
    assert below > 100
    assert above > 20


class Unwilling:
    """Raises when it is asked for its memory, or its device."""

    def __init__(self, where: str, error: BaseException) -> None:
        self.where, self.error, self.shape = where, error, (5,)

    def __dlpack__(self, **options: Any) -> Any:
        raise self.error

    def __dlpack_device__(self) -> tuple[int, int]:
        if self.where == "device":
            raise self.error
        return (1, 0)


@checked(
    "P-09",
    "an exception in a producer's __dlpack__, or in a callback",
    "comes out as it is; what was lent before is given back",
)
def exceptions_of_users() -> None:
    memory = Memory()
    with weft.Fabric("sim:2", timeout=30) as fabric:
        for where in ("memory", "device"):
            for error in (KeyError("a"), MemoryError("b"), KeyboardInterrupt(), SystemExit(3)):
                good = memory.keep(np.ones(5))
                ghost = weakref.ref(good)

                def use(where: str = where, error: Any = error, good: Any = good) -> None:
                    with pytest.raises(type(error)) as caught:
                        fabric.all_reduce([good, Unwilling(where, error)])
                    assert caught.value is error
                    with pytest.raises(type(error)):
                        weft.from_dlpack(Unwilling(where, error))

                unchanged(fabric, memory, use)
                memory = Memory()
                error.__traceback__ = None
                del good, use, error
                gc.collect()
                assert ghost() is None
    graph = weft.Graph()
    with weft.Fabric("sim:2") as fabric:
        with pytest.raises(ZeroDivisionError), graph.capture(fabric):
            raise ZeroDivisionError
        works(fabric)
    assert graph.operations == []


@checked(
    "P-10",
    "64 threads that call everything there is",
    "no deadlock, and each has its own result",
    stress=True,
)
def many_threads() -> None:
    with weft.Fabric("sim:3", timeout=120) as fabric:

        def work(index: int) -> None:
            for turn in range(2):
                kind = (index + turn) % 6
                if kind == 0:
                    fabric.stats(), fabric.metrics(), fabric.events().to_jsonl()
                elif kind == 1:
                    fabric.barrier()
                elif kind == 2:
                    with weft.Fabric("sim:2", timeout=120) as own:
                        works(own)
                elif kind == 3:
                    there = weft.zeros(10, device="sim:1")
                    fabric.copy(weft.ones(10, device="sim:0"), there)
                    assert there.tolist() == [1] * 10
                elif kind == 4:
                    with pytest.raises(weft.ShapeMismatch):
                        fabric.all_reduce([np.ones(2), np.ones(3), np.ones(2)])
                else:
                    made = call("all_gather", rows=10 + index)
                    assert listed(fabric, made) == [None]
                    assert made.get("outputs", 2).tobytes() == oracle(made)[2].tobytes()

        assert in_threads(64, work) == [None] * 64
        works(fabric)


AGAIN = {
    "reload": ("import importlib; importlib.reload(weft); works(weft.Fabric('sim:2'))", ""),
    "import again": (
        "for name in [m for m in sys.modules if m.partition('.')[0] == 'weft']:\n"
        "    del sys.modules[name]\n"
        "try:\n    import weft\n"
        "except ImportError as error:\n    print(error)",
        "weft cannot be imported twice in one process",
    ),
    "another interpreter": (
        "try:\n    import _interpreters as other\n"
        "except ImportError:\n    import _xxsubinterpreters as other\n"
        "code = 'try:\\n    import weft\\nexcept ImportError as e: print(e, flush=True)'\n"
        "other.run_string(other.create(), code)\n"
        "works(weft.Fabric('sim:2'))",
        "weft cannot be imported twice in one process|subinterpreters",
    ),
}


@checked(
    "P-11",
    "weft is reloaded, imported a second time, or in another interpreter",
    "it works, or an ImportError says that it does not",
    cases=AGAIN,
)
def imported_again(how: str) -> None:
    text, says = AGAIN[how]
    done = in_process(PRELUDE + text)
    assert done.returncode == 0, done.stderr
    assert re.search(says, done.stdout), done.stdout


@checked(
    "P-12",
    "handles are copied, pickled or compared, also of what is closed",
    "TypeError or InvalidArgument where that means nothing; a handle equals itself alone",
)
def copies_of_handles() -> None:
    fabric = weft.Fabric("sim:2")
    data = [np.ones(2), np.ones(2)]
    work = fabric.all_reduce(data, async_op=True)
    work.wait()
    graph = weft.Graph()
    with graph.capture(fabric):
        fabric.all_reduce(data)
    handles = [fabric, fabric.rank(0), work, graph, weft.Stream("sim:0"), weft.Event("sim:0")]
    for closed in (False, True):
        for handle in handles:
            for duplicate in (copy.deepcopy, pickle.dumps):
                with pytest.raises((TypeError, weft.InvalidArgument)):
                    duplicate(handle)
            assert handle == handle
            assert not any(handle == other for other in handles if other is not handle)
            assert handle != 1
            assert isinstance(hash(handle), int)
            assert repr(handle)
        if not closed:
            fabric.close()
    with pytest.raises(weft.InvalidArgument, match="copied"):
        copy.copy(fabric)
    for value in (weft.Device("sim:1"), weft.float32, weft.ones(3)):
        again = pickle.loads(pickle.dumps(value))
        assert str(again) == str(value)


MISSING = {
    "nanobind_backend": "nanobind_backend",
    "weft._weft": r"weft\._weft",
}


@checked(
    "P-13",
    "a part is missing: the extension, what it is built on, a CUDA library",
    "ImportError that names it; what does not need it works",
    cases=(*MISSING, "cuda"),
)
def missing_parts(name: str) -> None:
    if name == "cuda":  # its runtime is linked in, and the driver is looked for when it is needed
        done = in_process("import weft; print(weft.Fabric('sim:2').size, weft.cuda.device_count())")
        assert (done.returncode, done.stdout.split()[0]) == (0, "2"), done.stderr
        needed = subprocess.run(
            ["ldd", weft._weft.__file__], capture_output=True, text=True, timeout=SECONDS,
            check=False,
        )  # fmt: skip
        assert "cuda" not in needed.stdout
        return
    blocked = f"import sys; sys.modules[{name!r}] = None\nimport weft\n"
    done = in_process(blocked)
    assert done.returncode == 1
    assert re.search(f"(ImportError|ModuleNotFoundError): .*{MISSING[name]}", done.stderr)


LIMITED = """
import resource, warnings
fab = weft.Fabric("sim:2", timeout=30)
works(fab)
fab.all_reduce([np.ones(2), np.ones(2)], async_op=True).wait()
spare = weft.Fabric("sim:2"); spare.close(); del spare
def refused(what, *kinds):
    try:
        what()
    except kinds as error:
        assert str(error)
    else:
        raise AssertionError("not refused")
ARGUMENT
works(fab)
fab.close()
print("ended well")
"""
LIMITS = {
    # Address space: what does not fit is refused, what is there already goes on.
    "RLIMIT_AS": """
used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), -1))
refused(lambda: weft.zeros(1 << 30), weft.OutOfMemory)
refused(lambda: weft.zeros(1 << 30, device="sim:0"), weft.OutOfMemory)
refused(lambda: weft.Fabric("sim:64"), weft.OutOfMemory)
large = [np.ones(1 << 19), np.ones(1 << 19)]
refused(lambda: [fab.all_gather([x.repeat(4) for x in large]) for _ in range(9)], MemoryError)
""",
    "RLIMIT_NOFILE": """
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
works(fab)
with weft.Fabric("sim:4") as other: works(other)
refused(lambda: fab.trace("trace.json").__enter__(), OSError)
""",
    # Root may start any number of threads, so that it has to become somebody else.
    "RLIMIT_NPROC": """
lonely = weft.Fabric("sim:2", timeout=30)
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
if os.getuid() == 0:
    try: os.setuid(65534)
    except OSError: print("root"); sys.exit(0)
refused(lambda: threading.Thread(target=print).start(), RuntimeError)
refused(lambda: weft.Fabric("sim:3", tuning="off"), weft.OutOfMemory)
works(lonely)
data = [np.ones(9), np.ones(9)]
lonely.all_reduce(data, async_op=True).wait()  # looked after by no thread, and works
assert data[0].tolist() == [2] * 9
lonely.close()
""",
}


@checked(
    "P-14",
    "no more memory, descriptors or threads",
    "an error by name; what is open goes on working",
    cases=LIMITS,
)
def exhausted(limit: str) -> None:
    text = LIMITED.replace("ARGUMENT", LIMITS[limit])
    said = program(text)
    if said == "root\n":
        pytest.skip("this root cannot become another user")
    assert said == "ended well\n"

"""Stand-ins for what tests have not got: libcuda and libnccl as ctypes sees them, a whole Fabric,
and the streams of torch.

They move real bytes in host memory. A captured graph keeps what was asked for and does it at each
launch; a collective happens when the last rank's stream reaches it. The clock ticks a microsecond
for each operation of a stream.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
import types
from collections import Counter

import numpy as np

from weft.bench.pattern import numpy_dtype
from weft.bench.rivals import nccl_library

CAPTURING = 900
NO_CONTEXT = 201


def plain(argument):
    """The number in a ctypes argument."""
    return argument.value if hasattr(argument, "value") else argument


def view(address, count, dtype):
    """Host memory as an array."""
    kind = numpy_dtype(dtype)
    data = (ctypes.c_char * (count * kind.itemsize)).from_address(address)
    return np.frombuffer(data, kind)


class FakeCuda:
    """`devices` devices with an L2 of `l2` bytes. Every function returns a status."""

    def __init__(self, devices=2, l2=64 << 10):
        self.devices, self.l2 = devices, l2
        self.memory, self.capturing, self.graphs, self.streams, self.events = {}, {}, {}, set(), {}
        self.stack, self.calls, self.clock, self.slow = [], Counter(), 0.0, False
        self.flushed, self.copies = 0, []
        self._next = 1000

    def new(self):
        self._next += 1
        return self._next

    def __getattribute__(self, name):
        value = super().__getattribute__(name)
        if name.startswith("cu"):
            self.calls[name] += 1
        return value

    def cuInit(self, flags):
        return 0

    def cuGetErrorString(self, status, out):
        out._obj.value = f"fake {plain(status)}".encode()
        return 0

    def cuDriverGetVersion(self, out):
        out._obj.value = 13010
        return 0

    def cuDeviceGet(self, out, ordinal):
        out._obj.value = plain(ordinal)
        return 0 if plain(ordinal) < self.devices else 101

    def cuDeviceGetAttribute(self, out, attribute, device):
        assert plain(attribute) == 38
        out._obj.value = self.l2
        return 0

    def cuDevicePrimaryCtxRetain(self, out, device):
        out._obj.value = 7000 + plain(device)
        return 0

    def cuCtxPushCurrent_v2(self, context):
        self.stack.append(plain(context))
        return 0

    def cuCtxPopCurrent_v2(self, out):
        self.stack.pop()
        return 0

    def cuCtxSynchronize(self):
        return 0 if self.stack else NO_CONTEXT

    def cuMemAlloc_v2(self, out, size):
        if not self.stack:
            return NO_CONTEXT
        block = ctypes.create_string_buffer(plain(size) + 4096)
        address = -(-ctypes.addressof(block) // 4096) * 4096
        self.memory[address] = (block, plain(size))
        out._obj.value = address
        return 0

    def cuMemFree_v2(self, address):
        if self.capturing:
            return CAPTURING
        del self.memory[plain(address)]
        return 0

    def inside(self, address, size):
        return any(b <= address and address + size <= b + n for b, (_, n) in self.memory.items())

    def cuMemcpyHtoD_v2(self, target, source, size):
        assert self.inside(plain(target), plain(size))
        ctypes.memmove(plain(target), plain(source), plain(size))
        return 0

    def cuMemcpyDtoH_v2(self, target, source, size):
        assert self.inside(plain(source), plain(size))
        ctypes.memmove(plain(target), plain(source), plain(size))
        return 0

    def cuMemcpyDtoD_v2(self, target, source, size):
        assert self.inside(plain(source), plain(size))
        assert self.inside(plain(target), plain(size))
        ctypes.memmove(plain(target), plain(source), plain(size))
        return 0

    def cuMemcpyAsync(self, target, source, size, stream):
        self.copies.append((plain(source), plain(target)))
        self.enqueue(stream, lambda: None)
        return 0

    def cuMemsetD8_v2(self, address, value, size):
        assert self.inside(plain(address), plain(size))
        if plain(value) == 1:
            self.flushed += plain(size)
        ctypes.memset(plain(address), plain(value), plain(size))
        return 0

    def cuStreamCreate(self, out, flags):
        out._obj.value = self.new()
        self.streams.add(out._obj.value)
        return 0 if plain(flags) == 1 else 1

    def cuStreamDestroy_v2(self, stream):
        self.streams.remove(plain(stream))
        return 0

    def cuStreamQuery(self, stream):
        return 600 if self.slow else 0

    def cuStreamBeginCapture_v2(self, stream, mode):
        assert plain(mode) == 1
        self.capturing[plain(stream)] = []
        return 0

    def cuStreamEndCapture(self, stream, out):
        out._obj.value = self.new()
        self.graphs[out._obj.value] = self.capturing.pop(plain(stream))
        return 0

    def cuGraphInstantiateWithFlags(self, out, graph, flags):
        if self.capturing:
            return CAPTURING
        out._obj.value = self.new()
        self.graphs[out._obj.value] = self.graphs[plain(graph)]
        return 0

    def cuGraphUpload(self, executable, stream):
        return 0

    def cuGraphLaunch(self, executable, stream):
        for action in self.graphs[plain(executable)]:
            self.enqueue(stream, action)
        return 0

    def cuGraphDestroy(self, graph):
        del self.graphs[plain(graph)]
        return 0

    cuGraphExecDestroy = cuGraphDestroy

    def cuEventCreate(self, out, flags):
        out._obj.value = self.new()
        self.events[out._obj.value] = None
        return 0

    def cuEventDestroy_v2(self, event):
        del self.events[plain(event)]
        return 0

    def cuEventRecord(self, event, stream):
        self.events[plain(event)] = self.clock
        return 0

    def cuEventElapsedTime(self, out, start, end):
        out._obj.value = 1e3 * (self.events[plain(end)] - self.events[plain(start)])
        return 0

    def enqueue(self, stream, action):
        """Do `action` now, or keep it where the stream is being captured."""
        if plain(stream) in self.capturing:
            self.capturing[plain(stream)].append(action)
            return
        self.clock += 1e-6
        action()


class Meeting:
    """Happens when all its ranks are there; then again."""

    def __init__(self, ranks, action):
        self.ranks, self.action, self.there = ranks, action, 0

    def __call__(self):
        self.there += 1
        if self.there == self.ranks:
            self.there = 0
            self.action()


class FakeNccl:
    """NCCL `version` over the memory of `cuda`."""

    def __init__(self, cuda, version=22809):
        self.cuda, self.number = cuda, version
        self.group, self.comms, self.windows, self.names = None, {}, {}, Counter()
        self.damage = False  # whether the last element of each result of rank 1 is wrong
        self.ncclGetErrorString = lambda status: b"fake"
        whole = ["AllReduce", "ReduceScatter", "AllGather", "Broadcast", "Reduce"]
        whole += ["Send", "Recv"] + (["AlltoAll"] if version >= 22800 else [])
        for name in whole:
            setattr(self, f"nccl{name}", self.collective(name))
        if version >= 22700:
            self.ncclCommWindowRegister = self.register

    def collective(self, name):
        def called(*arguments):
            self.group.append((name, [plain(argument) for argument in arguments]))
            self.names[name] += 1
            return 0

        return called

    def ncclGetVersion(self, out):
        out._obj.value = self.number
        return 0

    def ncclCommInitAll(self, handles, count, devices):
        for i in range(plain(count)):
            handles[i] = 9000 + i
            self.comms[9000 + i] = i
        return 0

    def ncclCommDestroy(self, comm):
        del self.comms[plain(comm)]
        return 0

    def ncclMemAlloc(self, out, size):
        return self.cuda.cuMemAlloc_v2(out, size)

    def ncclMemFree(self, address):
        return self.cuda.cuMemFree_v2(address)

    def register(self, comm, address, size, out, flags):
        assert plain(flags) == 1
        out._obj.value = self.cuda.new()
        self.windows[out._obj.value] = (plain(address), plain(size))
        return 0

    def ncclCommWindowDeregister(self, comm, window):
        del self.windows[plain(window)]
        return 0

    def ncclGroupStart(self):
        self.group = []
        return 0

    def ncclGroupEnd(self):
        group, self.group = self.group, None
        moved = [call for call in group if call[0] in ("Send", "Recv")]
        if moved:
            self.messages(moved)
        elif group:
            self.whole(group)
        return 0

    def messages(self, group):
        sent = {}
        for name, (address, count, _, peer, comm, stream) in group:
            if name == "Send":
                sent.setdefault((self.comms[comm], peer), []).append((address, count, stream))
        for name, (address, count, dtype, peer, comm, stream) in group:
            if name == "Recv":
                source, size, other = sent[(peer, self.comms[comm])].pop(0)
                assert size == count
                assert dtype == nccl_library.DTYPES["uint8"]

                def move(target=address, source=source, size=size):
                    ctypes.memmove(target, source, size)

                meeting = Meeting(2, move)
                self.cuda.enqueue(ctypes.c_void_p(other), meeting)
                self.cuda.enqueue(ctypes.c_void_p(stream), meeting)
        assert not any(sent.values())

    def whole(self, group):
        name = group[0][0]
        assert [one[0] for one in group] == [name] * len(self.comms)
        assert [self.comms[one[1][-2]] for one in group] == list(range(len(self.comms)))
        calls = [arguments for _, arguments in group]

        def happen():
            self.happen(name, calls)

        meeting = Meeting(len(calls), happen)
        for arguments in calls:
            self.cuda.enqueue(ctypes.c_void_p(arguments[-1]), meeting)

    def happen(self, name, calls):
        ranks, count = len(calls), calls[0][2]
        dtype = {code: kind for kind, code in nccl_library.DTYPES.items()}[calls[0][3]]
        op = {code: kind for kind, code in nccl_library.OPS.items()}.get(calls[0][4])
        root = calls[0][-3]
        factor = ranks if name in ("ReduceScatter", "AlltoAll") else 1
        inputs = [view(call[0], count * factor, dtype).copy() for call in calls]
        for rank, call in enumerate(calls):
            if name == "Reduce" and rank != root:
                continue
            mine = slice(rank * count, (rank + 1) * count)
            result = {
                "AllReduce": lambda: reduced(inputs, op),
                "Reduce": lambda: reduced(inputs, op),
                "ReduceScatter": lambda mine=mine: reduced(inputs, op)[mine],
                "AllGather": lambda: np.concatenate(inputs),
                "Broadcast": lambda: inputs[root],
                "AlltoAll": lambda mine=mine: np.concatenate([one[mine] for one in inputs]),
            }[name]()
            out = view(call[1], len(result), dtype)
            out[:] = result
            if self.damage and rank == 1:
                out[-1] += 1


def reduced(inputs, op):
    """The reduction of exact inputs, in their type."""
    wide = np.array([one.astype(np.float64) for one in inputs])
    if op == "avg":
        return (wide.sum(axis=0) / len(inputs)).astype(inputs[0].dtype)
    join = {"sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum}[op]
    exact = join.reduce(wide)
    kind = inputs[0].dtype
    with np.errstate(over="ignore"):  # sums into their own inputs grow
        return exact.astype(np.int64).astype(kind) if kind.kind in "iu" else exact.astype(kind)


class FakeWork:
    def __init__(self):
        self.info = {"algorithm": "fake", "blocks": 3, "scratch_bytes": 4096}

    def wait(self, timeout=None):
        pass


class FakeFabric:
    """Every collective over NumPy arrays, as a Fabric has them."""

    backend = "sim"

    def __init__(self, ranks, damage=None):
        self.size, self.devices = ranks, [f"sim:{i}" for i in range(ranks)]
        self.damage = damage or (lambda outputs: None)

    def done(self, outputs, async_op):
        self.damage(outputs)
        return FakeWork() if async_op else outputs

    def all_reduce(self, tensors, op="sum", *, out=None, async_op=False):
        return self.spread([reduced(tensors, op)] * self.size, tensors, out, async_op)

    def reduce_scatter(self, inputs, out=None, op="sum", async_op=False):
        return self.spread(np.split(reduced(inputs, op), self.size), None, out, async_op)

    def all_gather(self, inputs, out=None, async_op=False):
        return self.spread([np.concatenate(inputs)] * self.size, None, out, async_op)

    def all_to_all(self, inputs, out=None, async_op=False):
        shares = [np.split(one, self.size) for one in inputs]
        joined = [np.concatenate(mine) for mine in zip(*shares, strict=True)]
        return self.spread(joined, None, out, async_op)

    def broadcast(self, tensors, root=0, *, out=None, async_op=False):
        return self.spread([tensors[root].copy()] * self.size, tensors, out, async_op)

    def reduce(self, tensors, root=0, op="sum", *, out=None, async_op=False):
        assert out is None or [x is not None for x in out].count(True) == 1
        target = (out or tensors)[root]
        target[:] = reduced(tensors, op)
        return self.done(out or tensors, async_op)

    def scatter(self, inputs, out=None, root=0, async_op=False):
        return self.spread(np.split(inputs[root], self.size), None, out, async_op)

    def gather(self, inputs, out=None, root=0, async_op=False):
        out[root][:] = np.concatenate(inputs)
        return self.done(out, async_op)

    def send_recv(self, tensors, to, *, out=None, async_op=False):
        for source, target in enumerate(to):
            assert (tensors[source] is None) == (target is None)
            if target is not None:
                out[target][:] = tensors[source]
        return self.done(out, async_op)

    def spread(self, values, inputs, out, async_op):
        for target, value in zip(inputs if out is None else out, values, strict=True):
            target[:] = value
        return self.done(inputs if out is None else out, async_op)


class FakeGraph:
    """`weft.Graph` by the contract: records what the fabric is asked for, does it at replay."""

    def __init__(self):
        self.recorded, self.replays, self.info = [], 0, {}

    @contextlib.contextmanager
    def capture(self, fabric):
        names = [name for name in dir(fabric) if not name.startswith("_")]
        methods = {name: getattr(fabric, name) for name in names if name in COLLECTIVE_METHODS}
        own = dict(vars(fabric))

        def keep(method):
            return lambda *args, **more: self.recorded.append((method, args, more))

        for name, method in methods.items():
            setattr(fabric, name, keep(method))
        try:
            yield
        finally:
            vars(fabric).clear()
            vars(fabric).update(own)

    def replay(self, *, timing=False):
        begin = time.perf_counter()
        for method, args, more in self.recorded:
            method(*args, **more)
        self.replays += 1
        return 1e6 * (time.perf_counter() - begin) if timing else None


COLLECTIVE_METHODS = {
    "all_reduce", "reduce_scatter", "all_gather", "all_to_all", "broadcast", "reduce", "scatter",
    "gather", "send_recv",
}  # fmt: skip


class FakeTensor(np.ndarray):
    """What overlap.py asks of a tensor of torch's."""

    device = "cpu"

    def to(self, what):
        return self.astype(what) if what is np.float32 else self

    def fill_(self, value):
        self[...] = value


class FakeTorch:
    """Streams and events of torch.cuda on a clock that stands still but for waits.

    product: seconds that a product of matrices takes. stuck: nothing ever ends.
    """

    float32, bfloat16, __version__ = np.float32, "bfloat16", "fake"

    def __init__(self, product):
        self.now, self.product, self.stuck, self.current = 0.0, product, False, None
        self.cuda, torch = self, self

        class Stream:
            def __init__(self, device, priority=0):
                self.ready = 0.0

            def enqueue(self, seconds):
                self.ready = max(self.ready, torch.now) + seconds

        class Event:
            def __init__(self, enable_timing):
                assert enable_timing

            def record(self, stream):
                stream.enqueue(0.0)
                self.at = stream.ready

            def query(self):
                if not torch.stuck:
                    torch.now = max(torch.now, self.at)
                return not torch.stuck

            def elapsed_time(self, end):
                return 1e3 * (end.at - self.at)

        self.Stream, self.Event = Stream, Event

    @contextlib.contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream
        yield
        self.current = before

    def get_device_properties(self, device):
        return types.SimpleNamespace(multi_processor_count=132)

    def synchronize(self, device):
        pass

    def randn(self, *sizes, device, dtype):
        assert dtype == self.bfloat16
        return np.zeros(sizes).view(FakeTensor)

    def empty(self, *sizes, device, dtype):
        return self.randn(*sizes, device=device, dtype=dtype)

    def randint(self, low, high, sizes, device):
        return np.random.default_rng(1).integers(low, high, sizes).view(FakeTensor)

    def empty_like(self, tensor):
        return np.empty_like(tensor)

    def mm(self, a, b, out):
        self.current.enqueue(self.product)

"""`Fabric`: ranks bound to devices, and the collectives between them (weft.collectives).

Blocking: on host and simulated memory a call returns when the result is there. On CUDA it is
stream-ordered: it returns once the work is on the ranks' streams, and a device fault surfaces at
the next wait or call. The GIL is released while anything waits or launches.

Thread safety: every method may be called from any thread. Two calls at once on one fabric happen
one after the other, in the order in which they were issued.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from weft import _weft
from weft._call import wait_seconds
from weft._config import setting
from weft._dump import Dumper, target_folder
from weft._errors import invalid, seconds_or_default, whole_number
from weft._recording import hold
from weft._spec import resolve
from weft.collectives import Collectives
from weft.topology import Topology, default_preset
from weft.tuning import InForce, place
from weft.work import InFlight

if TYPE_CHECKING:
    import os
    from contextlib import AbstractContextManager

    import numpy as np
    import numpy.typing as npt

    from weft.events import Events
    from weft.rank_view import RankView

__all__ = ["Fabric"]


class Fabric(Collectives):
    """Ranks bound to devices, that see each other's memory, signals and faults.

    devices: `"sim:8"` (8 simulated devices, 1 to 64), `"cuda:0,1"` (these), `"cuda:0x4"` (4 ranks
    on device 0), `"cuda:0x2,1x2"`, a list of names or `weft.Device`s (one a rank, repeats allowed;
    there `"sim:2"` is the device of that index, and `"sim"` is `"sim:0"`), a `weft.Device` (a list
    of one), or None: what WEFT_DEVICES says, else every CUDA device, else 4 simulated ones.
    topology: for simulated devices, the machine they stand for: a `Topology` with at least as many
    devices or a preset's name; None: the preset that WEFT_SIM_TOPOLOGY names, its links repeated
    for more devices than it has.
    timeout: seconds that a wait may take where the call does not say; None is WEFT_TIMEOUT (30).
    scratch: bytes a rank for data under way; None is 64 MiB on CUDA and 4 MiB on simulated devices.
    tuning: a file of `weft tune`, whose measured algorithms "auto" takes; "off": those that weft is
    shipped with; None: what WEFT_TUNING says, else the file at its default place if there is one.
    dump: a folder, in which every timeout leaves one of its own: events, statistics, topology, the
    stacks of all threads. None is WEFT_DUMP, "" none. OSError where it cannot be made.
    stats: a folder, in which a thread of this process writes the statistics of its open fabrics
    twice a second, for `weft stats` (docs/statistics.md). None is WEFT_STATS, "" none. OSError as
    above.
    events: whether it records events (`weft.events`); None is WEFT_EVENTS.

    Raises InvalidArgument (it says what there is), ConfigError (also on CUDA with more than one
    rank while CUDA_LAUNCH_BLOCKING is set, under which ranks would wait for each other for ever),
    PeerAccessError, OutOfMemory, CudaError; then nothing is left behind.

    Graphs that you capture yourself (torch.cuda.graph) take their place among the fabric's other
    operations when they are launched. Launch them from the thread that also calls the fabric, or
    see to it that the two do not happen at once: else ranks may run the two in different orders,
    which ends in CollectiveTimeout. The same goes for `recover()` and `close()`, which wait for
    graphs launched before. Two fabrics at once on the same devices need such an order too, or fewer
    blocks (`max_blocks`): docs/concurrency.md.

    An argument wins over its variable, but a WEFT_* value that cannot be used is a ConfigError even
    so: it is a mistake that would show up elsewhere. A fabric cannot be copied or pickled:
    InvalidArgument.

    >>> import numpy as np, weft
    >>> with weft.Fabric("sim:4") as fab:
    ...     gradients = [np.full(3, rank, np.float32) for rank in range(fab.size)]
    ...     _ = fab.all_reduce(gradients)
    >>> gradients[0].tolist()
    [6.0, 6.0, 6.0]
    """

    def __init__(
        self,
        devices: str | _weft.Device | Sequence[object] | None = None,
        *,
        topology: Topology | str | None = None,
        timeout: float | None = None,
        scratch: int | None = None,
        tuning: str | os.PathLike[str] | None = None,
        dump: str | os.PathLike[str] | None = None,
        stats: str | os.PathLike[str] | None = None,
        events: bool | None = None,
    ) -> None:
        names = resolve(devices)
        seconds = seconds_or_default(timeout, float(str(setting("WEFT_TIMEOUT"))))
        if isinstance(topology, str):
            topology = Topology.preset(topology, len(set(names)))
        if topology is not None and not isinstance(topology, Topology):
            raise invalid(f"topology must be a Topology or the name of a preset, not {topology!r}")
        if topology is not None and not names[0].startswith("sim:"):
            raise invalid("topology= is for simulated devices; CUDA devices have their own")
        if topology is not None and topology.size < len(set(names)):
            raise invalid(
                f"{topology!r} is smaller than the fabric, which has {len(set(names))} devices"
            )
        if topology is None and names[0].startswith("sim:"):
            default_preset()  # or a ConfigError that names the variable
        native = None if topology is None else topology._native
        size = 0 if scratch is None else whole_number(scratch)
        if size is None or (scratch is not None and not 1 << 16 <= size <= 1 << 36):
            raise invalid(f"scratch is a number of bytes from 64 KiB to 64 GiB, not {scratch!r}")
        dump = str(setting("WEFT_DUMP")) if dump is None else dump
        folder = target_folder(dump) if dump else None
        stats = str(setting("WEFT_STATS")) if stats is None else stats
        published = target_folder(stats) if stats else None
        where = place(tuning)
        tables = where.tables()
        if events is not None and not isinstance(events, bool):
            raise invalid(f"events must be True, False or None, not {events!r}")
        self._native = _weft.Fabric(names, seconds, native, size, events=events)
        self._tuning = InForce(self._native, tables, where.path)
        self._devices = list(self._native.devices)
        self._in_flight = InFlight(self._native, seconds)
        self._stream_ordered = self._native.backend == "cuda"
        self._dumper = None if folder is None else Dumper(self, folder)
        self._published = None
        if published is not None:
            from weft._publish import publish

            self._published = publish(self, published)

    # What it is

    @property
    def size(self) -> int:
        """The number of ranks."""
        return int(self._native.size)

    @property
    def devices(self) -> list[str]:
        """The device of each rank, e.g. `["cuda:0", "cuda:1"]`."""
        return list(self._devices)

    @property
    def backend(self) -> str:
        """`"cuda"` or `"sim"`."""
        return str(self._native.backend)

    @property
    def topology(self) -> Topology:
        """The machine as this fabric sees it: of simulated devices, the one given or a preset."""
        return Topology(self._native.topology)

    @property
    def peer_access(self) -> npt.NDArray[np.bool_]:
        """size x size booleans: may rank i read and write the memory of rank j?"""
        import numpy as np

        return np.array(self._native.peer_access(), dtype=np.bool_).reshape(self.size, self.size)

    @property
    def closed(self) -> bool:
        """Whether `close()` has been called; also true in the child of a fork()."""
        return bool(self._native.closed)

    def copy(self, src: object, dst: object) -> None:
        """Copy the elements of `src` into `dst`: tensors of one shape and dtype, of any two ranks.

        Blocks until it is done. On CUDA it follows what is on the default streams of both devices,
        and so all streams but the non-blocking ones. ShapeMismatch, DTypeMismatch, AliasError,
        ReadOnlyBuffer, DeviceMismatch for the memory of a device that no rank is on, and
        InvalidArgument while a `weft.Graph` captures the fabric: a copy is not recorded.

        >>> import numpy as np, weft
        >>> with weft.Fabric("sim:2") as fab:
        ...     there = weft.zeros(3, device="sim:1")
        ...     fab.copy(weft.ones(3, device="sim:0"), there)
        >>> there.numpy().tolist()
        [1.0, 1.0, 1.0]
        """
        self._native.copy(src, dst)

    def barrier(self, timeout: float | None = None) -> None:
        """Block until everything issued before it has ended on every rank.

        Raises CollectiveTimeout after `timeout` seconds.
        """
        self._native.barrier(wait_seconds(timeout))

    def rank(self, index: int) -> RankView:
        """One rank, to be driven from its own thread.

        index: an int or anything with `__index__`. InvalidArgument unless 0 <= index < size.
        """
        from weft.rank_view import RankView

        rank = whole_number(index)
        if rank is None or not 0 <= rank < self.size:
            raise invalid(f"rank must be from 0 to {self.size - 1}, not {index!r}")
        return RankView(self, rank)

    def _finish(self, operation: _weft.Operation, tensors: object, async_op: bool) -> None:
        """Wait where a call blocks; else keep what the extension borrows until it has ended."""
        token = operation.recorded_for
        if token:
            hold(token, tensors)
            return
        if async_op:
            operation.watch()
        if async_op or self._stream_ordered:
            self._in_flight.hold(operation, tensors)
            return
        try:
            operation.wait(None)
        except BaseException:  # also Ctrl-C: the ranks may still be at work on the tensors
            self._in_flight.hold(operation, tensors)
            raise

    def settle(self) -> None:
        """Wait for every operation under way, as `Work.wait` does; its errors go to who asks for
        its result."""
        self._in_flight.settle()

    def tuning(self) -> list[dict[str, Any]]:
        """The table that `algorithm="auto"` goes by, ready for JSON.

        A call runs with the first row that is for it and whose algorithm can serve it. A row has
        collectives (names), dtypes ("any", "floating", "integral"), captured and in_place (True,
        False, or None for both), from_bytes and up_to_bytes (of a rank's input, both included;
        None: no end), algorithm, blocks (the most a rank; 0: the algorithm's choice), source (the
        file and the date of the measurement, or "shipped") and measured (microseconds of each
        candidate at some sizes; None for shipped rows).

        >>> import weft
        >>> with weft.Fabric("sim:4", tuning="off") as fab:
        ...     first = fab.tuning()[0]
        >>> first["collectives"], first["algorithm"], first["source"]
        (['all_reduce'], 'two_shot', 'shipped')
        """
        return self._tuning.rows()

    # What happened

    def stats(self) -> dict[str, Any]:
        """Totals since the fabric was opened or `reset_stats()`, ready for JSON.

        operations (ended without error), empty (of those, with nothing to do), failed (also those
        that not every rank came to in time, and faults of graphs of the caller's own), bytes (of
        one rank's vectors), seconds (in operations), predicted (whether those seconds come from the
        link table of a simulated fabric), host_seconds (from launch to end, on the host's clock),
        ranks (operations of each), links (bytes from rank to rank, `{"0->1": 1024}`), kinds (of
        each kind of operation and algorithm that was not empty: operations, failed, bytes,
        host_seconds, and p50_us and p99_us of the host's times, to 2 %, None of none), errors
        (failures by the name of their error, `{"CollectiveTimeout": 1}`), staged (of operations
        without error, `tensors` that were copied before or after because they were not contiguous
        or not aligned, and their `bytes`; one in place is copied twice). A replay of a `weft.Graph`
        is one operation; what was captured into a graph of the caller's own is not counted.

        Besides, in_flight (operations that were launched and have not ended), peak_in_flight (the
        most at once), and, not touched by `reset_stats()`, events_recorded and events_dropped (of
        these, those that have been overwritten). All are of one moment: what was launched is in
        operations, failed or in_flight. Does not wait for operations.

        >>> import numpy as np, weft
        >>> with weft.Fabric("sim:2") as fab:
        ...     _ = fab.all_reduce([np.ones((4, 2))[:, 0] for rank in range(2)])
        ...     stats = fab.stats()
        >>> stats["operations"], stats["in_flight"], stats["peak_in_flight"], stats["staged"]
        (1, 0, 1, {'tensors': 4, 'bytes': 128})
        """
        return dict(self._native.stats())

    def reset_stats(self) -> None:
        """Set every total of `stats()` to 0, and peak_in_flight to in_flight."""
        self._native.reset_stats()

    def events(self) -> Events:
        """A snapshot of the last 65,536 events. Does not block operations."""
        from weft.events import Events, decode

        records, base_seq, next_seq = self._native.events()
        return Events(decode(records), base_seq, next_seq, tuple(self.devices))

    def trace(
        self, path: str | os.PathLike[str], detail: str = "ops"
    ) -> AbstractContextManager[None]:
        """A `with` block whose operations are written to `path` as Chrome trace JSON.

        Open it in ui.perfetto.dev: a rank is a process, times are microseconds since the block
        began. detail: "ops", or "chunks" for what every piece of every operation did besides (see
        `weft.chunks`). Waits for what is under way at the end.
        InvalidArgument where events are not recorded: there is nothing to write.
        """
        from weft.trace import record

        return record(self, path, detail)

    def metrics(self) -> str:
        """`stats()` as Prometheus text (format 0.0.4)."""
        from weft.metrics import render

        return render(self.stats(), {"backend": self.backend})

    # Faults and the end

    def abort(self) -> None:
        """End what is under way with CollectiveAborted on every rank. Never blocks."""
        self._native.abort()

    def check(self) -> None:
        """Raise FabricPoisoned if a fault has come to light, FabricClosed after `close()`.

        For loops that only replay graphs captured by others (torch.cuda.graph): these call nothing
        of weft's that could raise. Does not block; costs less than an operation.

        >>> import weft
        >>> with weft.Fabric("sim:2") as fab:
        ...     fab.check()
        """
        self._native.check()

    def recover(self) -> None:
        """Make a poisoned fabric usable again: wait until every rank is idle, reset all signals."""
        self._native.recover()

    def close(self) -> None:
        """Give everything back. Later calls raise FabricClosed; closing twice is allowed."""
        if self._dumper is not None:
            self._dumper.stop()
        self._native.close()
        self._in_flight.settle(1.0)  # all have ended, unless a device is lost
        if self._published is not None:
            self._published.withdraw()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise invalid("a fabric cannot be copied or pickled; use the one object everywhere")

    def __enter__(self) -> Fabric:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = ", closed" if self.closed else ""
        return f"<weft.Fabric of {self.size} ranks on {', '.join(self.devices)}{state}>"

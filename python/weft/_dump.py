"""What is left behind when a collective times out: one folder a fault, where the user asked for it.

  fault.json      schema weft.dump/1: the error with its fields, when, and of which process
  events.jsonl    `Events.to_jsonl()`
  stats.json      `Fabric.stats()`
  topology.json   `Topology.to_json()`
  stacks.txt      what every Python thread was doing

It is called weft-PID-NUMBER once all of it is there, and before that weft-PID-NUMBER.part.
A thread looks for faults, so that also those are seen that no caller waits for. It is there only
where a folder was asked for.
"""

from __future__ import annotations

import datetime
import json
import os
import sys
import threading
import traceback
import warnings
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft import _weft

if TYPE_CHECKING:
    from weft.fabric import Fabric

__all__ = ["Dumper", "target_folder"]

_LOOK_SECONDS = 0.02  # between two looks
_TIMEOUT = "CollectiveTimeout"


def target_folder(target: str | os.PathLike[str]) -> Path:
    """The folder, which is made if it is not there. OSError where it cannot be."""
    folder = Path(target)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Dumper:
    """Writes a folder into `target` for every timeout of a fabric until `stop()`.

    What cannot be written is a RuntimeWarning: the fault itself is not to be lost.
    """

    def __init__(self, fabric: Fabric, target: Path) -> None:
        self._target = target
        self._process = os.getpid()
        self._fabric = weakref.ref(fabric)
        self._seen = 0
        self._lock = threading.Lock()  # held by who looks
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="weft dump", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look once more, and end. Does nothing in the child of a fork(), which has no thread."""
        if os.getpid() != self._process:
            return
        self._ended.set()
        self._look()
        if self._thread is not threading.current_thread():
            self._thread.join(_LOOK_SECONDS * 50)

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS) and self._look():
            pass

    def _look(self) -> bool:
        """Whether there is still something to look at."""
        with self._lock:
            fabric = self._fabric()
            if fabric is None:
                return False
            try:
                count = int(fabric.stats()["errors"].get(_TIMEOUT, 0))
                if count > self._seen:
                    self._seen = count
                    self._write(fabric)
            except Exception as error:
                warnings.warn(f"weft: no dump of a timeout: {error}", RuntimeWarning, stacklevel=1)
            return not fabric.closed

    def _write(self, fabric: Fabric) -> None:
        unfinished, finished = self._folders()
        stacks = _stacks()
        contents = {
            "stacks.txt": stacks,
            "fault.json": json.dumps(_fault(fabric), indent=2) + "\n",
            "events.jsonl": fabric.events().to_jsonl(),
            "stats.json": json.dumps(fabric.stats(), indent=2) + "\n",
            "topology.json": fabric.topology.to_json(),
        }
        for name, text in contents.items():
            (unfinished / name).write_text(text, encoding="utf-8")
        unfinished.rename(finished)

    def _folders(self) -> tuple[Path, Path]:
        """A new one, and its name once all is in it: several fabrics may use one target."""
        for number in range(1, 1_000_000):
            finished = self._target / f"weft-{os.getpid()}-{number}"
            unfinished = finished.with_name(f"{finished.name}.part")
            try:
                unfinished.mkdir()
            except FileExistsError:
                continue
            if not finished.exists():
                return unfinished, finished
            unfinished.rmdir()
        raise FileExistsError(f"{self._target} is full of dumps")


def _fault(fabric: Fabric) -> dict[str, Any]:
    """The error that the fabric was poisoned by, and where and when."""
    row: dict[str, Any] = {
        "schema": "weft.dump/1",
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(),
        "process": os.getpid(),
        "weft": _weft.__version__,
        "devices": fabric.devices,
        "message": None,
        "rank": None,
        "step": None,
        "culprits": [],
    }
    try:
        fabric._native.check()
    except _weft.Error as error:
        row |= {"message": str(error), "rank": error.rank, "step": error.step}
        row["culprits"] = list(error.culprits or ())
    return row


def _stacks() -> str:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for ident, frame in sys._current_frames().items():
        parts.append(f"thread {names.get(ident, '?')} ({ident}):\n")
        parts += [*traceback.format_stack(frame), "\n"]
    return "".join(parts)

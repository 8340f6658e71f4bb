"""The statistics of this process's fabrics, in a file that other processes read (`weft stats`).

  weft-<process>.json     schema weft.stats/1: time, process, host, weft, command, interval_seconds,
                          and of each fabric: fabric (its number), backend, devices, poisoned,
                          cause (of the fault, or null), stats (`Fabric.stats()`)

One thread a process writes it, twice a second, and each time puts a whole file in place of the last
one. Thread and file are there while a fabric is open for which a folder was named; the file also
goes at the normal end of the process. One that stays is of a process that was killed. The child of
a fork() has no thread, touches no file of its parent's, and starts afresh with a fabric of its own.
"""

from __future__ import annotations

import atexit
import datetime
import json
import os
import sys
import threading
import warnings
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft import _weft

if TYPE_CHECKING:
    from weft.fabric import Fabric

__all__ = ["INTERVAL_SECONDS", "SCHEMA", "Published", "publish"]

SCHEMA = "weft.stats/1"
INTERVAL_SECONDS = 0.5
_PATIENCE_SECONDS = 1.0  # that closing a fabric waits for a file system


class Published:
    """A fabric whose statistics are in a file of `folder` until `withdraw()`."""

    def __init__(self, owner: _Publisher, fabric: Fabric, folder: Path, number: int) -> None:
        self._owner = owner
        self.fabric = weakref.ref(fabric)
        self.folder = folder
        self.number = number

    def withdraw(self) -> None:
        """Take it out of the file. Does nothing in the child of a fork()."""
        self._owner.withdraw(self)


class _Publisher:
    """Writes the files of one process: one for each folder that its fabrics named."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._changed = threading.Condition()
        # Guarded by _changed.
        self._entries: list[Published] = []
        self._numbers = 0
        self._asked = 0  # rounds that somebody waits for, and those that are over
        self._done = 0
        self._thread: threading.Thread | None = None
        # The thread's own.
        self._written: set[Path] = set()
        self._warned: set[Path] = set()
        atexit.register(self._end)

    def add(self, fabric: Fabric, folder: Path) -> Published:
        with self._changed:
            self._numbers += 1
            entry = Published(self, fabric, folder, self._numbers)
            self._entries.append(entry)
            self._asked += 1
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="weft stats", daemon=True)
                self._thread.start()
        return entry

    def withdraw(self, entry: Published) -> None:
        if os.getpid() != self.process:
            return
        with self._changed:
            if entry not in self._entries:
                return
            self._entries.remove(entry)
            if self._thread is not threading.current_thread():
                self._round()

    def _round(self) -> None:
        """Have everything written now, and wait for it, but not for ever. Holds the lock."""
        self._asked += 1
        wanted = self._asked
        self._changed.notify_all()
        self._changed.wait_for(
            lambda: self._done >= wanted or self._thread is None, _PATIENCE_SECONDS
        )

    def _end(self) -> None:
        """At the normal end of the process."""
        if os.getpid() != self.process:
            return
        with self._changed:
            self._entries.clear()
            if self._thread is not None:
                self._round()

    def _run(self) -> None:
        while True:
            with self._changed:
                asked = self._asked
                entries = list(self._entries)
            self._write(entries)
            with self._changed:
                self._entries = [entry for entry in self._entries if entry.fabric() is not None]
                self._done = asked
                self._changed.notify_all()
                if not self._entries and self._asked == asked:
                    self._thread = None
                    return
                self._changed.wait_for(lambda: self._asked != self._done, INTERVAL_SECONDS)

    def _write(self, entries: list[Published]) -> None:
        for folder in sorted({entry.folder for entry in entries} | self._written):
            try:
                rows = [_row(entry) for entry in entries if entry.folder == folder]
                fabrics = [row for row in rows if row is not None]
                if fabrics:
                    self._written.add(folder)
                    self._replace(folder, json.dumps(_document(fabrics), allow_nan=False))
                elif folder in self._written:
                    self._written.remove(folder)
                    self._file(folder).unlink(missing_ok=True)
            except Exception as error:
                if folder not in self._warned:
                    self._warned.add(folder)
                    message = f"weft: statistics are not published: {error}"
                    warnings.warn(message, RuntimeWarning, stacklevel=1)

    def _file(self, folder: Path) -> Path:
        return folder / f"weft-{self.process}.json"

    def _replace(self, folder: Path, text: str) -> None:
        part = folder / f"weft-{self.process}.part"
        try:
            part.unlink(missing_ok=True)
            with open(part, "x", encoding="utf-8") as file:  # follows no link that waits there
                file.write(text + "\n")
            os.replace(part, self._file(folder))
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def _row(entry: Published) -> dict[str, Any] | None:
    """None of a fabric that is gone. What is borrowed here must not end under a lock."""
    fabric = entry.fabric()
    if fabric is None or fabric.closed:
        return None
    cause = fabric._native.poison_cause
    return {
        "fabric": entry.number,
        "backend": fabric.backend,
        "devices": fabric.devices,
        "poisoned": cause is not None,
        "cause": cause,
        "stats": fabric.stats(),
    }


def _document(fabrics: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(),
        "process": os.getpid(),
        "host": os.uname().nodename,
        "weft": _weft.__version__,
        "command": list(sys.orig_argv),
        "interval_seconds": INTERVAL_SECONDS,
        "fabrics": fabrics,
    }


_lock = threading.Lock()
_current: _Publisher | None = None


def publish(fabric: Fabric, folder: Path) -> Published:
    """Have the statistics of `fabric` written into `folder`, which is there, until it is closed.

    What cannot be written is one RuntimeWarning.
    """
    global _current
    with _lock:
        if _current is None or _current.process != os.getpid():
            _current = _Publisher()
        return _current.add(fabric, folder.absolute())  # wherever the process goes


def _start_afresh() -> None:
    global _lock
    _lock = threading.Lock()  # a thread that is not there may have held the old one


os.register_at_fork(after_in_child=_start_afresh)

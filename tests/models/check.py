"""Checks the models of the protocols with spin: the right ones whole, the planted bugs found.

  python tests/models/check.py [--quick]

Needs spin (Debian: spin) and a C compiler. Exit codes: 1 a model is wrong, was not searched to its
end, or a planted bug is not found; 2 spin is not there. --quick leaves out what takes longest.
"""

from __future__ import annotations

import concurrent.futures
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

HERE = pathlib.Path(__file__).parent
MEMORY = 6000  # MB, of one search
DEPTH = 1_000_000  # steps; a search that needs more is incomplete, and so has failed
PATIENCE = 300  # seconds, of one search


@dataclass(frozen=True)
class Case:
    """A model with its options; of a planted bug what spin should say of it."""

    model: str
    ranks: int
    options: tuple[str, ...] = ()
    bug: str = ""
    long: bool = False

    @property
    def definitions(self) -> list[str]:
        """What is given to spin."""
        named = [
            f"-D{name}" for name in (*self.options, *([f"BUG_{self.bug}"] if self.bug else []))
        ]
        return [f"-DN={self.ranks}", *named]


def cases() -> list[Case]:
    """All searches, the longest first."""
    whole = [
        Case("recover", 5, ("REDUCE_SCATTER",), long=True),
        Case("recover", 4, ("STOPS=2",), long=True),
        Case("memory", 5, long=True),
        *(Case("recover", n) for n in (4, 3, 2)),
        *(Case("recover", n, ("REDUCE_SCATTER",)) for n in (4, 3, 2)),
        *(Case("recover", n, (way,)) for n in (3, 2) for way in ("ANY_TIME", "USER_ABORT")),
        *(Case("recover", n, ("STOPS=2",)) for n in (3, 2)),
        *(Case("memory", n) for n in (4, 3, 2)),
        *(Case("memory", n, ("ONE_SHOT_PULL",)) for n in (5, 4, 3, 2)),
        *(Case("meeting", n) for n in (5, 4, 3, 2)),
        *(Case("signal", n, way) for n in (5, 4, 3, 2) for way in ((), ("REDUCE_SCATTER",))),
        Case("signal", 4, ("ROUNDS=2",)),
        Case("signal", 3, ("ROUNDS=2", "PIECES=2")),
        *(Case(name, 3, ("FINE",)) for name in ("recover", "memory", "meeting", "signal")),
    ]
    return whole + [Case(model, ranks, options, bug) for model, ranks, options, bug in BUGS]


BUGS = (
    ("signal", 3, ("REDUCE_SCATTER", "FINE"), "CREDIT_BEFORE_READ"),
    ("signal", 4, (), "EARLY_REUSE"),
    ("signal", 3, ("PIECES=2",), "FEW_SLOTS"),
    ("signal", 3, ("REDUCE_SCATTER",), "NO_LAST_CREDITS"),
    ("signal", 3, ("PIECES=2",), "RELAXED_ACQUIRE"),
    ("signal", 3, ("FINE",), "RELAXED_RELEASE"),
    ("signal", 3, ("PIECES=2",), "SILENT_EMPTY_PIECE"),
    ("signal", 3, ("PIECES=2",), "SKIPPED_WAIT"),
    ("signal", 3, ("PIECES=2",), "STALE_EPOCH"),
    ("signal", 3, ("PIECES=2",), "UNSIGNED_COMPARE"),
    ("meeting", 4, (), "NO_MEETING"),
    ("meeting", 4, (), "TOKENS_TOO_EARLY"),
    ("meeting", 3, (), "UNSIGNED_COMPARE"),
    ("memory", 3, (), "EARLY_END"),
    ("memory", 3, (), "FLAG_BEFORE_DATA"),
    ("memory", 3, ("ONE_SHOT_PULL",), "IN_PLACE"),
    ("memory", 3, ("ONE_SHOT_PULL",), "NO_READ_TOKENS"),
    ("memory", 3, (), "NO_TOKENS"),
    ("memory", 3, (), "ONE_TOKEN"),
    ("memory", 3, (), "RELAXED_ACQUIRE"),
    ("memory", 3, (), "STALE_EPOCH"),
    ("recover", 3, (), "BLAMES_THE_NEXT"),
    ("recover", 3, (), "LEAVER_RETURNS"),
    ("recover", 3, (), "LEAVER_SIGNALS"),
    ("recover", 3, (), "NO_DEADLINE"),
    ("recover", 3, ("FINE",), "OUTCOME_FIRST"),
    ("recover", 3, (), "RECOVER_EARLY"),
    ("recover", 3, (), "RECOVER_KEEPS_FLAG"),
    ("recover", 3, (), "RECOVER_KEEPS_PROGRESS"),
    ("recover", 3, (), "RECOVER_KEEPS_RECORDS"),
    ("recover", 3, (), "RECOVER_KEEPS_SIGNALS"),
    ("recover", 3, (), "TIMEOUT_IS_SILENT"),
    ("recover", 3, ("USER_ABORT",), "WAITS_IGNORE_ABORT"),
)


def planted() -> set[tuple[str, str]]:
    """Every bug that a model's source has, so that none is left out."""
    shared = {"UNSIGNED_COMPARE"}  # of lanes.pml
    found = {(model, bug) for model, _, _, bug in BUGS if bug in shared}
    for file in HERE.glob("*.pml"):
        if file.stem != "lanes":
            found |= {(file.stem, bug) for bug in re.findall(r"BUG_([A-Z_]+)", file.read_text())}
    return found


@dataclass(frozen=True)
class Outcome:
    """What one search gave: the error that it found, how many states, and whether it was whole."""

    error: str
    states: int
    whole: bool
    seconds: float


def search(case: Case) -> Outcome:
    """Run one search in a folder of its own."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for file in HERE.glob("*.pml"):
            shutil.copy(file, folder)

        def run(*command: str) -> str:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False
            )
            return done.stdout + done.stderr if done.returncode == 0 else f"FAILED\n{done.stderr}"

        try:
            made = run("spin", "-a", *case.definitions, f"{case.model}.pml")
            made += run("cc", "-O2", "-w", f"-DMEMLIM={MEMORY}", "-DCOLLAPSE", "-DSAFETY",
                        "-o", "pan", "pan.c")  # fmt: skip
            told = run("./pan", f"-m{DEPTH}")
        except subprocess.TimeoutExpired:
            return Outcome("", 0, False, time.monotonic() - start)
    errors = re.search(r"errors: (\d+)", told)
    states = re.search(r"([\d.e+]+) states, stored", told)
    short = re.search(r"max search depth too small|out of memory|hash factor.*inadequate", told)
    error = re.search(r"pan:\d+: ([^\n]*)", told)
    return Outcome(
        error=error[1].split(" (at depth")[0] if errors and errors[1] != "0" and error else "",
        states=int(float(states[1])) if states else 0,
        whole="FAILED" not in made and errors is not None and errors[1] == "0" and not short
        and states is not None and "Search not completed" not in told,
        seconds=time.monotonic() - start,
    )  # fmt: skip


def main() -> int:
    """Run them all, two at a time; the table goes to stdout."""
    if shutil.which("spin") is None:
        print("models: spin is not installed (Debian: spin)", file=sys.stderr)
        return 2
    missing = planted() - {(model, bug) for model, _, _, bug in BUGS}
    if missing:
        print(f"models: bugs that nothing looks for: {sorted(missing)}", file=sys.stderr)
        return 1
    todo = [case for case in cases() if not (case.long and "--quick" in sys.argv)]
    wrong = 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for case, got in zip(todo, pool.map(search, todo), strict=True):
            fine = bool(got.error) if case.bug else got.whole
            wrong += not fine
            verdict = got.error or ("whole, no error" if got.whole else "NOT SEARCHED TO ITS END")
            name = " ".join((case.model, *case.options, *([f"bug {case.bug}"] if case.bug else [])))
            print(f"{'ok   ' if fine else 'WRONG'} {case.ranks} ranks  {got.states:>9} states "
                  f"{got.seconds:5.1f} s  {name}: {verdict}", flush=True)  # fmt: skip
    bugs = sum(bool(case.bug) for case in todo)
    print(f"models: {len(todo) - bugs} checked exhaustively, {bugs} planted bugs found"
          if wrong == 0 else f"models: {wrong} of {len(todo)} WRONG")  # fmt: skip
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())

"""Clang's thread-safety analysis of every C++ file that was compiled and can lock; `make locks`.

    PYTHONPATH=tests python -m lint.locks build/package/compile_commands.json

Takes the standard, include paths and definitions of each compilation, and checks syntax and locks
only: other warnings are for the compiler of the build. First a planted mistake of every kind must
be found. Exit code 1 for findings, 2 where there is no Clang.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lint.source import CPP, ROOT, Files, blank_cpp, includes, line_of, project_files, select

MUTEX = "core/base/mutex.h"
SAFETY = ["-fsyntax-only", "-Wno-everything", "-Wthread-safety", "-Werror"]
OLDEST = 14
_KEPT = re.compile(r"-(I|D|std=)")
_KEPT_WITH_VALUE = ("-isystem", "-I", "-D")

NEEDS = " WEFT_THREAD_SAFETY(requires_capability(mutex_))"
# A class that keeps its locks, and what breaks it: (what is said, what is replaced, by what).
GOOD = """
#include "core/base/mutex.h"
namespace weft {
class Account {
 public:
  void add(int amount) {
    const MutexLock lock(mutex_);
    add_locked(amount);
    changed_.notify_all();
  }
  int wait() {
    const MutexLock lock(mutex_);
    while (balance_ == 0) changed_.wait_until(mutex_, Deadline::after_ns(1));
    { const MutexUnlock unlocked(mutex_); }
    return balance_;
  }
  int take() {
    MutexLock lock(mutex_);
    const int seen = balance_;
    lock.unlock();
    return seen;
  }
  int look() { const ReadLock lock(shared_); return rate_; }
  void set(int rate) { const WriteLock lock(shared_); rate_ = rate; }

 private:
  void add_locked(int amount) WEFT_THREAD_SAFETY(requires_capability(mutex_)) {
    balance_ += amount;
  }
  Mutex mutex_;
  CondVar changed_;
  int balance_ WEFT_THREAD_SAFETY(guarded_by(mutex_)) = 0;
  SharedMutex shared_;
  int rate_ WEFT_THREAD_SAFETY(guarded_by(shared_)) = 0;
};
}
"""
MISTAKES = [
    ("calling function 'add_locked' requires", "const MutexLock lock(mutex_);\n    add", "add"),
    ("calling function 'wait_until' requires", "const MutexLock lock(mutex_);\n    while", "while"),
    ("writing variable 'balance_' requires", NEEDS, ""),
    ("reading variable 'balance_' requires", "return seen", "return balance_"),
    ("writing variable 'balance_' requires", "unlocked(mutex_);", "un(mutex_); balance_ = 1;"),
    ("releasing mutex 'mutex_' that was not", "lock.unlock();", "lock.unlock(); lock.unlock();"),
    ("reading variable 'rate_' requires", "const ReadLock lock(shared_); ", ""),
    ("writing variable 'rate_' requires", "const WriteLock lock", "const ReadLock lock"),
    ("acquiring mutex 'mutex_' that is", "add_locked(amount);", "const MutexLock b(mutex_);"),
    ("mutex 'mutex_' is still held", "const MutexLock lock(mutex_);", "mutex_.lock();"),
]  # fmt: skip


def find_clang() -> str | None:
    """The newest clang++ on PATH, if it is new enough for C++20."""
    for version in range(40, OLDEST - 1, -1):
        if shutil.which(f"clang++-{version}"):
            return f"clang++-{version}"
    return shutil.which("clang++")


def arguments(command: str) -> list[str]:
    """Of a compiler's command line: the standard, include paths and definitions."""
    words = shlex.split(command)
    kept: list[str] = []
    for i, word in enumerate(words):
        if word in _KEPT_WITH_VALUE:
            kept += [word, words[i + 1]]
        elif _KEPT.match(word):
            kept.append(word)
    return kept


def complaints(clang: str, flags: list[str], text: str) -> str:
    """What Clang says of a C++ text; empty if nothing."""
    done = subprocess.run(
        [clang, *flags, *SAFETY, "-x", "c++", "-"],
        input=text, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return "" if done.returncode == 0 else done.stderr or f"{clang} ended with {done.returncode}"


def unseen_mistakes(clang: str) -> list[str]:
    """Planted mistakes that are not found as what they are; also if the good class is refused."""
    flags = ["-std=c++20", "-I."]
    said = complaints(clang, flags, GOOD)
    found = [f"the class without a mistake:\n{said}"] if said else []

    def unseen(mistake: tuple[str, str, str]) -> bool:
        expected, right, wrong = mistake
        bad = GOOD.replace(right, wrong, 1)
        return bad == GOOD or expected not in complaints(clang, flags, bad)

    with ThreadPoolExecutor(2) as pool:
        missed = pool.map(unseen, MISTAKES)
    found += [
        f"not found: {mistake}"
        for mistake, is_missed in zip(MISTAKES, missed, strict=True)
        if is_missed
    ]
    return found


def that_lock(files: Files) -> set[str]:
    """The files that can name a Mutex: core/base/mutex.h, and what includes it, however far off."""
    included = {path: {name for _, name in includes(text)} for path, text in files.items()}
    reached: set[str] = set()
    new = {MUTEX}
    while new:
        reached |= new
        new = {path for path, names in included.items() if names & new} - reached
    return reached


def findings(clang: str, database: Path, files: Files) -> tuple[int, list[str]]:
    """How many files were looked at, and what Clang says of each that breaks a rule."""
    locking = {str(ROOT / path) for path in that_lock(files) if path.endswith(".cc")}
    compiled = {e["file"]: e for e in json.loads(database.read_text()) if e["file"] in locking}

    def look(entry: dict[str, str]) -> str:
        text = f'#include "{entry["file"]}"\n'
        return complaints(clang, arguments(entry["command"]), text)

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(look, compiled.values()))
    return len(compiled), [text for text in said if text]


def raw_locks(files: Files) -> list[str]:
    """Locks of the standard library where Clang should see which data they guard."""
    pattern = re.compile(
        r"\bstd::(?:(?:recursive_|timed_|shared_)*mutex|condition_variable\w*"
        r"|(?:scoped|unique|shared)_lock|lock_guard)\b"
    )
    return [
        f"{path}:{line_of(code, match.start())}: {match[0]}: use {MUTEX}"
        for path, text in select(files, *CPP).items()
        if path.startswith(("core/", "topology/", "fabric/")) and path != MUTEX
        for code in [blank_cpp(text)]
        for match in pattern.finditer(code)
    ]


def main(database: str) -> int:
    clang = find_clang()
    if clang is None:
        sys.stderr.write("locks: no clang++ is installed (Debian: clang-19)\n")
        return 2
    found = unseen_mistakes(clang)
    count, said = findings(clang, Path(database), select(project_files(), *CPP))
    found += said
    if count == 0:
        found.append(f"{database} names no C++ file of this project")
    sys.stdout.write("\n".join(found) + "\n" if found else "")
    sys.stdout.write(
        f"locks: {count} files, {len(MISTAKES)} planted mistakes, {len(found)} findings ({clang})\n"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

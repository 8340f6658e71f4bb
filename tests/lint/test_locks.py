"""Locks are those that Clang checks; `make locks` checks them, and itself on planted mistakes."""

from __future__ import annotations

import pytest

from lint import locks
from lint.source import project_files


def test_project_keeps_the_rule():
    assert locks.raw_locks(project_files()) == []


@pytest.mark.parametrize(
    "code",
    [
        "std::mutex m;",
        "mutable std::shared_mutex m;",
        "std::condition_variable c;",
        "const std::scoped_lock lock(m);",
        "std::unique_lock<std::mutex> lock(m);",
        "std::lock_guard lock(m);",
    ],
)
def test_a_raw_lock_is_found(code):
    assert locks.raw_locks({"fabric/x.h": code})
    assert locks.raw_locks({"fabric/x.h": f"// {code}", "collectives/x.h": code}) == []


def test_what_includes_the_mutex_can_lock():
    files = {
        "core/base/mutex.h": "",
        "core/a.h": '#include "core/base/mutex.h"\n',
        "core/b.cc": '#include "core/a.h"\n',
        "core/c.cc": "#include <mutex>\n",
    }
    assert locks.that_lock(files) == {"core/base/mutex.h", "core/a.h", "core/b.cc"}


def test_a_command_line_gives_standard_paths_and_definitions():
    command = "g++ -DA=1 -I/x -isystem /y -O3 -Wall -std=c++20 -o f.o -c f.cc"
    assert locks.arguments(command) == ["-DA=1", "-I/x", "-isystem", "/y", "-std=c++20"]

"""Options of the whole test suite: rounds of the concurrent tests, shards, and time limits.

`--stress=N` runs every test marked `stress` N times; `--shard=i/k` runs every k-th test from the
i-th on (1-based); `--soak=X` does the share X of the soak tests on GPUs. Where pytest-timeout is
not installed its settings are known and do nothing. No test but those that name one sees a table
of `weft tune`.
"""

from __future__ import annotations

import importlib.util
import os

import pytest

# What was measured on this machine must not change what tests see. Read when weft is first used.
os.environ["WEFT_TUNING"] = "off"

HAVE_TIMEOUT = importlib.util.find_spec("pytest_timeout") is not None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stress", type=int, default=1, metavar="N", help="rounds of stress tests")
    parser.addoption("--soak", type=float, default=0.001, metavar="X", help="share of the soak")
    parser.addoption("--shard", type=_shard, default=(1, 1), metavar="i/k", help="one of k parts")
    if not HAVE_TIMEOUT:
        parser.addini("timeout", "seconds a test may take (needs pytest-timeout)")


def pytest_configure(config: pytest.Config) -> None:
    if not HAVE_TIMEOUT:
        config.addinivalue_line("markers", "timeout(seconds): needs pytest-timeout")


def _shard(text: str) -> tuple[int, int]:
    """Parse "i/k" with 1 <= i <= k; argparse turns a ValueError into a usage error."""
    index, count = (int(part) for part in text.split("/"))
    if not 1 <= index <= count:
        raise ValueError(text)
    return index, count


@pytest.fixture
def stress_round(request: pytest.FixtureRequest) -> int:
    """The number of this round of a stress test, from 0."""
    return getattr(request, "param", 0)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    rounds = metafunc.config.getoption("--stress")
    if rounds > 1 and metafunc.definition.get_closest_marker("stress"):
        if "stress_round" not in metafunc.fixturenames:
            metafunc.fixturenames.append("stress_round")
        metafunc.parametrize("stress_round", range(rounds), indirect=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    index, count = config.getoption("--shard")
    if count == 1:
        return
    # By name, so that all parts of one run agree whatever order the tests run in.
    names = {item.nodeid: n for n, item in enumerate(sorted(items, key=lambda i: i.nodeid))}
    left_out = [item for item in items if names[item.nodeid] % count != index - 1]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if names[item.nodeid] % count == index - 1]

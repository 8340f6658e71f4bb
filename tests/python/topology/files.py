"""What the tests of topology files share: descriptions of machines, and how errors are checked."""

import json
import pathlib
import time
import tracemalloc

import pytest

import weft

MACHINES = sorted((pathlib.Path(__file__).parents[2] / "topology" / "machines").glob("*.xml"))
LONGEST = 1.0  # seconds that any file may take
# Times the limit where the machine is busy with other tests as well.
MARGIN = 3.0
MOST_MEMORY = 256 << 20  # bytes of Python objects, of texts of at most 16 MiB


def machine(name):
    """The file of a machine."""
    return next(path for path in MACHINES if path.stem == name)


def refused(parse, text_or_path):
    """The message of the TopologyError that `parse` raises, soon and in bounded memory."""
    tracemalloc.start()
    try:
        with pytest.raises(weft.TopologyError) as caught:
            parse(text_or_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MOST_MEMORY
    # Once more for the time, which tracing memory makes several times as long.
    start = time.perf_counter()
    with pytest.raises(weft.TopologyError):
        parse(text_or_path)
    assert time.perf_counter() - start < MARGIN * LONGEST
    assert caught.value.code == "topology"
    return str(caught.value)


def two_devices(**changes):
    """A small document, as text of one field a line."""
    document = {
        "schema": "weft.topology/1",
        "name": "pair",
        "vertices": [
            {"id": "a", "kind": "gpu"},
            {"id": "b", "kind": "gpu"},
        ],
        "wires": [{"a": "a", "b": "b", "kind": "nvlink", "count": 2, "bytes_per_second": 5e10}],
    } | changes
    fields = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in document.items())
    return "{\n" + fields + "\n}\n"


def system(body, version="1"):
    """A topology of NCCL around `body`, which begins in line 3."""
    return f'<system version="{version}">\n<cpu numaid="0">\n{body}\n</cpu>\n</system>\n'


def gpu(bus, dev, links=""):
    """A GPU's element, in one line."""
    return (
        f'<pci busid="{bus}" class="0x030200" link_speed="16.0 GT/s PCIe" link_width="16">'
        f'<gpu dev="{dev}" sm="80" rank="{dev}">{links}</gpu></pci>'
    )

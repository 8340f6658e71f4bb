"""What holds for every text that may be a topology, JSON or NCCL's XML.

Parsing gives a topology that goes round through every format, or raises TopologyError: never
another exception, and never for longer than a second.
"""

from __future__ import annotations

import time

import weft
from weft.topology import Topology

__all__ = ["check"]

LONGEST = 1.0  # seconds of the processor: what else runs on the machine is no fault of the input


def check(data: bytes) -> None:
    """Raise AssertionError where the property does not hold for `data`."""
    text = data.decode("utf-8", "surrogateescape")
    start = time.thread_time()
    machine = parse(text)
    took = time.thread_time() - start
    assert took < LONGEST, f"{took:.1f} s"
    if machine is not None:
        check_round_trip(machine)


def parse(text: str) -> Topology | None:
    """The topology, or None for what is none."""
    # A first line that cannot be the name of a file: no input may open one.
    text = "\n" + text
    start = text.lstrip()[:1]
    try:
        return Topology.from_nccl_xml(text) if start == "<" else Topology.from_json(text)
    except weft.TopologyError as error:
        message = str(error)
        assert message.startswith("<text>:"), message
        assert int(message.split(":")[1]) >= 1, message
        assert len(message) < 2000, message
        return None


def check_round_trip(machine: Topology) -> None:
    document = machine.document()
    text = machine.to_json()
    again = Topology.from_json(text)
    assert again.document() == document
    assert again.to_json() == text
    for write in (machine.to_dot, machine.to_markdown, machine.to_prometheus, machine._repr_html_):
        assert write()
    if document["vertices"]:
        # What a file of NCCL cannot say is lost once, and then never again.
        once = Topology.from_nccl_xml(machine.to_nccl_xml())
        twice = Topology.from_nccl_xml(once.to_nccl_xml())
        assert once.size == machine.size
        assert twice.document() | {"notes": []} == once.document() | {"notes": []}

"""Very many collectives of sizes that change with every call, each one's result checked.

`--soak=1` does all of it: 10^7 small ones (10^5 of them eager, the others in replayed graphs) and
10^4 of 64 MiB.
"""

from __future__ import annotations

import random
from contextlib import ExitStack
from typing import Any

import pytest

import weft
from gpu.kernels import Kernels
from gpu.support import captured, synchronize, torch

SPECS = [
    pytest.param("cuda:0x2", marks=pytest.mark.gpu1),
    pytest.param("cuda:0,1", marks=pytest.mark.gpu2),
]
SMALL, LARGE = 10**7, 10**4
EAGER = 10**5  # of the small ones
IN_A_GRAPH = 500
MOST = 1 << 14  # elements of a small vector


class Soak:
    """Collectives on streams of the ranks' own, between the kernels that feed and check them."""

    def __init__(self, fabric: weft.Fabric, most: int) -> None:
        self.fabric, self.n = fabric, fabric.size
        self.streams = [torch.cuda.Stream(d) for d in fabric.devices]
        self.kernels = [
            Kernels(rank, device, stream)
            for rank, (device, stream) in enumerate(zip(fabric.devices, self.streams, strict=True))
        ]
        self.rooms = {
            dtype: [torch.zeros((2, most * self.n), dtype=dtype, device=d) for d in fabric.devices]
            for dtype in (torch.float32, torch.int32)
        }
        self.random = random.Random(5)
        self.done = 0
        synchronize(fabric)

    def current(self) -> ExitStack:
        """The ranks' streams are torch's current ones: nothing has to wait for others."""
        on = ExitStack()
        for stream in self.streams:
            on.enter_context(torch.cuda.stream(stream))
        return on

    def one(self, number: int, most: int, least: int = 1) -> None:
        """A collective of the next kind, of some size up to `most` elements."""
        count = self.random.randint(least, most)
        kinds = (self.all_reduce, self.all_reduce, self.all_gather, self.broadcast,
                 self.reduce_scatter)  # fmt: skip
        dtype = (torch.float32, torch.int32)[self.random.randrange(2)]
        kinds[number % len(kinds)](number, count, self.rooms[dtype])
        self.done += 1

    def all_reduce(self, number: int, count: int, rooms: list[Any]) -> None:
        start = self.random.randrange(4)  # not always aligned
        start = min(start, rooms[0].shape[1] - count)
        inputs = [room[0, start : start + count] for room in rooms]
        outputs = inputs if number % 2 else [room[1, :count] for room in rooms]
        for kernels, x in zip(self.kernels, inputs, strict=True):
            kernels.produce(x, number)
        self.fabric.all_reduce(inputs, out=outputs, streams=self.streams)
        for kernels, y in zip(self.kernels, outputs, strict=True):
            kernels.check(y, number, (0, self.n - 1))

    def all_gather(self, number: int, count: int, rooms: list[Any]) -> None:
        inputs = [room[0, :count] for room in rooms]
        outputs = [room[1, : self.n * count] for room in rooms]
        for kernels, x in zip(self.kernels, inputs, strict=True):
            kernels.produce(x, number)
        self.fabric.all_gather(inputs, outputs, streams=self.streams)
        for kernels, y in zip(self.kernels, outputs, strict=True):
            for rank in range(self.n):
                kernels.check(y[rank * count : (rank + 1) * count], number, (rank, rank))

    def broadcast(self, number: int, count: int, rooms: list[Any]) -> None:
        root = number // 5 % self.n
        inputs = [room[0, :count] for room in rooms]
        for kernels, x in zip(self.kernels, inputs, strict=True):
            kernels.produce(x, number)
        self.fabric.broadcast(inputs, root, streams=self.streams)
        for kernels, y in zip(self.kernels, inputs, strict=True):
            kernels.check(y, number, (root, root))

    def reduce_scatter(self, number: int, count: int, rooms: list[Any]) -> None:
        inputs = [room[0, : self.n * count] for room in rooms]
        outputs = [room[1, :count] for room in rooms]
        for kernels, x in zip(self.kernels, inputs, strict=True):
            kernels.produce(x, number)
        self.fabric.reduce_scatter(inputs, outputs, streams=self.streams)
        for rank, (kernels, y) in enumerate(zip(self.kernels, outputs, strict=True)):
            kernels.check(y, number, (0, self.n - 1), rank * count)

    def wrong(self) -> list[int]:
        """Wrong elements, by rank."""
        synchronize(self.fabric)
        return [int(kernels.wrong.item()) for kernels in self.kernels]


@pytest.fixture
def share(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption("--soak"))


@pytest.mark.timeout(0)
@pytest.mark.parametrize("spec", SPECS)
def test_small_collectives(spec: str, share: float) -> None:
    with weft.Fabric(spec) as fabric:
        soak = Soak(fabric, MOST)
        with soak.current():
            for number in range(round(share * EAGER)):
                soak.one(number, MOST)
        assert soak.wrong() == [0] * soak.n
        eager = soak.done

        def work(rank: int | None, stream: Any) -> None:
            if rank is None:
                for number in range(IN_A_GRAPH):
                    soak.one(number, MOST)
                for kernels in soak.kernels:
                    kernels.advance()

        graph = captured(soak.streams, work)
        replays = round(share * (SMALL - EAGER) / IN_A_GRAPH)
        for _ in range(replays):
            with torch.cuda.stream(soak.streams[0]):
                graph.replay()
        assert soak.wrong() == [0] * soak.n
        assert all(int(kernels.runs.item()) == replays for kernels in soak.kernels)
        print(f"{spec}: {eager} eager and {replays * IN_A_GRAPH} replayed, none wrong")


@pytest.mark.timeout(0)
@pytest.mark.parametrize("spec", SPECS)
def test_large_collectives(spec: str, share: float) -> None:
    most = (64 << 20) // 4
    with weft.Fabric(spec) as fabric:
        soak = Soak(fabric, most)
        with soak.current():
            for number in range(max(5, round(share * LARGE))):
                soak.one(number, most, most - 1000)
        assert soak.wrong() == [0] * soak.n
        print(f"{spec}: {soak.done} of 64 MiB, none wrong")


@pytest.mark.gpu1
def test_a_wrong_element_is_counted() -> None:
    with weft.Fabric("cuda:0x2") as fabric:
        soak = Soak(fabric, 100)
        rooms = soak.rooms[torch.float32]
        soak.all_reduce(0, 96, rooms)
        assert soak.wrong() == [0, 0]
        for kernels, room in zip(soak.kernels, rooms, strict=True):
            kernels.check(room[1, :96], 1, (0, 1))
        assert all(wrong > 90 for wrong in soak.wrong())

"""Training over the ranks of a fabric, and the same training without one.

Invariants
  1. Both see the same global batches in the same order; a rank's shard is a part of the batch.
  2. Every rank keeps its own weights. They stay equal bit for bit, because all_reduce gives every
     rank the same bits; `Trained.replicas_equal` says whether they did.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import weft
from weft.demo import model

if TYPE_CHECKING:
    from weft.demo.data import Digits
    from weft.fabric import Fabric

__all__ = ["SumGradients", "Trained", "on_fabric", "single_rank", "train"]

Array = npt.NDArray[Any]

#: Sums the vectors of all ranks into each of them.
SumGradients = Callable[[Sequence[Array]], None]

LEARNING_RATE = 0.3
MOMENTUM = 0.9


@dataclass(frozen=True, eq=False)
class Trained:
    """What came out of a training run."""

    weights: Array
    losses: list[float]  # mean over each step's batch
    communication_seconds: float  # on the host clock, in summing gradients
    replicas_equal: bool


def single_rank(vectors: Sequence[Array]) -> None:
    """The sum over one rank: nothing to do."""
    assert len(vectors) == 1


def on_fabric(fabric: Fabric) -> SumGradients:
    """Sums by `fabric.all_reduce`: in place on simulated devices, through device memory on GPUs."""

    def in_place(vectors: Sequence[Array]) -> None:
        fabric.all_reduce(vectors)

    def through_devices(vectors: Sequence[Array]) -> None:
        tensors = [
            weft.from_numpy(vector).to(device)
            for vector, device in zip(vectors, fabric.devices, strict=True)
        ]
        fabric.all_reduce(tensors, async_op=True).wait()
        for vector, tensor in zip(vectors, tensors, strict=True):
            vector[:] = tensor.numpy()

    return in_place if fabric.backend == "sim" else through_devices


def train(
    data: Digits,
    batches: Sequence[Array],
    ranks: int,
    sum_gradients: SumGradients,
    seed: int,
    tick: Callable[[], None] = lambda: None,
) -> Trained:
    """Stochastic gradient descent with momentum over `ranks` shards of each batch.

    data: images of the dtype to train in. tick: called after each step.
    """
    dtype = data.train_images.dtype
    weights = [model.initial(seed, dtype) for _ in range(ranks)]
    momenta = [np.zeros(model.PARAMETERS, dtype) for _ in range(ranks)]
    vectors = [np.zeros(model.PARAMETERS + 1, dtype) for _ in range(ranks)]
    losses: list[float] = []
    communication = 0.0
    for batch in batches:
        for rank, shard in enumerate(np.array_split(batch, ranks)):
            images, labels = data.train_images[shard], data.train_labels[shard]
            model.gradient(weights[rank], images, labels, vectors[rank])
        begin = time.perf_counter()
        sum_gradients(vectors)
        communication += time.perf_counter() - begin
        losses.append(float(vectors[0][-1]) / len(batch))
        for rank in range(ranks):
            momenta[rank] *= dtype.type(MOMENTUM)
            momenta[rank] += vectors[rank][:-1] / dtype.type(len(batch))
            weights[rank] -= dtype.type(LEARNING_RATE) * momenta[rank]
        tick()
    equal = all(np.array_equal(weights[0], other) for other in weights[1:])
    return Trained(weights[0], losses, communication, equal)

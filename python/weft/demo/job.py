"""The job from end to end: train in two precisions, check both, write what there is to see."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.demo import data as digits
from weft.demo import model
from weft.demo.train import Trained, on_fabric, single_rank, train

if TYPE_CHECKING:
    from weft.fabric import Fabric

__all__ = ["Outcome", "Settings", "relative_difference", "run", "steps_in_all"]

#: How far weights may be from those of a single rank, relative to the largest, by dtype.
TOLERANCES = {"float32": 1e-5, "float64": 1e-12}


@dataclass(frozen=True)
class Settings:
    """What may be chosen; the same settings give the same weights."""

    epochs: int = 20
    batch: int = 64
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Outcome:
    """Training in one dtype, over the fabric and by a single rank on the same global batches."""

    dtype: str
    ours: Trained
    alone: Trained
    accuracy: float
    stats: dict[str, Any]  # of the fabric, for this training alone

    @property
    def difference(self) -> float:
        """Of the weights, see `relative_difference`."""
        return relative_difference(self.ours.weights, self.alone.weights)

    @property
    def matches(self) -> bool:
        """Whether the weights are those of a single rank, within the tolerance of the dtype."""
        return self.difference <= TOLERANCES[self.dtype]


def relative_difference(ours: model.Array, reference: model.Array) -> float:
    """The largest difference of two weight vectors, relative to each part's largest weight.

    >>> relative_difference(np.ones(model.PARAMETERS), np.ones(model.PARAMETERS))
    0.0
    """
    worst = 0.0
    for a, b in zip(model.split(ours), model.split(reference), strict=True):
        worst = max(worst, float(np.max(np.abs(a - b))) / float(np.max(np.abs(b))))
    return worst


def steps_in_all(settings: Settings) -> int:
    """Steps of all four training runs, for a progress bar."""
    data = digits.load("float32", settings.seed)
    return 2 * len(TOLERANCES) * len(data.batches(settings.batch, settings.epochs, settings.seed))


def run(
    fabric: Fabric,
    folder: Path,
    settings: Settings | None = None,
    tick: Callable[[str], None] = lambda words: None,
) -> dict[str, Any]:
    """Train on `fabric` in float32 and float64, check both, and write the report into `folder`.

    Returns the report (schema `weft.demo/1`); its `passed` says whether every check held. tick is
    called after each step with a few words. Blocks, for seconds. The trace, the bytes and the times
    are those of the float32 training; the fabric's statistics are reset.
    Raises ImportError without scikit-learn or matplotlib, and what all_reduce raises.
    """
    from weft.demo.report import make_report, write

    settings = settings or Settings()
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = [
        _train_both(fabric, settings, "float32", tick, folder / "trace.json"),
        _train_both(fabric, settings, "float64", tick, None),
    ]
    report = make_report(fabric, settings, outcomes)
    write(folder, report, outcomes)
    return report


def _train_both(
    fabric: Fabric,
    settings: Settings,
    dtype: str,
    tick: Callable[[str], None],
    trace: Path | None,
) -> Outcome:
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    data = digits.load(dtype, settings.seed)
    batches = data.batches(settings.batch, settings.epochs, settings.seed)
    fabric.reset_stats()
    with ExitStack() as stack:
        # The matrices are small: several threads of a BLAS would cost more than they bring.
        stack.enter_context(threadpool_limits(1))
        if trace is not None:
            stack.enter_context(fabric.trace(trace))
        words = f"{dtype}, {fabric.size} ranks"
        ours = train(
            data, batches, fabric.size, on_fabric(fabric), settings.seed, lambda: tick(words)
        )
        stats = fabric.stats()
        alone = train(
            data, batches, 1, single_rank, settings.seed, lambda: tick(f"{dtype}, a single rank")
        )
    accuracy = model.accuracy(ours.weights, data.test_images, data.test_labels)
    return Outcome(dtype, ours, alone, accuracy, stats)

"""scikit-learn's handwritten digits, shuffled once and cut into a training and a test part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Digits", "load"]

Array = npt.NDArray[Any]

_TEST_IMAGES = 360


@dataclass(frozen=True, eq=False)
class Digits:
    """Images (samples, 64) from 0 to 1 and labels (samples,) from 0 to 9."""

    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array

    def batches(self, size: int, epochs: int, seed: int) -> list[Array]:
        """Indices of the training samples of each step: every epoch all of them, in a new order."""
        rng = np.random.default_rng(seed)
        count = len(self.train_labels)
        return [
            order[begin : begin + size]
            for order in (rng.permutation(count) for _ in range(epochs))
            for begin in range(0, count, size)
        ]


def load(dtype: npt.DTypeLike, seed: int) -> Digits:
    """The 1,797 images, 360 of them for the test. ImportError without scikit-learn."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    images = (images[order] / 16).astype(dtype)
    labels = labels[order].astype(np.int64)
    cut = len(labels) - _TEST_IMAGES
    return Digits(images[:cut], labels[:cut], images[cut:], labels[cut:])

"""The classifier: 64 pixels -> 128 tanh -> 10 classes, with its gradient written out.

All parameters lie in one vector, so that a step needs one all-reduce. `gradient` returns sums over
the samples, not means: sums of shards add up to the sum of the batch, whatever the shards' sizes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["PARAMETERS", "accuracy", "gradient", "initial", "split"]

Array = npt.NDArray[Any]

PIXELS, HIDDEN, CLASSES = 64, 128, 10
_SHAPES = ((PIXELS, HIDDEN), (HIDDEN,), (HIDDEN, CLASSES), (CLASSES,))
PARAMETERS = sum(int(np.prod(shape)) for shape in _SHAPES)


def split(vector: Array) -> list[Array]:
    """Views of a vector of PARAMETERS elements: weights and biases of both layers.

    >>> [part.shape for part in split(np.zeros(PARAMETERS))]
    [(64, 128), (128,), (128, 10), (10,)]
    """
    parts, begin = [], 0
    for shape in _SHAPES:
        end = begin + int(np.prod(shape))
        parts.append(vector[begin:end].reshape(shape))
        begin = end
    return parts


def initial(seed: int, dtype: npt.DTypeLike) -> Array:
    """Weights of variance 1 / fan-in and zero biases; the same for every rank."""
    rng = np.random.default_rng(seed)
    vector = np.zeros(PARAMETERS)
    for part in split(vector):
        if part.ndim == 2:
            part[:] = rng.normal(0.0, part.shape[0] ** -0.5, part.shape)
    return vector.astype(dtype)


def gradient(parameters: Array, images: Array, labels: Array, into: Array) -> None:
    """Write the gradient of the summed cross-entropy of the samples, and that sum, into `into`.

    images: (samples, 64), labels: (samples,) of integers; `into`: PARAMETERS + 1 elements, the last
    for the loss. All of one float dtype. No samples: zeros.
    """
    w1, b1, w2, b2 = split(parameters)
    hidden = np.tanh(images @ w1 + b1)
    logits = hidden @ w2 + b2
    logits -= logits.max(axis=1, keepdims=True)
    odds = np.exp(logits)
    total = odds.sum(axis=1, keepdims=True)
    here = np.arange(len(labels))
    into[-1] = (np.log(total[:, 0]) - logits[here, labels]).sum()
    d_logits = odds / total
    d_logits[here, labels] -= 1
    d_hidden = (d_logits @ w2.T) * (1 - hidden * hidden)
    d_w1, d_b1, d_w2, d_b2 = split(into[:-1])
    np.matmul(images.T, d_hidden, out=d_w1)
    d_hidden.sum(axis=0, out=d_b1)
    np.matmul(hidden.T, d_logits, out=d_w2)
    d_logits.sum(axis=0, out=d_b2)


def accuracy(parameters: Array, images: Array, labels: Array) -> float:
    """The share of the images whose class comes out right, 0 to 1."""
    w1, b1, w2, b2 = split(parameters)
    logits = np.tanh(images @ w1 + b1) @ w2 + b2
    return float(np.mean(logits.argmax(axis=1) == labels))

"""What turns a graph's scores into probabilities."""

from typing import Literal

import numpy as np

from polyforge.adapters.model_backends.engine.arrays import Array

Activation = Literal["softmax", "sigmoid", "none"]


def activate(activation: Activation, scores: Array) -> Array:
    """Probabilities along the last dimension: of classes that exclude each other, or of each one on its own."""
    match activation:
        case "softmax":
            powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
            return powers / powers.sum(axis=-1, keepdims=True)
        case "sigmoid":
            # Only ever the power of a negative number: the other one overflows.
            small = np.exp(-np.abs(scores))
            return np.where(scores >= 0, 1 / (1 + small), small / (1 + small))
        case "none":
            return scores

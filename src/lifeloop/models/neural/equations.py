"""What each of the classics says of every item, in numpy: a request needs no torch.

Letters used in shapes: I items, h items of the history, d width, m hidden units.
A network's weights are named arrays; ``item`` [h] and ``weight`` [h] are the folded history.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import Double, Float, Int

Weights = Mapping[str, NDArray[np.float32]]
Says = Callable[[Weights, Int, Double, Float | None], Float]


def ncf(weights: Weights, item: Int, weight: Double, words: Float | None) -> Float:
    """Return hᵀ [p_G ⊙ q_G ; φ(p_M, q_M)] + c [I]; see ``neural.ncf``."""
    scale = np.float32(1.0 / np.sqrt(weight.sum()))
    strength = weight.astype(np.float32)
    p_g = (strength @ weights["history_g"][item]) * scale  # [d]
    p_m = (strength @ weights["history_m"][item]) * scale  # [d]
    first = np.maximum(weights["w1_item_of_all"] + (weights["w1_user"] @ p_m + weights["b1"]), 0.0)
    second = np.maximum(first @ weights["w2"].T + weights["b2"], 0.0)  # [I, m/2]
    told = second @ weights["h_m"] + weights["item_g"] @ (weights["h_g"] * p_g)
    return np.asarray(told + weights["bias"], dtype=np.float32)


def two_tower(weights: Weights, item: Int, weight: Double, words: Float | None) -> Float:
    """Return u · v_i / τ [I]; see ``neural.two_tower``."""
    mean = (weight.astype(np.float32) @ weights["inputs"][item]) / np.float32(weight.sum())  # [d]
    hidden = np.maximum(weights["u1"] @ mean + weights["u1_b"], 0.0)  # [m]
    user = weights["u2"] @ hidden + weights["u2_b"]  # [d]
    user = user / max(float(np.linalg.norm(user)), 1e-12)
    return np.asarray(weights["towers"] @ user / weights["temperature"], dtype=np.float32)


def rating(weights: Weights, item: Int, weight: Double, words: Float | None) -> Float:
    """Return ReLU(W₄ ReLU(W₃ ReLU(W₂ [u; i])) + b₄) + b_r [I]; see ``neural.rating_network``."""
    text = weights["text"]
    user: Float = weight.astype(np.float32) @ text[item]  # [d]
    if words is not None:
        user = np.asarray(user + words, dtype=np.float32)
    size = float(np.linalg.norm(user))
    user = user / np.float32(size) if size > 1e-9 else user
    width = text.shape[1]
    w2 = weights["w2"]
    hidden = np.maximum(text @ w2[:, width:].T + w2[:, :width] @ user, 0.0)  # [I, m]
    hidden = np.maximum(hidden @ weights["w3"].T, 0.0)
    told = np.maximum(hidden @ weights["w4"] + weights["b4"], 0.0) + weights["b_r"]
    return np.asarray(told, dtype=np.float32)


SAYS: dict[str, Says] = {"ncf": ncf, "two_tower": two_tower, "rating_network": rating}
"""By the word that a bundle keeps."""

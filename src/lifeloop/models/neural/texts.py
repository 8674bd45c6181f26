"""The texts of items as networks read them."""

import numpy as np

from lifeloop.contracts import Float, TrainData


def texts(data: TrainData) -> Float | None:
    """Return one unit vector per item [I, d], all-zero without one; None without any at all."""
    if not len(data.content) or not (data.content_ix >= 0).any() or not data.content.any():
        return None
    norms = np.linalg.norm(data.content.astype(np.float64), axis=1, keepdims=True)
    unit = np.divide(data.content, norms, out=np.zeros(data.content.shape), where=norms > 0)
    # four digits are more than an encoder means; the last ones of a float would grow in training
    unit = np.round(unit, 4)
    text = np.zeros((data.n_items, unit.shape[1]), dtype=np.float32)
    has = data.content_ix >= 0
    text[has] = unit[data.content_ix[has]]
    return text

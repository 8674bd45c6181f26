"""Gradient descent over named tensors, in torch; imported by training only."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lifeloop.models.neural.bags import Examples
from lifeloop.models.neural.threads import limited

Named = dict[str, Tensor]


def start(shapes: dict[str, tuple[int, ...]], rng: np.random.Generator) -> Named:
    """Return tensors of N(0, 1/fan-in) for matrices and 0 for vectors; tables of items .1."""
    made: Named = {}
    for name, shape in shapes.items():
        scale = 0.0 if len(shape) < 2 else shape[1] ** -0.5
        made[name] = torch.from_numpy((rng.standard_normal(shape) * scale).astype(np.float32))
    return made


def descend(
    weights: Named,
    batches: Iterator[Examples],
    loss: Callable[[Named, Examples], Tensor],
    *,
    steps: int,
    rate: float,
    decay: float = 0.0,
    threads: int | None = 1,
) -> dict[str, NDArray[np.float32]]:
    """Return the weights after so many steps of Adam; the rate falls to 0 as a cosine."""
    for value in weights.values():
        value.requires_grad_()
    optimiser = torch.optim.AdamW(list(weights.values()), lr=rate, weight_decay=decay)
    with limited(threads):
        for step, batch in zip(range(steps), batches, strict=False):
            for group in optimiser.param_groups:
                group["lr"] = float(rate * 0.5 * (1.0 + np.cos(np.pi * step / steps)))
            found = loss(weights, batch)
            optimiser.zero_grad(set_to_none=True)
            found.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return {name: value.detach().numpy() for name, value in weights.items()}


def histories(table: Tensor, batch: Examples) -> Tensor:
    """Return [E, d]: the weighted sum of each example's history without its positive."""
    whole = functional.embedding_bag(
        long(batch.item),
        table,
        offsets=long(batch.start),
        per_sample_weights=torch.from_numpy(batch.weight),
        mode="sum",
    )  # [B, d]
    own = functional.embedding(long(batch.positive), table) * real(batch.own)[:, None]
    return whole[long(batch.owner)] - own


def long(array: NDArray[np.integer]) -> Tensor:
    """Return int64, as torch indexes."""
    return torch.from_numpy(np.asarray(array, dtype=np.int64))


def real(array: NDArray[np.floating]) -> Tensor:
    """Return float32."""
    return torch.from_numpy(np.asarray(array, dtype=np.float32))

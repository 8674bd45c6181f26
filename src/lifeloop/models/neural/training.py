"""Rounds of gradient steps until the budget is used up or validation stops gaining.

A round is one pass over all rows (at least ``LEAST_STEPS`` steps). After each, the last events of
some people, kept aside, judge it; the weights of the best round are returned. Everything random
in a round follows from (seed, round), so a training that goes on from a checkpoint ends bit by
bit where an uninterrupted one does.
"""

import copy
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lifeloop.models.neural import losses
from lifeloop.models.neural.attention import Block, blocks
from lifeloop.models.neural.checkpoints import Checkpoints
from lifeloop.models.neural.network import Network
from lifeloop.models.neural.sequences import Rows, Sequences

LEAST_STEPS = 50
WARM_STEPS = 50
HALVES, LEAST_PLACES = 2, 1_000
"""Parts into which the rows of a step are cut, and places below which they are not."""
HORIZON = 400.0
"""Steps that the mean of the weights looks back."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to train and on how much at once."""

    rounds: int
    patience: int
    batch: int
    rate: float
    seconds: float | None
    negatives: int | None  # None: full softmax
    calibration: float
    id_dropout: float
    fingerprint: str


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """The best weights, and what each round was worth (NaN without anybody to judge by)."""

    weights: dict[str, NDArray[np.float32]]
    vectors: NDArray[np.float32]  # [n, d]
    values: tuple[float, ...]
    best: int
    resumed_at: int


@dataclass(slots=True, eq=False)
class Mean:
    """The weights' running mean, m ← m + (w − m) / min(HORIZON, (10 + t) / 9), which is kept.

    It lies nearer to the middle of a valley than any single step (izmailov2018).
    """

    network: Network
    steps: int = 0

    def follow(self, network: Network) -> None:
        """Take in the weights after one more step."""
        self.steps += 1
        share = 1.0 / min(HORIZON, (10 + self.steps) / 9)
        with torch.no_grad():
            for kept, now in zip(self.network.parameters(), network.parameters(), strict=True):
                kept.lerp_(now, share)


def train(
    network: Network,
    sequences: Sequences,
    questions: Rows,
    *,
    plan: Plan,
    seed: int,
    clock: Callable[[], float],
    pool: ThreadPoolExecutor,
    checkpoints: Checkpoints | None = None,
) -> Trained:
    """Train in place.

    Parameters
    ----------
    network : Network
        On the device to train on.
    sequences, questions : Sequences, Rows
        What is learned, and the kept-aside questions (none: every round is kept).
    seed : int
        Of everything random.
    clock : callable
        Seconds; read after each round, against ``plan.seconds``.
    pool : ThreadPoolExecutor
        Whose threads work on the halves of a step.
    checkpoints : Checkpoints, optional
        Loaded before the first round, saved after each, cleared at the end.
    """
    device = network.places.device
    network.start(_generator(seed, 0, device))
    mean = Mean(copy.deepcopy(network))
    optimiser = torch.optim.Adam(network.parameters(), lr=plan.rate, betas=(0.9, 0.98))
    values: list[float] = []
    best = {name: value.clone() for name, value in network.state_dict().items()}
    resumed = 0
    if checkpoints is not None and (kept := checkpoints.load(plan.fingerprint)) is not None:
        state = torch.load(io.BytesIO(kept), weights_only=True, map_location=device)
        if state["fingerprint"] == plan.fingerprint:
            network.load_state_dict(state["weights"])
            optimiser.load_state_dict(state["optimiser"])
            mean.network.load_state_dict(state["mean"])
            mean.steps = state["steps"]
            values, best = list(state["values"]), state["best"]
            resumed = len(values)
    started = clock()
    while len(values) < plan.rounds and not _stuck(values, plan.patience):
        used = 0.0 if plan.seconds is None else (clock() - started) / plan.seconds
        if used >= 1.0:
            break
        _round(
            network, optimiser, mean, sequences, pool,
            plan=plan, seed=seed, number=len(values), used=used,
        )  # fmt: skip
        values.append(_value(mean.network, questions, at_once=plan.batch))
        if not np.isfinite(values[-1]) or values[-1] >= np.nanmax(values):
            best = {name: value.clone() for name, value in mean.network.state_dict().items()}
        if checkpoints is not None:
            file = io.BytesIO()
            torch.save(
                {
                    "fingerprint": plan.fingerprint,
                    "weights": network.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "mean": mean.network.state_dict(),
                    "steps": mean.steps,
                    "values": values,
                    "best": best,
                },
                file,
            )
            checkpoints.save(plan.fingerprint, file.getvalue())
    network.load_state_dict(best)
    if checkpoints is not None:
        checkpoints.clear(plan.fingerprint)
    with torch.no_grad():
        vectors = network.vectors().cpu().numpy()
    return Trained(
        weights={name: value.cpu().numpy() for name, value in best.items()},
        vectors=vectors,
        values=tuple(values),
        best=int(np.nanargmax(values)) if np.isfinite(values).any() else len(values) - 1,
        resumed_at=resumed,
    )


def _round(
    network: Network,
    optimiser: torch.optim.Optimizer,
    mean: Mean,
    sequences: Sequences,
    pool: ThreadPoolExecutor,
    *,
    plan: Plan,
    seed: int,
    number: int,
    used: float,
) -> None:
    device = network.places.device
    rngs = [_generator(seed, number + 1, device, half) for half in range(HALVES)]
    order = np.random.default_rng([seed, number + 1])
    steps = 0
    while steps < LEAST_STEPS:
        before = steps
        for rows in sequences.batches(plan.batch, order):
            through = max(number / plan.rounds, used)
            rate = float(plan.rate * 0.5 * (1.0 + np.cos(np.pi * through)))
            if number == 0:
                rate *= min(1.0, (steps + 1) / WARM_STEPS)
            for group in optimiser.param_groups:
                group["lr"] = rate
            _step(network, optimiser, rows, plan=plan, rngs=rngs, pool=pool)
            mean.follow(network)
            steps += 1
        if steps == before:
            return


def _step(
    network: Network,
    optimiser: torch.optim.Optimizer,
    rows: Rows,
    *,
    plan: Plan,
    rngs: Sequence[torch.Generator],
    pool: ThreadPoolExecutor,
) -> None:
    """Move the weights by the gradient of the mean loss over the targets of some rows.

    Halves of the rows are worked out side by side and added up in their order, so that the
    result is the same whatever the threads.
    """
    device = network.places.device
    kept: Tensor | None = None
    if network.text_map is not None and plan.id_dropout:
        share = torch.empty(network.items.num_embeddings, 1, device=device)
        kept = share.bernoulli_(1.0 - plan.id_dropout, generator=rngs[0])
    whole = rows.item.size < LEAST_PLACES or device.type != "cpu"
    halves = 1 if whole else min(len(rngs), len(rows.item))
    cuts = np.linspace(0, len(rows.item), halves + 1).astype(int)
    parts = [rows.part(slice(lo, hi)) for lo, hi in pairwise(cuts)]
    work = [
        pool.submit(_gradient, network, part, kept, plan, rng)
        for part, rng in zip(parts, rngs, strict=False)
    ]
    found = [each.result() for each in work]
    n = sum(targets for _, targets in found)
    for place, weight in enumerate(network.parameters()):
        weight.grad = torch.stack([grads[place] for grads, _ in found]).sum(0) / n
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()


def _gradient(
    network: Network, rows: Rows, kept: Tensor | None, plan: Plan, rng: torch.Generator
) -> tuple[list[Tensor], int]:
    """Return the gradient of the summed loss by every weight, and the number of targets."""
    vectors = network.vectors(kept)
    item, look = _inputs(network, rows)
    target = torch.from_numpy(rows.target).to(vectors.device, torch.long)
    asked = target >= 0
    target = target[asked]
    h = network(vectors, item, look, rng)[asked]  # [N, d]
    if plan.negatives is None:
        loss = losses.full(h, vectors, target, network.factors)
    else:
        loss = losses.sampled(
            h, vectors, target, negatives=plan.negatives, t=plan.calibration, rng=rng
        )
    n = len(target)
    return list(torch.autograd.grad(loss * n, list(network.parameters()))), n


def _value(network: Network, questions: Rows, *, at_once: int) -> float:
    """Return NDCG@10 of the last targets among what the row does not hold; NaN without any."""
    n = len(questions.item)
    if not n:
        return float("nan")
    gains = []
    with torch.no_grad():
        vectors = network.vectors()
        for lo in range(0, n, at_once):
            part = slice(lo, lo + at_once)
            rows = questions.part(part)
            item, look = _inputs(network, rows)
            scores = network(vectors, item, look, None)[:, -1] @ vectors.T  # [B, n]
            target = torch.from_numpy(rows.target[:, -1]).to(scores.device, torch.long)
            wanted = scores.gather(1, target[:, None])
            seen = torch.zeros_like(scores, dtype=torch.bool)
            seen.scatter_(1, item.clamp(min=0), item >= 0)
            ahead = ((scores > wanted) & ~seen).sum(1).cpu().numpy()
            gains.append(np.where(ahead < 10, 1.0 / np.log2(ahead + 2.0), 0.0))
    return float(np.concatenate(gains).mean())


def _inputs(network: Network, rows: Rows) -> tuple[Tensor, list[Block]]:
    device = network.places.device
    look = blocks(rows.item, rows.event_s, rows.asked_s, by_time=network.by_time)
    if device.type != "cpu":
        look = [replace(block, index=block.index.to(device)) for block in look]
    return torch.from_numpy(rows.item).to(device, torch.long), look


def _stuck(values: list[float], patience: int) -> bool:
    if not values or not np.isfinite(values).any():
        return False
    return len(values) - 1 - int(np.nanargmax(values)) >= patience


def _generator(seed: int, number: int, device: torch.device, half: int = 0) -> torch.Generator:
    state = int(np.random.default_rng([seed, number, half]).integers(2**63))
    return torch.Generator(device=device).manual_seed(state)

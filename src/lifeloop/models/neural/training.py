"""Rounds of gradient steps until the budget is used up or validation stops gaining.

A round is one pass over all rows (at least ``LEAST_STEPS`` steps). After each, the last events of
some people, kept aside, judge it; the weights of the best round are returned. Everything random
in a round follows from (seed, round), so a training that goes on from a checkpoint ends bit by
bit where an uninterrupted one does.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lifeloop.models.neural import losses
from lifeloop.models.neural.checkpoints import Checkpoints
from lifeloop.models.neural.gaps import HIDDEN, classes
from lifeloop.models.neural.network import Network
from lifeloop.models.neural.sequences import Rows, Sequences

LEAST_STEPS = 50
WARM_STEPS = 50


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


def train(
    network: Network,
    sequences: Sequences,
    questions: Rows,
    *,
    plan: Plan,
    seed: int,
    clock: Callable[[], float],
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
    checkpoints : Checkpoints, optional
        Loaded before the first round, saved after each, cleared at the end.
    """
    device = network.places.device
    network.start(_generator(seed, 0, device))
    optimiser = torch.optim.Adam(network.parameters(), lr=plan.rate, betas=(0.9, 0.98))
    values: list[float] = []
    best = {name: value.clone() for name, value in network.state_dict().items()}
    resumed = 0
    if checkpoints is not None and (kept := checkpoints.load(plan.fingerprint)) is not None:
        state = torch.load(io.BytesIO(kept), weights_only=True, map_location=device)
        if state["fingerprint"] == plan.fingerprint:
            network.load_state_dict(state["weights"])
            optimiser.load_state_dict(state["optimiser"])
            values, best = list(state["values"]), state["best"]
            resumed = len(values)
    started = clock()
    while len(values) < plan.rounds and not _stuck(values, plan.patience):
        used = 0.0 if plan.seconds is None else (clock() - started) / plan.seconds
        if used >= 1.0:
            break
        _round(network, optimiser, sequences, plan=plan, seed=seed, number=len(values), used=used)
        values.append(_value(network, questions, at_once=plan.batch))
        if not np.isfinite(values[-1]) or values[-1] >= np.nanmax(values):
            best = {name: value.clone() for name, value in network.state_dict().items()}
        if checkpoints is not None:
            file = io.BytesIO()
            torch.save(
                {
                    "fingerprint": plan.fingerprint,
                    "weights": network.state_dict(),
                    "optimiser": optimiser.state_dict(),
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
    sequences: Sequences,
    *,
    plan: Plan,
    seed: int,
    number: int,
    used: float,
) -> None:
    device = network.places.device
    rng = _generator(seed, number + 1, device)
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
            _step(network, optimiser, rows, plan=plan, rng=rng)
            steps += 1
        if steps == before:
            return


def _step(
    network: Network,
    optimiser: torch.optim.Optimizer,
    rows: Rows,
    *,
    plan: Plan,
    rng: torch.Generator,
) -> None:
    device = network.places.device
    kept: Tensor | None = None
    if network.text_map is not None and plan.id_dropout:
        share = torch.empty(network.items.num_embeddings, 1, device=device)
        kept = share.bernoulli_(1.0 - plan.id_dropout, generator=rng)
    vectors = network.vectors(kept)
    item, gap = _inputs(network, rows)
    target = torch.from_numpy(rows.target).to(device, torch.long)
    asked = target >= 0
    h = network(vectors, item, gap, rng)[asked]  # [N, d]
    if plan.negatives is None:
        loss = losses.full(h, vectors, target[asked])
    else:
        loss = losses.sampled(
            h, vectors, target[asked], negatives=plan.negatives, t=plan.calibration, rng=rng
        )
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()


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
            rows = Rows(
                questions.item[part],
                questions.event_s[part],
                questions.asked_s[part],
                questions.target[part],
            )
            item, gap = _inputs(network, rows)
            scores = network(vectors, item, gap, None)[:, -1] @ vectors.T  # [B, n]
            target = torch.from_numpy(rows.target[:, -1]).to(scores.device, torch.long)
            wanted = scores.gather(1, target[:, None])
            seen = torch.zeros_like(scores, dtype=torch.bool)
            seen.scatter_(1, item.clamp(min=0), item >= 0)
            ahead = ((scores > wanted) & ~seen).sum(1).cpu().numpy()
            gains.append(np.where(ahead < 10, 1.0 / np.log2(ahead + 2.0), 0.0))
    return float(np.concatenate(gains).mean())


def _inputs(network: Network, rows: Rows) -> tuple[Tensor, Tensor]:
    device = network.places.device
    n = rows.item.shape[1]
    if network.by_time:
        gap = classes(rows.asked_s, rows.event_s)
    else:
        gap = np.zeros((len(rows.item), n, n), dtype=np.int32)
    gap[np.broadcast_to(np.triu(np.ones((n, n), np.bool_), 1), gap.shape)] = HIDDEN
    gap[np.broadcast_to((rows.item < 0)[:, None, :], gap.shape)] = HIDDEN
    item = torch.from_numpy(rows.item).to(device, torch.long)
    return item, torch.from_numpy(gap).to(device)


def _stuck(values: list[float], patience: int) -> bool:
    if not values or not np.isfinite(values).any():
        return False
    return len(values) - 1 - int(np.nanargmax(values)) >= patience


def _generator(seed: int, number: int, device: torch.device) -> torch.Generator:
    state = int(np.random.default_rng([seed, number]).integers(2**63))
    return torch.Generator(device=device).manual_seed(state)

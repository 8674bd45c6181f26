"""Two towers: a person and an item meet only in a dot product, so items are worked out once.

    x_i = E_i + T text_i,   v_i = V₂ ReLU(V₁ x_i + c₁) + c₂,   each scaled to length 1
    u = U₂ ReLU(U₁ Σ_h w_h x_h / Σ w + a₁) + a₂,               scaled to length 1
    score_i = u · v_i / τ

Learned with a softmax over the items of the batch, corrected for how often each comes up there:
u · v_j / τ − ln q_j (yi2019, equations 2 to 5, with q counted from the data; the user tower is
covington2016's mean of what was used). Items nobody used are scored by T text_i where they have
one.
"""

from dataclasses import dataclass

import numpy as np

from lifeloop.contracts import TrainData
from lifeloop.errors import MissingExtra
from lifeloop.models.neural.bags import Bags, Examples
from lifeloop.models.neural.served import FittedClassic
from lifeloop.models.neural.texts import texts
from lifeloop.models.retrieve.fold import weight_unit


@dataclass(frozen=True, slots=True)
class TwoTower:
    """A deep network per side.

    Parameters
    ----------
    width, hidden : int
        d of the vectors, and units of each tower.
    temperature : float
        τ above.
    people, each : int
        Of a batch, and positives of one person in it.
    id_dropout : float
        Share of items whose own vector is left out in a step, where there are texts.
    rate, decay : float
        Step size at the start, and weight decay.
    steps : int
        Batches.
    """

    width: int = 64
    hidden: int = 128
    temperature: float = 0.1
    people: int = 256
    each: int = 4
    id_dropout: float = 0.2
    rate: float = 2e-3
    decay: float = 1e-2
    steps: int = 2000
    name: str = "two_tower"

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> FittedClassic:
        """Train, and work out the towers of all items."""
        try:
            import torch
            from torch.nn import functional

            from lifeloop.models.neural import descent
        except ImportError as missing:
            raise MissingExtra("training two towers", "train") from missing
        n, d, m = data.n_items, self.width, self.hidden
        text = texts(data)
        shapes: dict[str, tuple[int, ...]] = {"items": (n, d)}
        for side in "uv":
            shapes |= {
                f"{side}1": (m, d),
                f"{side}1_b": (m,),
                f"{side}2": (d, m),
                f"{side}2_b": (d,),
            }
        if text is not None:
            shapes["text_map"] = (d, text.shape[1])
        weights = descent.start(shapes, rng)
        told = None if text is None else torch.from_numpy(text)
        count = np.bincount(data.item_ix, minlength=n)
        log_q = descent.real(np.log(np.maximum(count, 1) / max(1, len(data.item_ix))))

        def inputs(w: descent.Named, kept: torch.Tensor | None) -> torch.Tensor:
            own = w["items"] if kept is None else w["items"] * kept
            return own if told is None else own + told @ w["text_map"].T

        def tower(w: descent.Named, side: str, x: torch.Tensor) -> torch.Tensor:
            hidden = torch.relu(x @ w[f"{side}1"].T + w[f"{side}1_b"])
            return functional.normalize(hidden @ w[f"{side}2"].T + w[f"{side}2_b"], dim=-1)

        def loss(w: descent.Named, batch: Examples) -> torch.Tensor:
            kept = None
            if told is not None:
                kept = descent.real((rng.random((n, 1)) >= self.id_dropout).astype(np.float32))
            x = inputs(w, kept)  # [I, d]
            user = tower(w, "u", descent.histories(x, batch) / descent.real(batch.left)[:, None])
            asked, place = np.unique(batch.positive, return_inverse=True)
            at = descent.long(asked)
            scores = user @ tower(w, "v", x[at]).T / self.temperature - log_q[at]
            return functional.cross_entropy(scores, descent.long(place))

        batches = Bags.of(data).examples(self.people, self.each, 1, rng)
        learned = descent.descend(
            weights, batches, loss, steps=self.steps, rate=self.rate, decay=self.decay
        )
        used = count > 0
        learned["items"][~used] = 0.0
        has = np.zeros(n, np.bool_) if text is None else text.any(axis=1)
        with torch.no_grad():
            held = {name: torch.from_numpy(value) for name, value in learned.items()}
            x = inputs(held, None)
            served = {
                "inputs": x.numpy(),
                "towers": tower(held, "v", x).numpy(),
                "temperature": np.array([self.temperature], dtype=np.float32),
            }
        served |= {name: learned[name] for name in ("u1", "u1_b", "u2", "u2_b")}
        return FittedClassic(
            name=self.name,
            equation="two_tower",
            weights=served,
            scored=used | has,
            known=used | has,
            weight_unit=weight_unit(data.weight),
        )

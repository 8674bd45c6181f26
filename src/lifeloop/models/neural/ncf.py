"""Neural collaborative filtering: a product and a network of the same pair, added up.

    p = Σ_h w_h P_h / √Σ w,   φ_G = p_G ⊙ q_G,   φ_M = ReLU(W₂ ReLU(W₁ [p_M; q_M] + b₁) + b₂)
    ŷ_ui = σ(hᵀ [φ_G; φ_M] + c_i)

(he2017ncf, equations 9 to 12: GMF and MLP with tables of their own, fused; learned with the log
loss of equation 7 over sampled negatives.) The paper's user vector is a row per person; its section
3.1 lets the input be anything about a person, and here it is the bag of items used, so a person
unknown in training is served. In training the positive is taken out of the bag.
"""

from dataclasses import dataclass

import numpy as np

from lifeloop.contracts import TrainData
from lifeloop.errors import MissingExtra
from lifeloop.models.neural.bags import Bags, Examples
from lifeloop.models.neural.served import FittedClassic
from lifeloop.models.retrieve.fold import weight_unit


@dataclass(frozen=True, slots=True)
class Ncf:
    """GMF and MLP over bags of items.

    Parameters
    ----------
    width, hidden : int
        d of every table, and units of the first layer (the second has half).
    negatives : int
        Items drawn per positive.
    people, each : int
        Of a batch, and positives of one person in it.
    rate, decay : float
        Step size at the start, and weight decay.
    steps : int
        Batches.
    """

    width: int = 32
    hidden: int = 64
    negatives: int = 8
    people: int = 128
    each: int = 16
    rate: float = 3e-3
    decay: float = 1e-2
    steps: int = 3000
    name: str = "ncf"

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> FittedClassic:
        """Train; items nobody used are not scored."""
        try:
            import torch
            from torch.nn import functional

            from lifeloop.models.neural import descent
        except ImportError as missing:
            raise MissingExtra("training NCF", "train") from missing
        n, d, m = data.n_items, self.width, self.hidden
        tables = ("history_g", "history_m", "item_g", "item_m")
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(tables, (n, d))
        shapes |= {"w1_user": (m, d), "w1_item": (m, d), "b1": (m,), "w2": (m // 2, m)}
        shapes |= {"b2": (m // 2,), "h_g": (d,), "h_m": (m // 2,), "bias": (n,)}
        weights = descent.start(shapes, rng)
        weights["h_g"] += 1.0
        weights["h_m"] += (m // 2) ** -0.5

        def loss(w: descent.Named, batch: Examples) -> torch.Tensor:
            scale = descent.real(batch.left)[:, None] ** -0.5
            p_g = descent.histories(w["history_g"], batch) * scale  # [E, d]
            p_m = descent.histories(w["history_m"], batch) * scale
            asked = descent.long(np.column_stack([batch.positive, batch.negative]))  # [E, k+1]
            hidden = (p_m @ w["w1_user"].T + w["b1"])[:, None] + (
                functional.embedding(asked, w["item_m"]) @ w["w1_item"].T
            )
            hidden = torch.relu(torch.relu(hidden) @ w["w2"].T + w["b2"])
            product = (functional.embedding(asked, w["item_g"]) * p_g[:, None]) @ w["h_g"]
            told = hidden @ w["h_m"] + product + w["bias"][asked]  # [E, k+1]
            fair = torch.from_numpy(np.column_stack([np.ones(len(asked), np.bool_), batch.fair]))
            label = torch.zeros_like(told)
            label[:, 0] = 1.0
            each = functional.binary_cross_entropy_with_logits(told, label, reduction="none")
            return (each * fair).sum() / fair.sum()

        batches = Bags.of(data).examples(self.people, self.each, self.negatives, rng)
        learned = descent.descend(
            weights, batches, loss, steps=self.steps, rate=self.rate, decay=self.decay
        )
        learned["w1_item_of_all"] = learned["item_m"] @ learned["w1_item"].T  # [I, m]
        used = np.bincount(data.item_ix, minlength=n) > 0
        return FittedClassic(
            name=self.name,
            equation="ncf",
            weights=learned,
            scored=used,
            known=used,
            weight_unit=weight_unit(data.weight),
        )

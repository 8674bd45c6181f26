"""The textbook's rating network over encoder vectors: a person and an item in, a rating out.

    r = σ(W₄ · σ(W₃ · σ(W₂ · [u; i])) + b₄) + b_r,    σ = ReLU

Shapes, worked for the 384-wide E5 vectors and the default layers: u [384] is the mean of the
vectors of what the person used, scaled to length 1, i [384] the vector of the item, [u; i] [768];
W₂ [256, 768] gives [256], W₃ [64, 256] gives [64], W₄ [1, 64] gives one number, b₄ and b_r are one
number each, and r is one number: 256·768 + 64·256 + 64 + 2 = 213,058 weights. W₂ [u; i] is
W₂ᵘ u + W₂ⁱ i, so a request does the second product for all items and the first once.

Where people rated, r is learned from ratings (squared error; b_r starts one below their mean and
b₄ at one, so that no ReLU begins dead); elsewhere from use, 1 for what was used and 0 for items
drawn at random. The item asked about is taken out of u in training. No vector of a person or an
item is learned, so any item with a text is scored; one without is not.
(I. Goodfellow, Y. Bengio, A. Courville, "Deep Learning", 2016, chapter 6, for the form.)
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
class RatingNetwork:
    """Three layers over [u; i].

    Parameters
    ----------
    first, second : int
        Rows of W₂ and W₃.
    negatives : int
        Items drawn per positive where nothing was rated.
    people, each : int
        Of a batch, and positives of one person in it.
    rate, decay : float
        Step size at the start, and weight decay.
    steps : int
        Batches.
    """

    first: int = 256
    second: int = 64
    negatives: int = 4
    people: int = 128
    each: int = 8
    rate: float = 1e-3
    decay: float = 1e-2
    steps: int = 1500
    name: str = "rating_network"

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> FittedClassic:
        """Train on ratings, or on use where there are none."""
        try:
            import torch
            from torch.nn import functional

            from lifeloop.models.neural import descent
        except ImportError as missing:
            raise MissingExtra("training a rating network", "train") from missing
        told = texts(data)
        text = np.zeros((data.n_items, 1), np.float32) if told is None else told
        has = np.any(text != 0, axis=1)
        rated = np.isfinite(data.rating)
        by_rating = bool(rated.any())
        middle = float(data.rating[rated].mean()) if by_rating else 0.5
        d = text.shape[1]
        weights = descent.start(
            {"w2": (self.first, 2 * d), "w3": (self.second, self.first), "w4": (1, self.second)},
            rng,
        )
        weights |= {"b4": torch.ones(()), "b_r": torch.tensor(middle - 1.0)}
        held = torch.from_numpy(text)

        def loss(w: descent.Named, batch: Examples) -> torch.Tensor:
            user = functional.normalize(descent.histories(held, batch), dim=-1)  # [E, d]
            asked = np.column_stack([batch.positive, batch.negative])  # [E, k+1]
            target = np.zeros(asked.shape)
            target[:, 0] = batch.rating if by_rating else 1.0
            counts = np.isfinite(target) & has[asked]
            counts[:, 1:] &= batch.fair & (not by_rating)
            item = held[descent.long(asked)]
            pair = torch.cat([user[:, None].expand_as(item), item], dim=-1)  # [E, k+1, 2d]
            hidden = torch.relu(torch.relu(pair @ w["w2"].T) @ w["w3"].T)
            said = torch.relu((hidden @ w["w4"].T)[..., 0] + w["b4"]) + w["b_r"]
            wrong = (said - descent.real(np.nan_to_num(target))) ** 2
            counted = torch.from_numpy(counts)
            return (wrong * counted).sum() / counted.sum().clamp(min=1)

        steps = self.steps if has.any() else 0
        batches = Bags.of(data).examples(
            self.people, self.each, 1 if by_rating else self.negatives, rng
        )
        learned = descent.descend(
            weights, batches, loss, steps=steps, rate=self.rate, decay=self.decay
        )
        return FittedClassic(
            name=self.name,
            equation="rating_network",
            weights={**learned, "w4": learned["w4"][0], "text": text},
            scored=has,
            known=has,
            weight_unit=weight_unit(data.weight),
            reads_words=True,
        )

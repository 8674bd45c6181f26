"""What a sequence network is trained to do: two losses over N places with d-wide states h.

Full softmax: −log softmax_j(h · v_j) at the target (klenitskiy2023: with it SASRec is ahead of
BERT4Rec). For catalogues where N · n scores are too many, gBCE over k shared negatives:

    −β log σ(s⁺) − Σ_k log(1 − σ(s⁻)),   β = α (t (1 − 1/α) + 1/α),   α = k / (n − 1)

(petrov2023, equations 9 to 12): β undoes the overconfidence that sampling brings; t = 0 is plain
binary cross-entropy, t = 1 calibrates fully.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

CHUNK = 256
"""Places scored at a time by the full softmax, so that N · n scores are never held."""


def full(h: Tensor, vectors: Tensor, target: Tensor, factors: torch.dtype | None = None) -> Tensor:
    """Return the mean cross-entropy of h [N, d] over vectors [n, d] at target [N].

    ``factors``: what scores and shares are rounded to; None: nothing is rounded.
    """
    found: Tensor = _Full.apply(h, vectors, target, factors or h.dtype)  # type: ignore[no-untyped-call]
    return found


class _Full(torch.autograd.Function):
    """Softmax cross-entropy whose gradient, softmax − target, is worked out chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any, h: Tensor, vectors: Tensor, target: Tensor, factors: torch.dtype
    ) -> Tensor:
        n = len(h)
        grad_vectors = torch.zeros_like(vectors)
        total = h.new_zeros(())
        held = vectors.to(factors)
        turned = held.T.contiguous()  # [d, n]
        # one size of chunk: torch keeps workspace for every shape that it ever multiplied; a row
        # of zeros adds nothing to the gradient of the vectors
        left = -n % CHUNK
        asked = functional.pad(h, (0, 0, 0, left)).to(factors)
        target = functional.pad(target, (0, left))
        grad_h = asked.new_empty(asked.shape)
        scores = asked.new_empty(CHUNK, len(vectors))
        places = torch.arange(CHUNK, device=h.device) * len(vectors)
        for lo in range(0, n, CHUNK):
            part = slice(lo, lo + CHUNK)
            at = target[part] + places
            torch.mm(asked[part], turned, out=scores)  # [C, n]
            share = scores.softmax(1)
            flat = share.view(-1)
            wanted = flat[at]
            total -= wanted[: n - lo].to(h.dtype).clamp(min=1e-30).log().sum()
            flat[at] = wanted - 1.0
            torch.mm(share, held, out=grad_h[part])
            grad_vectors += share.T @ asked[part]
        ctx.save_for_backward(grad_h[:n].to(h.dtype), grad_vectors)
        return total / n

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_h, grad_vectors = ctx.saved_tensors
        scale = grads[0] / len(grad_h)
        return grad_h * scale, grad_vectors * scale, None, None


def sampled(
    h: Tensor, vectors: Tensor, target: Tensor, *, negatives: int, t: float, rng: torch.Generator
) -> Tensor:
    """Return the mean gBCE of h [N, d]; a negative that is the target counts as none."""
    n = len(vectors)
    k = min(negatives, n - 1)
    if k < 1:
        return h.sum() * 0.0
    drawn = torch.randint(n, (k,), generator=rng, device=h.device)
    positive = (h * functional.embedding(target, vectors)).sum(-1)  # [N]
    scores = h @ functional.embedding(drawn, vectors).T  # [N, k]
    wrong = functional.softplus(scores).masked_fill(drawn[None, :] == target[:, None], 0.0)
    return (power(k, n, t) * functional.softplus(-positive) + wrong.sum(-1)).mean()


def power(negatives: int, n: int, t: float) -> float:
    """Return β for so many negatives of n items."""
    alpha = negatives / (n - 1)
    return alpha * (t * (1.0 - 1.0 / alpha) + 1.0 / alpha)

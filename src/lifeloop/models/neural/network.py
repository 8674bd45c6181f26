"""The transformer over a history, in torch. Imported by training only.

Letters used in shapes: B rows, L places, d width, H heads, e = d / H, n items, c gap classes.

    x⁰_i = √d · v(i) + p_i,   a = softmax(QKᵀ/√e + r_{i−j} + τ_{class(t_i − t_j)}) V,
    x ← x + O a(LN x),   x ← x + W₂ ReLU(W₁ LN x),   h_i = LN x_i,   score = h_i · v

with v(i) = E_i + T text_i: a concatenation of both followed by one linear layer is this sum.
(kang2018, equations 1 to 6, with layer norms before the blocks; r and τ as in zhai2024.)
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lifeloop.models.neural.gaps import CLASSES, HIDDEN

MASKED = -1e9


class Network(nn.Module):
    """Item vectors, positions, blocks; the forward pass ends before the scores."""

    def __init__(
        self, *, n: int, text: Tensor | None, width: int, heads: int, layers: int, length: int,
        position: bool, time: bool, dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.items = nn.Embedding(n, width)
        self.text_map = None if text is None else nn.Linear(text.shape[1], width, bias=False)
        self.text: Tensor | None
        self.register_buffer("text", text, persistent=False)
        self.places = nn.Parameter(torch.zeros(length, width))
        self.blocks = nn.ModuleList(
            _Block(width, heads, length, position=position, time=time) for _ in range(layers)
        )
        self.last = nn.LayerNorm(width)
        self.dropout = dropout
        self.width = width
        self.by_time = time

    def start(self, rng: torch.Generator) -> None:
        """Fill every weight from one generator."""
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if name.endswith("bias") or "by_" in name:
                    weight.zero_()
                elif "norm" not in name and not name.startswith("last"):
                    weight.normal_(0.0, 0.05, generator=rng)

    def vectors(self, kept: Tensor | None = None) -> Tensor:
        """Return v [n, d]; ``kept`` [n, 1] takes some items' own vectors away, text stays."""
        own = self.items.weight if kept is None else self.items.weight * kept
        if self.text_map is None or self.text is None:
            return own
        told: Tensor = self.text_map(self.text)
        return own + told

    def forward(
        self, vectors: Tensor, item: Tensor, gap: Tensor, rng: torch.Generator | None
    ) -> Tensor:
        """Return h [B, L, d] of rows item [B, L] (-1 pads) with classes of gaps [B, L, L].

        ``gap`` is ``HIDDEN`` where a place may not look; without time biases the rest is ignored.
        """
        n = item.shape[1]
        x = functional.embedding(item.clamp(min=0), vectors) * self.width**0.5 + self.places[-n:]
        x = _drop(x * (item >= 0)[..., None], self.dropout, rng)  # [B, L, d]
        place = torch.arange(n, device=item.device)
        back = (place[:, None] - place[None, :]).clamp(min=0)  # [L, L]
        for block in self.blocks:
            x = block(x, back, gap, self.dropout, rng)
        found: Tensor = self.last(x)
        return found


class _Block(nn.Module):
    """Attention with biases, then two layers."""

    def __init__(self, width: int, heads: int, length: int, *, position: bool, time: bool) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_inner = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.by_place = nn.Parameter(torch.zeros(heads, length)) if position else None
        self.by_gap = nn.Parameter(torch.zeros(heads, CLASSES)) if time else None
        self.heads = heads

    def forward(
        self, x: Tensor, back: Tensor, gap: Tensor, dropout: float, rng: torch.Generator | None
    ) -> Tensor:
        b, n, d = x.shape
        split = self.qkv(self.norm_attention(x)).view(b, n, 3, self.heads, d // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)  # [B, H, L, e] each
        weight = (q * (d // self.heads) ** -0.5) @ k.transpose(-1, -2)  # [B, H, L, L]
        if self.by_place is not None:
            weight = weight + _looked(self.by_place, back)
        by_gap = x.new_zeros(self.heads, CLASSES) if self.by_gap is None else self.by_gap
        table = torch.cat([by_gap, by_gap.new_full((self.heads, HIDDEN + 1 - CLASSES), MASKED)], 1)
        weight = weight + _looked(table, gap).transpose(0, 1)
        seen = (weight.softmax(-1) @ v).transpose(1, 2).reshape(b, n, d)
        x = x + _drop(self.out(seen), dropout, rng)
        inner = self.down(torch.relu(self.up(self.norm_inner(x))))
        return x + _drop(inner, dropout, rng)


class _Looked(torch.autograd.Function):
    """table[:, index]; backward counts per class, many times faster than a scatter."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor) -> Tensor:
        flat = index.reshape(-1)
        ctx.save_for_backward(flat)
        ctx.size = table.shape[1]
        return table.index_select(1, flat).view(table.shape[0], *index.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (flat,) = ctx.saved_tensors
        grad = grads[0]
        return torch.stack(
            [
                torch.bincount(flat, weights=one.reshape(-1), minlength=ctx.size).to(grad.dtype)
                for one in grad
            ]
        ), None


def _looked(table: Tensor, index: Tensor) -> Tensor:
    """Return table [H, classes] at index [...] as [H, ...]."""
    found: Tensor = _Looked.apply(table, index)  # type: ignore[no-untyped-call]
    return found


def _drop(x: Tensor, share: float, rng: torch.Generator | None) -> Tensor:
    """Dropout from a stated generator; torch's own draws from a global one."""
    if rng is None or not share:
        return x
    kept = torch.empty_like(x).bernoulli_(1.0 - share, generator=rng)
    return x * kept.div_(1.0 - share)

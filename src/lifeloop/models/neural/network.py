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

from lifeloop.models.neural.attention import Block, attend
from lifeloop.models.neural.gaps import CLASSES


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
        self.factors = torch.float32

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
        self, vectors: Tensor, item: Tensor, look: list[Block], rng: torch.Generator | None
    ) -> Tensor:
        """Return h [B, L, d] of rows item [B, L] (-1 pads), which look back by ``look``.

        While training (with a generator) matrix products take factors of ``self.factors``.
        """
        n = item.shape[1]
        x = functional.embedding(item.clamp(min=0), vectors) * self.width**0.5 + self.places[-n:]
        x = x * (item >= 0)[..., None]  # [B, L, d]
        if rng is not None and self.dropout:
            x = x * _kept(x, self.dropout, rng)
        factors = torch.float32 if rng is None else self.factors
        for block in self.blocks:
            x = block(x, look, factors, self.dropout, rng)
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
        self, x: Tensor, look: list[Block], factors: torch.dtype, dropout: float,
        rng: torch.Generator | None,
    ) -> Tensor:  # fmt: skip
        n = x.shape[1]
        by_gap = x.new_zeros(self.heads, CLASSES) if self.by_gap is None else self.by_gap
        if self.by_place is None:
            place = x.new_zeros(self.heads, n, n)
        else:
            at = torch.arange(n, device=x.device)
            place = _looked(self.by_place, (at[:, None] - at[None, :]).clamp(min=0))  # [H, L, L]
        qkv = _linear(self.qkv, self.norm_attention(x), factors)
        seen = attend(qkv, place, by_gap, look, self.heads)
        x = _added(x, _linear(self.out, seen, factors), dropout, rng)
        inner = _linear(self.up, self.norm_inner(x), factors).relu()
        return _added(x, _linear(self.down, inner, factors), dropout, rng)


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


def _linear(layer: nn.Linear, x: Tensor, factors: torch.dtype) -> Tensor:
    return functional.linear(x.to(factors), layer.weight.to(factors), layer.bias.to(factors))


def _added(x: Tensor, change: Tensor, share: float, rng: torch.Generator | None) -> Tensor:
    """Return x plus the change, some of which is dropped in training."""
    change = change.to(x.dtype)
    return x + change if rng is None or not share else x.addcmul(change, _kept(x, share, rng))


def _kept(x: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Return 0 or the factor that keeps the mean, by a byte of a stated generator each.

    torch's own dropout draws from a global generator, ``bernoulli_`` costs ten times as much.
    """
    dropped = max(1, round(share * 256))
    words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device)
    words.random_(-(2**63), None, generator=rng)
    kept = (words.view(torch.uint8)[: x.numel()] >= dropped).view(x.shape)
    return kept.to(x.dtype).mul_(256 / (256 - dropped))

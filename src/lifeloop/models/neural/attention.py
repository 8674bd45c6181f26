"""Attention with a bias per place and per gap, worked out block by block; its gradient by hand.

Letters used in shapes: B rows, L places, H heads, e width of a head, and of one block: R rows,
Q places that ask, K places they may look at.

    A = softmax(QKᵀ/√e + r_{i−j} + τ_{class}),   O = A V
    dS = A ∘ (dO Vᵀ − rowsum(dO ∘ O)),   dτ_c = Σ_{class = c} dS,   dr = Σ_rows dS

(dao2022, appendix B.4, for the gradient.) Blocks stay within the processor's cache, later places
are mostly never touched, and the classes of a block serve every layer. Factors of matrix products
may be bfloat16; biases, softmax and the sums over classes are float32.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lifeloop.contracts import Double, Int
from lifeloop.models.neural.gaps import CLASSES, HIDDEN, classes

ASKING = 100
"""Places that ask in one block: fewer waste less on hidden places, more multiply faster."""
CELLS = 400_000
"""Cells of one head in one block."""
MASKED = -1e9


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Some rows and the places of theirs that ask."""

    rows: slice
    asking: slice
    seen: int  # K
    index: Tensor  # [R·Q·K] class of each gap, HIDDEN where a place may not look


def blocks(item: Int, event_s: Double, asked_s: Double, *, by_time: bool) -> list[Block]:
    """Return the classes of rows [B, L] (item -1 pads), as the blocks in which they are used."""
    b, n = item.shape
    found = []
    for rows, asking in _cuts(b, n):
        seen = asking.stop
        if by_time:
            index = classes(asked_s[rows, asking], event_s[rows, :seen])
        else:
            index = np.zeros((rows.stop - rows.start, seen - asking.start, seen), dtype=np.int32)
        later = np.arange(asking.start, seen)[:, None] < np.arange(seen)[None, :]  # [Q, K]
        index[later[None] | (item[rows, None, :seen] < 0)] = HIDDEN
        found.append(Block(rows, asking, seen, torch.from_numpy(index.reshape(-1))))
    return found


def attend(qkv: Tensor, place: Tensor, by_gap: Tensor, look: list[Block], heads: int) -> Tensor:
    """Return O [B, L, d] of qkv [B, L, 3d], with place [H, L, L] and by_gap [H, classes]."""
    hidden = by_gap.new_full((heads, HIDDEN + 1 - CLASSES), MASKED)
    table = torch.cat([by_gap, hidden], 1)
    found: Tensor = _Attend.apply(qkv, place, table, look)  # type: ignore[no-untyped-call]
    return found


def _cuts(b: int, n: int) -> Iterator[tuple[slice, slice]]:
    asking = min(n, ASKING)
    step = max(1, CELLS // (asking * n))
    for lo in range(0, b, step):
        for first in range(0, n, asking):
            yield slice(lo, min(b, lo + step)), slice(first, min(n, first + asking))


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, place: Tensor, table: Tensor, look: list[Block]) -> Tensor:
        b, n, d = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
        heads = len(table)
        q, k, v = qkv.view(b, n, 3, heads, d // heads).permute(2, 0, 3, 1, 4).contiguous()
        q = q * (d // heads) ** -0.5  # [B, H, L, e]
        out = torch.empty_like(v)
        shares = []
        for at in look:
            key = k[at.rows, :, : at.seen]
            weight = (q[at.rows, :, at.asking] @ key.mT) + place[:, at.asking, : at.seen]
            size, _, asking, seen = weight.shape  # [R, H, Q, K]
            gap = table.index_select(1, at.index).view(heads, size, asking, seen)
            weight = weight.add_(gap.transpose(0, 1)).softmax(-1).to(v.dtype)
            out[at.rows, :, at.asking] = weight @ v[at.rows, :, : at.seen]
            shares.append(weight)
        ctx.save_for_backward(q, k, v, out, *shares)
        ctx.look, ctx.shapes = look, (place.shape, table.shape)
        return out.transpose(1, 2).reshape(b, n, d)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, out, *shares = ctx.saved_tensors
        b, heads, n, e = q.shape
        grad = grads[0].view(b, n, heads, e).transpose(1, 2).contiguous()
        level = (grad * out).sum(-1, keepdim=True)  # [B, H, L, 1]
        d_q, d_k, d_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        d_place = torch.zeros(ctx.shapes[0], dtype=torch.float32, device=q.device)
        d_table = torch.zeros(ctx.shapes[1], dtype=torch.float32, device=q.device)
        for at, share in zip(ctx.look, shares, strict=True):
            mine, seen = grad[at.rows, :, at.asking], at.seen
            d_v[at.rows, :, :seen] += share.mT @ mine
            d_share = mine @ v[at.rows, :, :seen].mT  # [R, H, Q, K]
            d_weight = d_share.sub_(level[at.rows, :, at.asking]).mul_(share)
            d_q[at.rows, :, at.asking] = d_weight @ k[at.rows, :, :seen]
            d_k[at.rows, :, :seen] += d_weight.mT @ q[at.rows, :, at.asking]
            exact = d_weight.transpose(0, 1).float().contiguous()  # [H, R, Q, K]
            d_place[:, at.asking, :seen] += exact.sum(1)
            for head in range(heads):
                d_table[head] += torch.bincount(
                    at.index, weights=exact[head].view(-1), minlength=HIDDEN + 1
                )
        d_q *= e**-0.5
        d_qkv = torch.stack([d_q, d_k, d_v]).permute(1, 3, 0, 2, 4).reshape(b, n, -1)
        return d_qkv, d_place, d_table, None

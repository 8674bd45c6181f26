"""Attention in blocks is plain attention, in value and gradient, and dropout keeps the mean."""

from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.extras
torch = pytest.importorskip("torch")


@pytest.mark.parametrize("by_time", [False, True])
def test_attention_in_blocks_is_plain_attention_with_its_gradients(
    monkeypatch: pytest.MonkeyPatch, by_time: bool
) -> None:
    from lifeloop.models.neural import attention
    from lifeloop.models.neural.gaps import CLASSES, classes

    monkeypatch.setattr(attention, "ASKING", 3)
    monkeypatch.setattr(attention, "CELLS", 50)
    b, n, heads, e = 5, 7, 2, 4
    draws = np.random.default_rng(0)
    item = draws.integers(0, 9, size=(b, n)).astype(np.int32)
    item[0, :3] = -1
    event_s = np.sort(draws.uniform(0, 1e6, size=(b, n)), axis=1)
    event_s[1, 2] = np.nan
    rng = torch.Generator().manual_seed(1)

    def some(*shape: int) -> Any:
        return torch.randn(*shape, generator=rng, dtype=torch.float64, requires_grad=True)

    given = some(b, n, 3 * heads * e), some(heads, n, n), some(heads, CLASSES)
    look = attention.blocks(item, event_s, event_s, by_time=by_time)
    assert len(look) == 3 * 3  # two rows, three places at a time
    found = attention.attend(*given, look, heads)

    gap = classes(event_s, event_s) if by_time else np.zeros((b, n, n), dtype=np.int64)
    hidden = np.triu(np.ones((n, n), np.bool_), 1)[None] | (item < 0)[:, None, :]
    q, k, v = given[0].view(b, n, 3, heads, e).permute(2, 0, 3, 1, 4)
    weight = (
        q @ k.mT / e**0.5 + given[1] + given[2][:, torch.from_numpy(gap).long()].transpose(0, 1)
    )
    weight = weight.masked_fill(torch.from_numpy(hidden)[:, None], -1e9)
    plain = (weight.softmax(-1) @ v).transpose(1, 2).reshape(b, n, heads * e)
    asks = torch.from_numpy(item >= 0)  # what padding sees is never used
    torch.testing.assert_close(found[asks], plain[asks])

    to = torch.randn(found.shape, generator=rng, dtype=torch.float64) * asks[..., None]
    grads = torch.autograd.grad(found, given, to)
    for one, other in zip(grads, torch.autograd.grad(plain, given, to), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-6)


def test_dropout_leaves_out_its_share_and_keeps_the_mean() -> None:
    from lifeloop.models.neural.network import _kept

    x = torch.zeros(1001, 99)
    for share in (0.001, 0.2, 0.5):
        factor = _kept(x, share, torch.Generator().manual_seed(2))
        assert abs(float((factor == 0).float().mean()) - share) < 0.006
        assert abs(float(factor.mean()) - 1.0) < 0.01
    again = _kept(x, 0.5, torch.Generator().manual_seed(2))
    assert torch.equal(again, factor)


def test_the_mean_of_the_weights_starts_at_once_and_then_looks_back_so_many_steps() -> None:
    from lifeloop.models.neural.network import Network
    from lifeloop.models.neural.training import HORIZON, Mean

    made = [
        Network(
            n=3, text=None, width=4, heads=1, layers=1, length=2,
            position=True, time=True, dropout=0.0,
        )
        for _ in range(2)
    ]  # fmt: skip
    mean, now = Mean(made[0]), made[1]
    with torch.no_grad():
        made[0].places.fill_(0.0)
        now.places.fill_(1.0)
    mean.follow(now)
    assert mean.network.places[0, 0].item() == pytest.approx(9 / 11)
    mean.steps = 100_000
    with torch.no_grad():
        made[0].places.fill_(0.0)
    mean.follow(now)
    assert mean.network.places[0, 0].item() == pytest.approx(1 / HORIZON)


def test_a_loss_of_rounded_factors_is_near_the_exact_one() -> None:
    from lifeloop.models.neural.losses import full

    rng = torch.Generator().manual_seed(1)
    h = torch.randn(300, 16, generator=rng, requires_grad=True)
    v = torch.randn(50, 16, generator=rng, requires_grad=True)
    target = torch.randint(50, (300,), generator=rng)
    exact, rounded = full(h, v, target), full(h, v, target, torch.bfloat16)
    assert rounded.item() == pytest.approx(exact.item(), rel=0.01)
    for one, other in zip(
        torch.autograd.grad(exact, [h, v]), torch.autograd.grad(rounded, [h, v]), strict=True
    ):
        assert float((one - other).norm() / one.norm()) < 0.02

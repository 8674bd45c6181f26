"""Training of the transformer: budgets, interruption, losses, new items, and the exported graph."""

from dataclasses import replace

import numpy as np
import pytest

from lifeloop.errors import InputError
from lifeloop.models.data import DAY_US, queries
from lifeloop.models.neural.gaps import CLASSES, classes, seconds
from lifeloop.models.neural.sasrec import FittedSasrec, Sasrec
from lifeloop.testing.checkerboard import Checkerboard, checkerboard, tiny

pytestmark = pytest.mark.extras
torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

SMALL = Sasrec(width=16, length=12, rounds=3)


class Kept:
    """Checkpoints in memory; the machine goes down at a stated save."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.states: dict[str, bytes] = {}
        self.saves = 0
        self.fails_at = fails_at

    def load(self, key: str) -> bytes | None:
        return self.states.get(key)

    def save(self, key: str, state: bytes) -> None:
        self.states[key], self.saves = state, self.saves + 1
        if self.saves == self.fails_at:
            raise KeyboardInterrupt

    def clear(self, key: str) -> None:
        del self.states[key]


def fitted(made: Sasrec, world: Checkerboard, seed: int = 3) -> FittedSasrec:
    return made.fit(world.data, rng=np.random.default_rng(seed))


def test_an_interrupted_training_ends_where_an_uninterrupted_one_does() -> None:
    world = checkerboard()
    whole = fitted(SMALL, world)
    kept = Kept(fails_at=2)
    with pytest.raises(KeyboardInterrupt):
        fitted(replace(SMALL, checkpoints=kept), world)
    assert len(kept.states) == 1
    kept.fails_at = None
    again = fitted(replace(SMALL, checkpoints=kept), world)
    assert kept.saves == 3  # one round was left to do
    assert not kept.states
    np.testing.assert_array_equal(again.score(world.queries), whole.score(world.queries))


def test_a_checkpoint_of_other_data_is_not_used() -> None:
    world, kept = checkerboard(), Kept(fails_at=2)
    with pytest.raises(KeyboardInterrupt):
        fitted(replace(SMALL, checkpoints=kept), world)
    kept.fails_at = None
    other = checkerboard(n_users=50)
    found = fitted(replace(SMALL, checkpoints=kept), other)
    assert kept.saves == 5  # all three rounds again
    np.testing.assert_array_equal(
        found.score(other.queries), fitted(SMALL, other).score(other.queries)
    )


def test_the_result_is_the_same_whatever_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    from lifeloop.models.neural import training

    monkeypatch.setattr(training, "LEAST_PLACES", 1)
    world = checkerboard()
    one, two = (fitted(replace(SMALL, rounds=1, threads=n), world) for n in (1, 2))
    np.testing.assert_array_equal(one.vectors, two.vectors)


def test_training_stops_after_the_round_in_which_the_time_is_used_up() -> None:
    moments = iter(np.arange(0.0, 1000.0, 10.0).tolist())
    made = replace(SMALL, rounds=30, patience=30, seconds=25.0, clock=lambda: next(moments))
    assert len(fitted(made, checkerboard()).values) == 2


def test_memory_bounds_the_rows_of_a_step() -> None:
    assert Sasrec(memory_mb=2_000)._batch(3_706) == 32
    small = Sasrec(memory_mb=100, length=200)._batch(3_706)
    assert 1 <= small < 16
    assert Sasrec(memory_mb=1, length=200)._batch(3_706) == 1


@pytest.mark.parametrize("bias", ["none", "position", "time", "both"])
@pytest.mark.parametrize("at_request", [False, True])
def test_the_graph_says_what_the_network_says(bias: str, at_request: bool) -> None:
    from lifeloop.models.neural.network import Network
    from lifeloop.models.neural.sequences import Rows
    from lifeloop.models.neural.training import _inputs

    world = checkerboard(n_users=20)
    made = replace(SMALL, bias=bias, at_request=at_request, rounds=1, layers=2)  # type: ignore[arg-type]
    model = fitted(made, world)
    network = Network(
        n=24, text=None, width=16, heads=2, layers=2, length=12, dropout=0.0,
        position=bias in ("position", "both"), time=bias in ("time", "both"),
    )  # fmt: skip
    import onnx
    from onnx import numpy_helper

    held = {
        t.name: numpy_helper.to_array(t)
        for t in onnx.load_from_string(model.network.tobytes()).graph.initializer
    }
    state = network.state_dict()
    for name in state:
        if name == "items.weight":
            state[name] = torch.from_numpy(model.vectors)
        elif name == "places":
            state[name] = torch.from_numpy(model.places)
        elif "by_" in name:
            tables = model.by_gap if "gap" in name else model.by_place
            state[name] = torch.from_numpy(tables[int(name.split(".")[1])])
        elif "qkv" in name:
            end = "w" if name.endswith("weight") else "b"
            parts = [held[f"{name.split('.qkv')[0]}.{q}.{end}"] for q in "qkv"]
            joined = np.concatenate([p.T if end == "w" else p for p in parts])
            state[name] = torch.from_numpy(joined)
        else:
            layer, _, end = name.rpartition(".")
            own = held[f"{layer}.{end[0]}"]
            state[name] = torch.from_numpy((own.T if own.ndim == 2 else own).copy())
    network.load_state_dict(state)
    for b in range(3):
        lo, hi = world.queries.indptr[b], world.queries.indptr[b + 1]
        item = world.queries.item_ix[lo:hi][None]
        event_s = -world.queries.age_days[lo:hi].astype(np.float64)[None] * 86_400
        asked_s = np.append(event_s[:, 1:], [[0.0]], axis=1) if at_request else event_s
        with torch.no_grad():
            said = network(
                network.vectors(), *_inputs(network, Rows(item, event_s, asked_s, item)), None
            )
            scores = (said[0, -1] @ network.vectors().T).numpy()
        # an average item gets 0
        expected = scores - scores.mean()
        np.testing.assert_allclose(model.score(world.queries)[b], expected, rtol=1e-4, atol=1e-5)


def test_the_time_of_the_request_matters_only_where_it_is_asked_for() -> None:
    world = checkerboard()
    rows, ages = [[0, 2, 4]] * 2, [[3.0, 2.0, 1.0], [33.0, 32.0, 31.0]]
    asked = queries(rows, age_days=ages, as_of_us=world.data.as_of_us)
    between = fitted(replace(SMALL, bias="time"), world).score(asked)
    np.testing.assert_allclose(between[0], between[1], rtol=1e-4, atol=1e-5)
    at_request = fitted(replace(SMALL, bias="time", at_request=True), world).score(asked)
    assert np.abs(at_request[0] - at_request[1]).max() > 1e-4


def test_an_item_nobody_used_is_scored_by_its_text_and_one_without_text_is_not() -> None:
    world = checkerboard()
    content = np.concatenate([world.data.content, world.data.content[:2]])
    data = replace(
        world.data,
        item_ids=(*world.data.item_ids, "new even", "new odd", "new and silent"),
        content=content,
        content_ix=np.append(np.arange(26, dtype=np.int32), np.int32(-1)),
    )
    found = SMALL.fit(data, rng=np.random.default_rng(3))
    asked = queries([[0, 2, 4, 6], [1, 3, 5, 7]], as_of_us=data.as_of_us)
    scores = found.score(asked)
    assert scores[0, 24] > scores[0, 25]
    assert scores[1, 25] > scores[1, 24]
    assert np.isneginf(scores[:, 26]).all()


def test_sampled_negatives_find_the_colour_as_the_full_softmax_does() -> None:
    world = checkerboard()
    found = fitted(replace(SMALL, loss="sampled", negatives=16, rounds=8), world)
    listed = found.retrieve(world.queries, 1, allowed=world.unused()).item_ix[:, 0]
    assert (listed == world.missing).mean() > 0.9


def test_the_full_softmax_is_torchs_cross_entropy_with_its_gradients() -> None:
    from lifeloop.models.neural.losses import full

    rng = torch.Generator().manual_seed(1)
    h = torch.randn(1100, 8, generator=rng, dtype=torch.float64, requires_grad=True)
    v = torch.randn(30, 8, generator=rng, dtype=torch.float64, requires_grad=True)
    target = torch.randint(30, (1100,), generator=rng)
    own = full(h, v, target)
    grads = torch.autograd.grad(own * 2.0, [h, v])
    other = torch.nn.functional.cross_entropy(h @ v.T, target)
    expected = torch.autograd.grad(other * 2.0, [h, v])
    assert own.item() == pytest.approx(other.item(), rel=1e-12)
    for one, two in zip(grads, expected, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    ("negatives", "n", "t", "beta"),
    [(1, 11, 0.0, 1.0), (1, 11, 1.0, 0.1), (256, 3417, 0.75, 0.3062060), (10, 11, 0.75, 1.0)],
)
def test_beta_of_gbce_is_that_of_the_paper(negatives: int, n: int, t: float, beta: float) -> None:
    """t = 0 is plain BCE (β = 1), t = 1 the sampling rate; between them by hand."""
    from lifeloop.models.neural.losses import power

    assert power(negatives, n, t) == pytest.approx(beta, rel=1e-6)


def test_gaps_fall_into_log_spaced_classes_and_unknown_times_into_their_own() -> None:
    event = seconds(np.array([0, 15_000_000, 60_000_000, np.iinfo(np.int64).min]))
    event[3] = np.nan
    found = classes(event, event)
    assert found[1, 0] == 0
    assert found[2, 0] == int(np.log(4.0) / 0.3)
    assert (found[3] == CLASSES - 1).all()
    assert found[0, 2] == 0  # what comes later is hidden elsewhere
    assert classes(np.array([1e12]), np.array([0.0]))[0, 0] == CLASSES - 2


def test_ten_thousand_events_at_one_instant_and_one_item_only() -> None:
    data = tiny([0] * 10_000, [0] * 10_000, n_items=1)
    data = replace(data, t_us=np.full(10_000, data.t_us[0]))
    found = replace(SMALL, rounds=1).fit(data, rng=np.random.default_rng(0))
    assert np.isfinite(found.score(queries([[0] * 50_000], as_of_us=data.as_of_us))).all()


def test_a_person_with_fifty_thousand_events_is_learned_from_and_served() -> None:
    rng = np.random.default_rng(0)
    user = np.concatenate([np.zeros(50_000, np.int32), np.arange(1, 31, dtype=np.int32)])
    item = rng.integers(0, 40, size=len(user)).astype(np.int32)
    data = tiny(user.tolist(), item.tolist(), n_items=40)
    found = replace(SMALL, rounds=1, length=50).fit(data, rng=rng)
    listed = found.retrieve(queries([item[:50_000]], as_of_us=data.as_of_us + DAY_US), 5)
    assert (listed.item_ix >= 0).all()


def test_settings_that_make_no_network_are_told_together() -> None:
    with pytest.raises(InputError, match=r"no multiple of heads 3.*dropout"):
        fitted(Sasrec(width=16, heads=3, dropout=1.0), checkerboard())

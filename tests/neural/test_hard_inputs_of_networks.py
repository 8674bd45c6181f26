"""What breaks networks: one item, one instant, fifty thousand events, no weight, no memory."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from lifeloop.contracts import FittedRetriever, Retriever, TrainData
from lifeloop.errors import BundleError, MissingExtra
from lifeloop.models.data import queries
from lifeloop.models.neural.ncf import Ncf
from lifeloop.models.neural.rating_network import RatingNetwork
from lifeloop.models.neural.sasrec import Sasrec
from lifeloop.models.neural.two_tower import TwoTower
from lifeloop.models.state import from_parts, to_parts
from lifeloop.testing.checkerboard import checkerboard, tiny

pytestmark = pytest.mark.extras
pytest.importorskip("torch")
pytest.importorskip("onnx")

FEW: list[Retriever] = [
    Sasrec(width=8, length=20, rounds=1, layers=1),
    Ncf(width=4, hidden=8, people=16, each=4, negatives=2, steps=20),
    TwoTower(width=4, hidden=8, people=16, steps=20),
    RatingNetwork(first=8, second=4, people=16, each=4, steps=20),
]
every = pytest.mark.parametrize("made", FEW, ids=lambda made: made.name)


def fit(made: Retriever, data: TrainData) -> FittedRetriever:
    return made.fit(data, rng=np.random.default_rng(0))


def texts(n: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, 6)).astype(np.float32)


def finite(fitted: FittedRetriever, rows: list[np.ndarray]) -> None:
    scores = fitted.score(queries(rows))
    assert not np.isnan(scores).any()
    assert not np.isposinf(scores).any()
    assert (scores > -np.inf).any()


@every
def test_a_catalogue_of_one_item(made: Retriever) -> None:
    data = tiny([0, 0, 1, 1, 2], [0] * 5, n_items=1, content=texts(1))
    finite(fit(made, data), [np.array([0])])


@every
def test_all_events_at_one_instant(made: Retriever) -> None:
    data = checkerboard(n_users=20).data
    data = replace(data, t_us=np.full(len(data.t_us), data.t_us[0]))
    finite(fit(made, data), [np.arange(5)])


@every
def test_a_person_with_fifty_thousand_events(made: Retriever) -> None:
    rng = np.random.default_rng(0)
    user = np.concatenate([np.zeros(50_000, np.int32), np.repeat(np.arange(1, 20), 5)])
    item = rng.integers(0, 30, size=len(user))
    data = tiny(user.tolist(), item.tolist(), n_items=30, content=texts(30))
    finite(fit(made, data), [item[:50_000]])


@every
def test_an_item_that_everyone_used_and_people_who_used_nothing_else(made: Retriever) -> None:
    user = [u for u in range(30) for _ in range(2)]
    item = [i for u in range(30) for i in (0, 1 + u % 5 if u % 2 else 0)]
    data = tiny(user, item, n_items=7, content=texts(7))
    fitted = fit(made, data)
    finite(fitted, [np.array([0]), np.array([0, 3])])


@every
def test_weights_of_zero_in_a_request_are_no_history(made: Retriever) -> None:
    fitted = fit(made, checkerboard(n_users=20).data)
    asked = queries([[0, 2, 4]], weight=[[0.0, 0.0, 0.0]])
    assert np.isneginf(fitted.score(asked)).all()
    (reason,) = fitted.retrieve(asked, 3).reason
    assert reason == "no_history"


@every
def test_a_bundle_of_another_version_is_refused_and_says_what_to_do(made: Retriever) -> None:
    parts = to_parts(fit(made, checkerboard(n_users=20).data))
    lacking = {key: value for key, value in parts["model"].items() if key != "scored"}
    with pytest.raises(BundleError, match=r"'scored'.*train again"):
        from_parts({"model": lacking})
    later = {**parts["model"], "kind": np.frombuffer(b"later", np.uint8)}
    with pytest.raises(BundleError, match=r"later.*another version"):
        from_parts({"model": later})


def test_training_a_large_world_stays_within_two_gigabytes() -> None:
    """Two hundred people with two hundred events each over five thousand items."""
    code = """
import re, numpy as np
from lifeloop.models.neural.sasrec import Sasrec
from lifeloop.testing.checkerboard import tiny
rng = np.random.default_rng(0)
data = tiny(np.repeat(np.arange(200), 200).tolist(), rng.integers(0, 5000, 40_000).tolist(),
            n_items=5000)
Sasrec(rounds=1, layers=1, width=32).fit(data, rng=rng)
# ru_maxrss begins at what the parent held when it forked
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) // 1024)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(out.stdout.split()[-1]) < 2_000


def test_without_torch_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for module in ("descent", "network", "training", "threads", "losses"):
        monkeypatch.delitem(sys.modules, f"lifeloop.models.neural.{module}", raising=False)
    for made in FEW:
        with pytest.raises(MissingExtra, match=r"lifeloop\[train\]"):
            fit(made, checkerboard(n_users=20).data)


def test_a_bundle_with_networks_is_opened_and_served_without_torch() -> None:
    code = """
import sys
sys.modules["torch"] = None
sys.modules["onnx"] = None
import numpy as np
from lifeloop.models.data import queries
from lifeloop.models.state import from_parts
held = np.load(sys.argv[1])
fitted = from_parts({"model": {key: held[key] for key in held.files}})
print(np.isfinite(fitted.score(queries([[0, 2, 4]]))).sum())
"""
    import tempfile

    for made in FEW:
        parts = to_parts(fit(made, checkerboard(n_users=20).data))
        with tempfile.NamedTemporaryFile(suffix=".npz") as file:
            np.savez(file, **parts["model"], allow_pickle=False)
            file.flush()
            out = subprocess.run(
                [sys.executable, "-c", code, file.name], capture_output=True, text=True, check=False
            )
        assert out.returncode == 0, out.stderr
        assert int(out.stdout) == 24

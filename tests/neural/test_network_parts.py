"""A project that names networks: they are parts of its blend, and its bundle serves them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lifeloop.config import Models
from lifeloop.errors import StoreFull
from lifeloop.models import build
from lifeloop.models.blend import Blend
from lifeloop.models.neural.sasrec import Sasrec
from lifeloop.models.rank.ranked import Ranked
from lifeloop.models.state import from_parts, to_parts
from lifeloop.store.checkpoints import FileCheckpoints
from lifeloop.testing.checkerboard import checkerboard


def test_networks_are_off_unless_named_and_are_parts_where_they_are(tmp_path: Path) -> None:
    (plain,) = build(["lifeloop"], Models())
    assert isinstance(plain, Blend)
    assert "sasrec" not in [part.name for part in plain.parts]
    kept = FileCheckpoints(tmp_path)
    (ranked,) = build(["ranked"], Models(networks=("sasrec", "ncf")), checkpoints=kept)
    assert isinstance(ranked, Ranked)
    assert [part.name for part in ranked.blend.parts][-2:] == ["sasrec", "ncf"]
    sasrec = ranked.blend.parts[-2]
    assert isinstance(sasrec, Sasrec)
    assert sasrec.checkpoints is kept


def test_a_network_that_does_not_exist_or_stands_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="two_tower"):
        Models(networks=("gru",))
    with pytest.raises(ValueError, match="twice"):
        Models(networks=("ncf", "ncf"))


def test_a_checkpoint_is_replaced_whole_and_forgotten(tmp_path: Path) -> None:
    kept = FileCheckpoints(tmp_path / "training")
    assert kept.load("a" * 64) is None
    kept.save("a" * 64, b"one")
    kept.save("a" * 64, b"two")
    kept.save("b" * 64, b"other")
    assert kept.load("a" * 64) == b"two"
    kept.clear("a" * 64)
    kept.clear("a" * 64)
    assert kept.load("a" * 64) is None
    assert kept.load("b" * 64) == b"other"
    assert len(list((tmp_path / "training").iterdir())) == 1


def test_a_full_disk_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = FileCheckpoints(tmp_path)
    kept.save("a", b"one")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreFull, match="free space"):
        kept.save("a", b"two")
    monkeypatch.undo()
    assert kept.load("a") == b"one"


@pytest.mark.extras
def test_a_blend_with_a_transformer_is_learned_kept_and_served() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    world = checkerboard()
    (blend,) = build(["lifeloop"], Models(), horizon="last")
    assert isinstance(blend, Blend)
    parts = (*blend.parts[:2], Sasrec(width=16, length=12, rounds=2))
    fitted = replace(blend, parts=parts).fit(world.data, rng=np.random.default_rng(0))
    assert any("sasrec" in note for note in fitted.notes)
    again = from_parts(to_parts(fitted))
    np.testing.assert_array_equal(again.score(world.queries), fitted.score(world.queries))
    found = again.retrieve(world.queries, 1, allowed=world.unused())
    assert (found.item_ix[:, 0] == world.missing).mean() > 0.9

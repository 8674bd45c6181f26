"""A person without any purchase is known by what they wrote and what they stated."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lifeloop import Lifeloop
from lifeloop.contracts import History
from lifeloop.encoders import NgramHash
from lifeloop.reading import TextReader
from lifeloop.text_settings import TextEncoding
from lifeloop.written import preferences, said
from test_reading import DAY, T0, shop

READER = TextReader(NgramHash(), np.zeros(512, np.float32))


def history(*texts: tuple[str | None, int]) -> History:
    n = len(texts)
    nothing = np.full(n, np.nan)
    return History(
        "ada", True, ("search",) * n, (None,) * n, np.array([t for _, t in texts], np.int64),
        nothing, nothing, nothing, (None,) * n, tuple(t for t, _ in texts), np.zeros(n, np.bool_),
        np.arange(n),
    )  # fmt: skip


def test_newer_words_weigh_more_by_their_half_life() -> None:
    settings = TextEncoding(written_half_life_days=10)
    told = said(
        READER, history(("guitar", T0), ("tea", T0 + 20 * DAY)), None,
        t_us=T0 + 20 * DAY, settings=settings,
    )  # fmt: skip
    assert told is not None
    by_hand = READER.read("tea") + 0.25 * READER.read("guitar")
    np.testing.assert_allclose(told.vector, by_hand / np.linalg.norm(by_hand), atol=1e-6)
    assert told.text == "tea"


def test_only_the_newest_texts_are_read_and_none_where_that_is_switched_off() -> None:
    past = history(("guitar", T0), ("tea", T0 + DAY), (None, T0 + DAY), ("  ", T0 + DAY))
    one = said(READER, past, None, t_us=T0 + DAY, settings=TextEncoding(written=1))
    assert one is not None
    np.testing.assert_allclose(one.vector, READER.read("tea"), atol=1e-6)
    assert said(READER, past, None, t_us=T0, settings=TextEncoding(written=0)) is None
    assert said(READER, history(), {"interests": []}, t_us=T0, settings=TextEncoding()) is None


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"interests": "tea"}, "tea"),
        ({"interests": ["tea", "tea", " "], "preferences": ("jazz",)}, "tea, jazz"),
        ({"interests": 5, "age": "40"}, ""),
        ({"interests": [1, None, "tea"]}, "tea"),
        ({}, ""),
    ],
)
def test_preferences_are_text_or_lists_of_it(attributes: dict[str, object], text: str) -> None:
    assert preferences(attributes, TextEncoding().preferences) == text


def topics(loop: Lifeloop, user: str) -> list[str]:
    """Return the topics of the first two items (four have the topic, and popularity speaks too)."""
    return [r.item_id.split("-")[0] for r in loop.recommend(user, k=2)]


def test_one_search_gives_a_cold_user_items_of_its_kind_at_once(tmp_path: Path) -> None:
    with shop(tmp_path, "models/small.vec") as loop:
        loop.train()
        for user, query in (("new-1", "guitar strings"), ("new-2", "leather purse")):
            loop.record(
                {"user_id": user, "type": "search", "text": query,
                 "occurred_at": (T0 + 80 * DAY) // 1_000_000}
            )  # fmt: skip
        assert topics(loop, "new-1") == ["guitar"] * 2
        assert topics(loop, "new-2") == ["wallet"] * 2


def test_preferences_stated_at_sign_up_count_at_once(tmp_path: Path) -> None:
    with shop(tmp_path, "models/small.vec") as loop:
        loop.train()
        pl.DataFrame({"user_id": ["carl", "dora"], "interests": ["guitar", "green tea"]}).write_csv(
            tmp_path / "users.csv"
        )
        loop.import_users(tmp_path / "users.csv")
        assert topics(loop, "carl") == ["guitar"] * 2
        assert topics(loop, "dora") == ["tea"] * 2
        # what is done says more than what was once stated
        for n in range(3):
            loop.record(
                {"user_id": "carl", "type": "purchase", "item_id": f"wallet-{n}", "value": 1.0,
                 "order_id": f"c{n}", "occurred_at": (T0 + 80 * DAY) // 1_000_000}
            )  # fmt: skip
        assert "wallet" in topics(loop, "carl")

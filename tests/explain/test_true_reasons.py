"""Reasons are true of the score: they add up, and name only what helped."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifeloop.explain import Facts, Happened, Language, Past, explain
from lifeloop.explain.catalogue import TEMPLATES, VERBS

BOUGHT = [
    Happened("a", "bought", "Oat milk"),
    Happened("b", "bought", "Muesli"),
    Happened("c", "viewed", "Lamp"),
]


def row(*amounts: float) -> np.ndarray:
    return np.array(amounts, dtype=np.float64)


def test_the_strongest_events_are_named_with_their_amounts() -> None:
    told = explain({"ease": row(0.3, 0.5, 0.1, 0.0), "popularity": row(0, 0, 0, 0.2)}, BOUGHT)
    assert told.evidence.text == "because you bought ‘Muesli’ and ‘Oat milk’"
    assert told.evidence.items == (("b", 0.5), ("a", 0.3))
    assert told.rest == pytest.approx(0.3)
    assert told.kind == "history"


def test_an_event_adding_less_than_half_of_the_first_is_not_named() -> None:
    told = explain({"ease": row(0.2, 0.5, 0.0, 0.0)}, BOUGHT)
    assert told.evidence.text == "because you bought ‘Muesli’"


def test_events_of_another_verb_are_not_named_in_the_same_breath() -> None:
    told = explain({"ease": row(0.0, 0.5, 0.45, 0.0)}, BOUGHT)
    assert told.evidence.text == "because you bought ‘Muesli’"


def test_what_was_used_before_is_recommended_again_and_not_because_of_itself() -> None:
    mostly_itself = {"ease": row(0.3, 0.5, 0.1, 0.0)}
    told = explain(mostly_itself, BOUGHT, own="b")
    assert told.evidence.text == "you bought ‘Muesli’ before"
    assert told.evidence.items == (("b", 0.5),)
    assert explain(mostly_itself, BOUGHT, own="b", language="zh").evidence.text == (
        "您曾购买过“Muesli”"
    )
    assert explain(mostly_itself, BOUGHT, own="a").evidence.text == "because you bought ‘Muesli’"


def test_content_says_similar() -> None:
    told = explain({"content": row(0, 0, 0.9, 0), "ease": row(0.2, 0, 0, 0)}, BOUGHT)
    assert told.evidence.text == "similar to what you viewed: ‘Lamp’"


def test_an_event_that_took_away_is_never_named() -> None:
    told = explain({"ease": row(-0.9, -0.1, -0.5, 0.0), "popularity": row(0, 0, 0, 0.1)}, BOUGHT)
    assert told.kind == "popular"
    assert told.evidence.items == ()
    nothing = explain({"ease": row(-0.9, -0.1, -0.5, 0.0)}, BOUGHT)
    assert nothing.kind == "none"
    assert nothing.evidence.text == TEMPLATES["en"]["none"]


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (
            Facts(people_recent=1234, verb="bought"),
            "popular this month: bought by 1,234 people in the last 28 days",
        ),
        (
            Facts(people_recent=5, days=7.0, verb="played"),
            "popular: played by 5 people in the last 7 days",
        ),
        (Facts(people_recent=1, verb="bought"), "bought by one person in the last 28 days"),
        (Facts(people_recent=0, people=9, verb="bought"), "popular: bought by 9 people so far"),
        (Facts(people=1, verb="bought"), "bought by one person so far"),
        (Facts(), "popular with other people"),
    ],
)
def test_popularity_gives_the_count_it_has(facts: Facts, text: str) -> None:
    told = explain({"recency_popularity": row(0, 0, 0, 1.0)}, BOUGHT, facts=facts)
    assert told.evidence.text == text


def test_a_search_is_quoted() -> None:
    told = explain({"content": row(0.1, 0, 0, 0.9)}, BOUGHT, facts=Facts(query="milk"))
    assert told.evidence.text == "matches your search ‘milk’"
    assert told.kind == "query"


def test_words_that_counted_by_who_uses_what_they_name_are_not_called_a_match() -> None:
    amounts = {"content": row(0, 0, 0, 0.2), "text_map": row(0, 0, 0, 0.9)}
    told = explain(amounts, BOUGHT, facts=Facts(query="milk"))
    assert told.kind == "query"
    assert told.evidence.text == "used by people who use what ‘milk’ names"
    amounts["content"] = row(0, 0, 0, 0.9)  # as much by likeness: that is said first
    told = explain(amounts, BOUGHT, facts=Facts(query="milk"))
    assert told.evidence.text == "matches your search ‘milk’"


def test_chinese_has_its_own_words_and_verbs() -> None:
    told = explain({"ease": row(0.4, 0.5, 0, 0)}, BOUGHT, language="zh")
    assert told.evidence.text == "因为您购买了“Muesli”和“Oat milk”"
    facts = Facts(people_recent=12, verb="bought")
    told = explain({"popularity": row(0, 0, 0, 1.0)}, BOUGHT, facts=facts, language="zh")
    assert told.evidence.text == "本月热门：最近28天有12人购买"
    told = explain({"content": row(0, 0, 0, 1.0)}, BOUGHT, facts=Facts(query="牛奶"), language="zh")
    assert told.evidence.text == "符合您的搜索“牛奶”"


def test_shares_are_of_the_score_and_left_out_where_they_would_mislead() -> None:
    half = explain({"ease": row(0.5, 0, 0, 0.5)}, BOUGHT, shares=True)
    assert half.evidence.text == "because you bought ‘Oat milk’ (50% of the score)"
    more_than_all = explain({"ease": row(0.9, 0, -0.5, 0)}, BOUGHT, shares=True)
    assert more_than_all.evidence.text == "because you bought ‘Oat milk’"


def test_an_item_without_a_title_is_named_by_its_id_and_repeats_are_one() -> None:
    events = [Happened("用户;1", "bought"), Happened("用户;1", "bought")]
    told = explain({"ease": row(0.1, 0.4, 0.0)}, events)
    assert told.evidence.text == "because you bought ‘用户;1’"
    assert [item_id for item_id, _ in told.evidence.items] == ["用户;1"]
    assert told.evidence.items[0][1] == pytest.approx(0.5)


def test_no_events_and_no_parts_still_give_an_answer() -> None:
    assert explain({}, []).kind == "none"
    assert explain({"popularity": row(1.0)}, []).kind == "popular"


def test_braces_in_a_title_are_text() -> None:
    told = explain({"ease": row(1.0, 0.0)}, [Happened("x", "bought", "{verb} {0}")])
    assert told.evidence.text == "because you bought ‘{verb} {0}’"


def test_languages_have_the_same_sentences_and_placeholders() -> None:
    for language, words in TEMPLATES.items():
        assert words.keys() == TEMPLATES["en"].keys()
        for key, text in words.items():
            fields = {f for f in ("verb", "items", "n", "days", "query", "share", "name")
                      if f"{{{f}}}" in text}  # fmt: skip
            expected = {f for f in ("verb", "items", "n", "days", "query", "share", "name")
                        if f"{{{f}}}" in TEMPLATES["en"][key]}  # fmt: skip
            assert fields == expected, (language, key)


def test_every_verb_of_the_built_in_scenarios_with_items_has_a_chinese_word() -> None:
    from lifeloop.config import Scenario, scenario_names

    for name in scenario_names():
        for spec in Scenario.load(name).events.values():
            if spec.weight > 0:
                assert spec.verb in VERBS["zh"], (name, spec.verb)


AMOUNT = st.floats(-5, 5, allow_nan=False)


@given(data=st.data(), n=st.integers(0, 6), language=st.sampled_from(["en", "zh"]))
def test_named_amounts_and_the_rest_are_the_score(
    data: st.DataObject, n: int, language: Language
) -> None:
    parts = data.draw(
        st.lists(
            st.sampled_from(["ease", "content", "popularity", "itemknn"]), unique=True, min_size=1
        )
    )
    amounts = {
        part: np.array(data.draw(st.lists(AMOUNT, min_size=n + 1, max_size=n + 1)))
        for part in parts
    }
    events = [
        Happened(
            data.draw(st.sampled_from("abc")), data.draw(st.sampled_from(["bought", "viewed"]))
        )
        for _ in range(n)
    ]
    told = explain(amounts, events, language=language)
    score = sum(float(one.sum()) for one in amounts.values())
    assert sum(a for _, a in told.evidence.items) + told.rest == pytest.approx(score, abs=1e-9)
    per_item: dict[str, float] = {}
    for i, event in enumerate(events):
        added = sum(float(one[i]) for one in amounts.values())
        per_item[event.item_id] = per_item.get(event.item_id, 0.0) + added
    for item_id, amount in told.evidence.items:
        assert amount > 0
        assert amount == pytest.approx(per_item[item_id], abs=1e-9)
    if told.evidence.items:
        assert told.evidence.items[0][1] == pytest.approx(max(per_item.values()), abs=1e-9)
    assert told.evidence.text
    assert "{" not in told.evidence.text


def test_columns_say_what_events_say() -> None:
    columns = [event.item_id for event in BOUGHT], [event.verb for event in BOUGHT]
    told = Past.told(*columns, titles={"a": "Oat milk", "c": "Lamp"})
    amounts = {"ease": row(0.3, 0.5, 0.1, 0.0)}
    assert explain(amounts, told).evidence.text == "because you bought ‘b’ and ‘Oat milk’"
    whole = replace(told, titles=Past.of(BOUGHT).titles)
    assert explain(amounts, whole) == explain(amounts, BOUGHT)

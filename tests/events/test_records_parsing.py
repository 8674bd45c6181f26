import importlib
import math
import pkgutil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lifeloop.events
from lifeloop.errors import InputError
from lifeloop.events import Event, looks_transposed, parse_event, parse_item, parse_user


def test_a_whole_event_is_read() -> None:
    event = parse_event(
        {
            "userId": 7,
            "event": "purchase",
            "timestamp": "2022-06-24 21:20:11",
            "product_id": "a/b",
            "price": "2.5",
            "quantity": "2",
            "basket_id": 99,
            "is_bot": "no",
            "position": 3.0,
            "context": {"device": "phone"},
            "colour": "red",
        },
        zone="Asia/Shanghai",
    )
    assert event == Event(
        type="purchase",
        user_id="7",
        occurred_us=1_656_076_811_000_000,
        item_id="a/b",
        value=5.0,
        quantity=2.0,
        order_id="99",
        is_bot=False,
        position=3,
        context={"unit_price": 2.5, "colour": "red", "device": "phone"},
    )


def test_all_problems_of_a_row_are_told_at_once() -> None:
    raw = {
        "user_id": "null",
        "value": "x",
        "rating": math.inf,
        "time": "2022-02-30",
        "is_bot": "perhaps",
        "position": 1.5,
        "context": "no json",
        "item_id": "undefined",
    }
    with pytest.raises(InputError) as caught:
        parse_event(raw)
    problems = vars(caught.value)["problems"]
    assert len(problems) == 9
    assert vars(caught.value)["reason"] == "placeholder_id"
    for name in (
        "user_id",
        "type",
        "value",
        "rating",
        "occurred_at",
        "is_bot",
        "position",
        "context",
        "item_id",
    ):
        assert any(text.startswith(f"{name}:") for text in problems), name
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ({"type": "view"}, "missing_user_id"),
        ({"type": "view", "user_id": "  "}, "missing_user_id"),
        ({"user_id": "u"}, "missing_type"),
        ({"user_id": "u", "type": " "}, "missing_type"),
        ({"user_id": "anon:1", "type": "view"}, "reserved_prefix"),
        ({"anonymous_id": "undefined", "type": "view"}, "placeholder_id"),
        ({"user_id": "x" * 1025, "type": "view"}, "id_too_long"),
        ({"user_id": "u\0", "type": "view"}, "nul_character"),
        ({"user_id": "u", "type": "view", "value": True}, "bad_number"),
        ({"user_id": "u", "type": "view", "value": float("nan")}, "bad_number"),
        ({"user_id": "u", "type": "view", "value": 10**400}, "bad_number"),
        ({"user_id": "u", "type": "view", "extra": float("inf")}, "bad_number"),
        ({"user_id": "u", "type": "view", "extra": ["a\0"]}, "nul_character"),
        ({"user_id": "u", "type": "view", "occurred_us": -1}, "bad_time"),
    ],
)
def test_bad_events_are_refused_with_a_reason(raw: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_event(raw)
    assert vars(caught.value)["reason"] == reason


def test_refunds_may_be_negative_and_numbers_may_be_text() -> None:
    event = parse_event({"user_id": "u", "type": "refund", "quantity": "-2", "value": " -3.5 "})
    assert (event.quantity, event.value) == (-2.0, -3.5)


def test_what_is_no_mapping_is_refused() -> None:
    with pytest.raises(InputError, match="mapping"):
        parse_event(["user_id"])  # type: ignore[arg-type]


def test_an_event_object_is_checked_and_otherwise_unchanged() -> None:
    event = Event(
        type="view",
        user_id="u",
        occurred_us=5,
        sent_us=6,
        source="app",
        event_id="e",
        context={"a": 1},
    )
    assert parse_event(event) == event
    with pytest.raises(InputError):
        parse_event(Event(type="view", user_id="null"))


@given(st.integers(0, 4_133_980_799_999_999))
def test_microseconds_by_name_are_taken_as_they_are(us: int) -> None:
    assert parse_event({"user_id": "u", "type": "view", "occurred_us": us}).occurred_us == us


def test_items_and_users_keep_what_is_not_theirs() -> None:
    item = parse_item(
        {"id": 5, "name": "Tea", "genres": "hot|green", "price": "2", "age_rating": 6}
    )
    assert (item.item_id, item.title, item.categories, item.price) == (
        "5",
        "Tea",
        ("hot", "green"),
        2.0,
    )
    assert item.attributes == {"age_rating": 6}
    user = parse_user({"user_id": "u", "consent_ads": "no", "signup_date": "2020-01-01", "age": 30})
    assert user.consent == {"ads": False}
    assert user.created_us == 1_577_836_800_000_000
    assert user.attributes == {"age": 30}


@pytest.mark.parametrize(
    "raw", [{}, {"item_id": ""}, {"item_id": "null"}, {"item_id": 1, "price": "x"}]
)
def test_bad_items_are_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        parse_item(raw)


def test_an_item_zero_is_an_item() -> None:
    assert parse_item({"item_id": 0}).item_id == "0"


def test_interactions_given_item_by_user_are_seen() -> None:
    users, items = [f"u{i}" for i in range(50)], [f"i{i}" for i in range(50)]
    catalogue, people = set(items), set(users)
    assert looks_transposed(items, users, known_items=catalogue)
    assert looks_transposed(items, users, known_items=catalogue, known_users=people)
    assert not looks_transposed(users, items, known_items=catalogue)
    assert not looks_transposed(users, items)
    assert not looks_transposed([], [], known_items=catalogue)


def test_ids_that_are_numbers_on_both_sides_are_not_refused() -> None:
    numbers = {str(i) for i in range(50)}
    assert not looks_transposed(numbers, numbers, known_items=numbers, known_users=numbers)


def test_new_users_and_half_known_items_are_not_refused() -> None:
    assert not looks_transposed(["u1", "u2"], ["i1", "new"], known_items={"i1"}, known_users={"u9"})


def test_public_names_are_complete_and_the_examples_run() -> None:
    import doctest

    for name in lifeloop.events.__all__:
        assert hasattr(lifeloop.events, name)
    path, prefix = lifeloop.events.__path__, "lifeloop.events."
    for module in pkgutil.walk_packages(path, prefix):
        failures, _ = doctest.testmod(importlib.import_module(module.name))
        assert failures == 0, module.name

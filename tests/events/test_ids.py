import struct
from hashlib import blake2b
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifeloop.events import Event, SeenRows, assign_event_ids, content_hash, frame_of
from lifeloop.events import seen as seen_module
from lifeloop.events.ids import id_problem, id_problems
from lifeloop.events.records import EVENT_SCHEMA


def events(*rows: Event) -> pl.DataFrame:
    return frame_of(rows, EVENT_SCHEMA)


def identified(frame: pl.DataFrame, *, source: str = "import") -> pl.DataFrame:
    with SeenRows() as seen:
        return assign_event_ids(frame, source=source, seen=seen)


def pairs(frame: pl.DataFrame) -> set[tuple[str, str]]:
    return set(zip(frame["event_id"], content_hash(frame), strict=True))


VIEW = Event(type="view", user_id="ada", item_id="tea", occurred_us=1_700_000_000_000_000)


def line(order: str | None, item: str, quantity: float, **more: Any) -> Event:
    return Event(
        type="purchase",
        user_id="ada",
        item_id=item,
        order_id=order,
        quantity=quantity,
        value=quantity * 2,
        occurred_us=1_700_000_000_000_000,
        **more,
    )


@pytest.mark.parametrize("word", ["null", "NULL ", "undefined", "Anonymous", "0", "none", " NaN"])
def test_placeholders_are_no_people(word: str) -> None:
    assert id_problem(word, person=True) == "placeholder_id"
    assert id_problems(pl.Series([word]), person=True).to_list() == ["placeholder_id"]


@pytest.mark.parametrize("good", ["a/b", "用户;1", "007", "x" * 300, "😀", "00", "nullable", "0.0"])
def test_opaque_ids_are_fine(good: str) -> None:
    assert id_problem(good, person=True) is None
    assert id_problems(pl.Series([good]), person=True).to_list() == [None]


def test_item_zero_is_an_item_and_item_null_is_not() -> None:
    found = id_problems(pl.Series(["0", "anonymous", "null", "anon:1"]), person=False)
    assert found.to_list() == [None, None, "placeholder_id", None]


def test_reserved_prefix_and_length_are_refused() -> None:
    found = id_problems(pl.Series(["anon:1", "x" * 1024, "x" * 1025]), person=True)
    assert found.to_list() == ["reserved_prefix", None, "id_too_long"]


@given(st.text(max_size=40))
def test_whole_columns_and_single_ids_are_judged_alike(text: str) -> None:
    for person in (True, False):
        found = id_problems(pl.Series([text], dtype=pl.String), person=person)[0]
        assert found == id_problem(text, person=person)


def test_five_identical_rows_are_five_events_and_the_same_five_again() -> None:
    once = identified(events(*[VIEW] * 5))
    assert once["event_id"].n_unique() == 5
    assert identified(events(*[VIEW] * 5))["event_id"].to_list() == once["event_id"].to_list()


def test_identical_rows_are_told_apart_across_batches() -> None:
    whole = identified(events(*[VIEW] * 5))["event_id"].to_list()
    with SeenRows() as seen:
        parts = [assign_event_ids(events(*[VIEW] * n), source="import", seen=seen) for n in (2, 3)]
    assert pl.concat(parts)["event_id"].to_list() == whole


def test_ids_and_contents_are_the_written_definition() -> None:
    def hashed(text: str) -> str:
        return blake2b(text.encode(), digest_size=16).hexdigest()

    rows = events(VIEW, VIEW, line("o1", "tea", 2.0), line("o1", "tea", 2.0, line_id="7"))
    content = (
        "\x1euser_id\x1fada\x1etype\x1fview\x1eoccurred_us\x1f1700000000000000\x1eitem_id\x1ftea"
    )
    origin = "\x1esource\x1fimport"
    first = hashed(origin + content)
    second = blake2b(bytes.fromhex(first) + (1).to_bytes(8, "little"), digest_size=16).hexdigest()
    order = f"{origin}\x1eline\x1etype\x1fpurchase\x1eorder_id\x1fo1"
    by_item, by_line = hashed(f"{order}\x1eitem_id\x1ftea"), hashed(f"{order}\x1eline_id\x1f7")
    assert identified(rows)["event_id"].to_list() == [first, second, by_item, by_line]
    assert content_hash(rows)[0] == hashed(content)
    bits = struct.unpack("<q", struct.pack("<d", 2.5))[0]
    valued = events(Event(type="tip", value=2.5))
    assert content_hash(valued)[0] == hashed(f"\x1etype\x1ftip\x1evalue\x1f{bits}")


def test_another_source_or_another_field_is_another_event() -> None:
    base = identified(events(VIEW))["event_id"][0]
    assert identified(events(VIEW), source="shop2")["event_id"][0] != base
    other = Event(type="view", user_id="ada", item_id="tea", occurred_us=1_700_000_000_000_001)
    assert identified(events(other))["event_id"][0] != base


def test_a_value_cannot_pretend_to_be_two_fields() -> None:
    left = Event(type="view", user_id="a", item_id="b\x1e\x1fcurrency\x1fX")
    right = Event(type="view", user_id="a", item_id="b", currency="X")
    assert content_hash(events(left))[0] != content_hash(events(right))[0]


def test_given_ids_stay() -> None:
    rows = events(Event(type="view", user_id="a", event_id="mine"), VIEW)
    found = identified(rows)["event_id"].to_list()
    assert found[0] == "mine"
    assert found[1] == identified(events(VIEW))["event_id"][0]


def test_a_changed_order_line_keeps_its_id_and_changes_its_content() -> None:
    for more in ({}, {"line_id": "3"}):
        old = identified(events(line("o1", "tea", 1.0, **more)))
        new = identified(events(line("o1", "tea", 4.0, **more)))
        assert old["event_id"].to_list() == new["event_id"].to_list()
        assert content_hash(old).to_list() != content_hash(new).to_list()


def test_an_order_has_many_lines_and_a_refund_is_not_a_purchase() -> None:
    rows = events(
        line("o1", "tea", 1.0),
        line("o1", "tea", 1.0),
        line("o1", "mug", 1.0),
        line("o2", "tea", 1.0),
        line("o1", "tea", 1.0, line_id="1"),
        Event(type="refund", user_id="ada", order_id="o1", line_id="1"),
    )
    assert identified(rows)["event_id"].n_unique() == 6


def test_the_same_order_twice_is_one_order() -> None:
    order = events(line("o1", "tea", 1.0), line("o1", "mug", 2.0))
    assert pairs(identified(order)) == pairs(identified(order.reverse()))


ROWS = st.lists(
    st.builds(
        lambda user, item, order, quantity, timed: Event(
            type="purchase",
            user_id=user,
            item_id=item,
            order_id=order,
            quantity=quantity,
            occurred_us=timed,
        ),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["x", "y", None]),
        st.sampled_from(["o1", "o2", None]),
        st.sampled_from([1.0, 2.0, -0.0, 0.0]),
        st.sampled_from([None, 1]),
    ),
    max_size=30,
)


@given(ROWS, st.randoms(use_true_random=False))
def test_shuffling_rows_changes_no_id_and_no_content(rows: list[Event], random: Any) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    left, right = identified(events(*rows)), identified(events(*shuffled))
    assert pairs(left) == pairs(right)
    assert left["event_id"].n_unique() == len(rows)


def test_content_leaves_out_identity_and_transport() -> None:
    moved = Event(
        type="view",
        user_id="ada",
        item_id="tea",
        occurred_us=VIEW.occurred_us,
        event_id="x",
        sent_us=5,
        source="elsewhere",
    )
    assert content_hash(events(moved)).to_list() == content_hash(events(VIEW)).to_list()


@given(st.lists(st.lists(st.integers(0, 12), max_size=40), max_size=12))
def test_seen_rows_count_like_a_dictionary(batches: list[list[int]]) -> None:
    held: dict[int, int] = {}
    with SeenRows() as seen:
        for batch in batches:
            keys = np.array(batch, np.uint64)
            assert seen.count(keys).tolist() == [held.get(k, 0) for k in batch]
            seen.add(keys)
            for key in batch:
                held[key] = held.get(key, 0) + 1


def test_long_runs_live_in_files_and_count_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(seen_module, "IN_MEMORY", 500)
    rng = np.random.default_rng(5)
    keys = rng.integers(0, 3000, 20_000).astype(np.uint64)
    with SeenRows(tmp_path) as seen:
        for at in range(0, len(keys), 700):
            seen.add(keys[at : at + 700])
        (folder,) = tmp_path.iterdir()
        bytes_held = sum(file.stat().st_size for file in folder.iterdir())
        assert 0 < bytes_held <= len(keys) * 8, "runs that were merged away leave no file"
        asked = np.arange(3000, dtype=np.uint64)
        expected = np.bincount(keys.astype(np.int64), minlength=3000)
        assert (seen.count(asked) == expected).all()
    assert not list(tmp_path.iterdir())

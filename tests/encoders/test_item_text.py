"""What an item says, and what is cleaned from it."""

import time

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifeloop.encoders import clean_text, item_text
from lifeloop.events.records import ITEM_SCHEMA, Item, frame_of


def said(**fields: object) -> str:
    item = Item(item_id="i", **fields)  # type: ignore[arg-type]
    return item_text(frame_of([item], ITEM_SCHEMA))[0]


def test_the_parts_come_in_their_order() -> None:
    text = said(
        title="Green Tea", brand="Fir", categories=("Kitchen", "Tea"), description="Very fresh."
    )
    assert text == "Green Tea. Fir. Kitchen, Tea. Very fresh."


def test_absent_parts_leave_no_trace() -> None:
    assert said(title="Tea") == "Tea"
    assert said(categories=("Tea",)) == "Tea"
    assert said() == ""
    assert item_text(pl.DataFrame({"item_id": ["a", "b"]})) == ["", ""]


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("MILK 1% 64 OZ", "milk 1%"),
        ("Cola 6 x 330 ml", "Cola"),
        ("Cola 6 x 330ml", "Cola"),
        ("Sliced bread 1-1/2 lb loaf", "Sliced bread loaf"),
        ("12 CT eggs", "eggs"),
        ("2001: A Space Odyssey (1968)", "2001: A Space Odyssey (1968)"),
        ("Vitamin B12", "Vitamin B12"),
        ("Ocean's 11 in Paris", "Ocean's 11 in Paris"),
        ("Screen 55 cm", "Screen 55 cm"),
        ("5 g", "5 g"),
    ],
)
def test_pack_sizes_leave_titles_and_other_numbers_stay(title: str, expected: str) -> None:
    assert said(title=title) == expected


def test_sizes_stay_in_descriptions() -> None:
    assert said(title="Bag", description="Holds 5 kg") == "Bag. Holds 5 kg"


def test_shouting_is_lowered_and_mixed_case_is_kept() -> None:
    assert said(title="FROZEN PIZZA", categories=("GROCERY",)) == "frozen pizza. grocery"
    assert said(title="iPhone") == "iPhone"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("<p>Fresh &amp; <b>crisp</b></p>", "Fresh & crisp"),
        ("<style>p {color: red}</style>x<script>alert('1')</script>y", "x y"),
        ("before<!-- hidden -->after", "before after"),
        ("x <script>never closed", "x"),
        ("5 < 6 and 7 > 2", "5 < 6 and 7 > 2"),
        ("a\x00b\tc\r\n d\x1b[0m", "a b c d [0m"),
        ("caf\u0065\u0301", "café"),
        ("broken \ud83d surrogate", "broken surrogate"),
        ("中文\u3000茶", "中文 茶"),
        ("👩‍👧 🎉", "👩‍👧 🎉"),
        (" \t ", ""),
    ],
)
def test_only_what_is_visible_remains(raw: str, expected: str) -> None:
    assert clean_text(raw) == expected


@given(st.text(alphabet=st.characters(), max_size=300))
def test_any_text_becomes_one_clean_line(raw: str) -> None:
    text = clean_text(raw, max_chars=50)
    assert len(text) <= 50
    assert text == text.strip()
    text.encode("utf-8")
    assert not any(c in text for c in "\x00\n\r\t")


@pytest.mark.parametrize("raw", ["a" * 100_000, "<" * 100_000, "<a " * 40_000, "&" * 100_000])
def test_very_long_texts_are_cut_in_no_time(raw: str) -> None:
    started = time.process_time()
    assert len(clean_text(raw)) <= 1000
    assert time.process_time() - started < 1.0


def test_equal_items_give_equal_texts_for_a_whole_frame() -> None:
    frame = pl.DataFrame({"title": ["Tea 5 OZ", None, "Tea 6 OZ"], "brand": ["x", "x", "x"]})
    assert item_text(frame) == ["Tea. x", "x", "Tea. x"]

"""Each step on rows small enough to check by hand."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeloop import Scenario
from lifeloop.errors import ConfigError
from lifeloop.prepare import Cleaned, clean_events, clean_table, repaired_text
from lifeloop.prepare.service import says_service, shape

DAY = 86_400_000_000
GOOGLE = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/130.0.0.0 Safari/537.36"
)


def scenario(**clean: Any) -> Scenario:
    return Scenario.load({"name": "shop", "extends": "ecommerce", "clean": clean})


def cleaned(rows: list[dict[str, Any]], **clean: Any) -> Cleaned:
    whole = [{"type": "purchase", "user_id": "ada", "t_us": DAY, **row} for row in rows]
    frame = pl.DataFrame(whole, infer_schema_length=None)
    frame = frame.with_columns(
        pl.col("value", "quantity", "unit_price").cast(pl.Float64)
        if {"value", "quantity", "unit_price"} <= set(frame.columns)
        else []
    )
    return clean_events(
        frame, scenario=scenario(**clean), source="test", rng=np.random.default_rng(0)
    )


def line(order: str, item: str, quantity: float, price: float, **more: Any) -> dict[str, Any]:
    return {
        "order_id": order,
        "item_id": item,
        "quantity": float(quantity),
        "unit_price": float(price),
        "value": float(quantity * price),
        **more,
    }


def test_five_equal_views_are_five_views() -> None:
    found = cleaned([{"type": "view", "item_id": "tea", "value": None}] * 5)
    assert found.report.rows_after == 5
    assert not found.report.findings


def test_an_equal_order_line_is_a_duplicate_unless_its_line_id_differs() -> None:
    twice = [line("1", "tea", 2, 3.0)] * 2
    assert cleaned(twice).report.finding("exact_duplicates").found == 1
    assert cleaned(twice, exact_duplicates="keep").report.rows_after == 2
    numbered = [{**row, "line_id": str(i)} for i, row in enumerate(twice)]
    assert cleaned(numbered).report.rows_after == 2


def test_an_order_sent_twice_within_a_minute_is_near() -> None:
    first = [line("1", "tea", 2, 3.0), line("1", "mug", 1, 5.0)]
    again = [{**row, "order_id": "2", "t_us": DAY + 20_000_000} for row in first]
    found = cleaned(first + again).report
    assert found.finding("near_duplicates").counts["sent_twice"] == 2
    assert found.rows_after == 4, "near is flagged, not removed"
    more = [*again, {**line("2", "pot", 1, 9.0), "t_us": DAY + 20_000_000}]
    assert "near_duplicates" not in {f.name for f in cleaned(first + more).report.findings}
    later = [{**row, "t_us": DAY + 61_000_000} for row in again]
    assert "near_duplicates" not in {f.name for f in cleaned(first + later).report.findings}


def test_a_refund_is_matched_to_its_order_then_its_price_then_its_item() -> None:
    rows = [
        line("1", "tea", 5, 3.0, t_us=1 * DAY),
        line("2", "tea", 5, 4.0, t_us=2 * DAY),
        line("3", "tea", 5, 3.0, t_us=3 * DAY),
        line("1", "tea", -2, 9.9, t_us=4 * DAY),  # names order 1
        line("C8", "tea", -6, 3.0, t_us=5 * DAY),  # 5 of order 3, then 1 of order 1
        line("C9", "tea", -9, 3.0, t_us=6 * DAY),  # 2 left of 1, 5 of 2, 2 of nowhere
    ]
    found = cleaned(rows)
    assert found.rows["refund_of"].to_list() == [None, None, None, "1", "3", "2"]
    assert found.rows["matched_quantity"].to_list() == [None, None, None, 2, 6, 7]
    counts = found.report.finding("unmatched_refunds").counts
    assert (counts["wholly matched"], counts["partly matched"]) == (2, 1)


def test_a_refund_before_its_purchase_or_of_another_person_is_not_matched() -> None:
    early = [line("C1", "tea", -1, 3.0, t_us=DAY), line("2", "tea", 1, 3.0, t_us=2 * DAY)]
    other = [line("1", "tea", 1, 3.0), line("C2", "tea", -1, 3.0, user_id="bo", t_us=2 * DAY)]
    for rows in (early, other):
        counts = cleaned(rows).report.finding("unmatched_refunds").counts
        assert counts["without a purchase"] == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["1", "2", "C3", "C4"]),
            st.sampled_from(["tea", "mug"]),
            st.integers(-5, 5).filter(bool),
            st.sampled_from([-1.0, 0.0, 2.0, 3.33]),
            st.sampled_from(["ada", "bo", None]),
        ),
        min_size=1,
        max_size=25,
    )
)
def test_any_ledger_adds_up_and_no_piece_comes_back_twice(rows: list[Any]) -> None:
    made = [
        line(order, item, quantity, price, user_id=user, t_us=DAY + i)
        for i, (order, item, quantity, price, user) in enumerate(rows)
    ]
    found = cleaned(made)
    report = found.report
    assert report.rows - sum(x.rows for x in report.ledger) == found.kept.height
    assert report.money - sum(x.money for x in report.ledger) == report.money_after
    bought = found.kept.filter(pl.col("type") == "purchase")["quantity"].sum()
    assert float(found.kept["matched_quantity"].sum() or 0) <= float(bought) + 1e-9


def test_foreign_money_is_converted_at_the_given_rate_or_set_aside() -> None:
    rows = [
        line("1", "tea", 1, 10.0),
        line("2", "tea", 1, 10.0, currency="EUR"),
        line("3", "tea", 1, 10.0, currency="XXX"),
    ]
    for row in rows:
        row.setdefault("currency", None)
    found = cleaned(rows, rates={"EUR": 1.1}).report
    assert found.money == 21_000_000
    assert found.finding("unknown_currency").found == 1
    assert found.rows_after == 2


def test_a_price_in_cents_is_flagged_and_left() -> None:
    rows = [line(str(i), "tea", 1, 3.0) for i in range(9)] + [line("10", "tea", 1, 300.0)]
    found = cleaned(rows).report
    assert found.finding("unit_slips").found == 1
    assert found.money_after == found.money


def test_bots_are_known_by_their_name_and_by_their_pace() -> None:
    rng = np.random.default_rng(3)
    rows: list[dict[str, Any]]
    rows = [{"type": "view", "item_id": "a", "user_id": "crawler", "user_agent": GOOGLE}]
    rows += [{"type": "view", "user_id": "ada", "user_agent": CHROME, "t_us": DAY + i * 7_000_000}
             for i in np.cumsum(rng.integers(1, 60, 200)).tolist()]  # fmt: skip
    rows += [{"type": "view", "user_id": "clock", "t_us": DAY + i * 90_000_000} for i in range(80)]
    rows += [{"type": "view", "user_id": "flood", "t_us": DAY + i * 100_000} for i in range(200)]
    rows += [{"type": "view", "user_id": "owl", "t_us": DAY + i * 3_600_000_000 + i * i * 1000}
             for i in range(24)]  # fmt: skip
    rows += [line("1", str(i), 1, 1.0, user_id="wholesale") for i in range(500)]
    found = cleaned(rows)
    flagged = set(found.rows.filter("is_bot")["user_id"])
    assert flagged == {"crawler", "clock", "flood", "owl"}
    assert set(found.kept["user_id"]) == {"ada", "wholesale"}


@pytest.mark.parametrize(
    ("broken", "sound"),
    [
        ("cafÃ©", "café"),
        ("Fish &amp; chips", "Fish & chips"),
        ("鐢ㄦ埛璇勪环", "用户评价"),
        ("绾㈣壊杩炶。瑁�", None),
        ("用户评价，很好！", "用户评价，很好！"),
        ("naïve “quotes” ½", "naïve “quotes” ½"),
        ("ＡＢＣ", "ＡＢＣ"),
    ],
)
def test_mojibake_is_repaired_and_sound_text_is_left(broken: str, sound: str | None) -> None:
    if sound is not None:
        assert repaired_text(broken) == sound
    assert repaired_text(repaired_text(broken)) == repaired_text(broken)


EVERYDAY = [bytes([a, b]).decode("gb2312") for a in range(0xB0, 0xD7) for b in range(0xA1, 0xFE)]
RARE = st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(EVERYDAY), st.sampled_from(EVERYDAY), RARE), min_size=1))
def test_chinese_text_with_rare_characters_stays_as_it_is(
    groups: list[tuple[str, str, str]],
) -> None:
    text = "".join(letter for group in groups for letter in group)
    assert repaired_text(text) == text


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(EVERYDAY), min_size=2, max_size=12))
def test_everyday_chinese_read_in_the_wrong_encoding_comes_back(letters: list[str]) -> None:
    text = "".join(letters)
    try:
        broken = text.encode("utf-8").decode("gb18030")
    except UnicodeDecodeError:
        return  # an odd number of bytes is lost in the wrong reading itself
    assert repaired_text(broken) == text


def test_service_words_and_code_shapes() -> None:
    assert [says_service(t) for t in ("Manual", "AMAZON FEE", "运费", "POST OFFICE SIGN")] == [
        True, True, True, False,
    ]  # fmt: skip
    assert shape("85123A") == "9a"


def test_the_scenario_decides_what_is_a_service() -> None:
    rows = [line(str(i), f"{1000 + i}", 1, 3.0, title="Tea") for i in range(9)]
    rows += [line("10", "WRAP", 1, 1.0, title="Golden paper"), line("11", "M", 1, 1.0, title="Fee")]
    assert cleaned(rows).report.finding("service_lines").found == 1
    chosen = cleaned(rows, service_items=["WRAP"], product_items=["M"]).report
    assert chosen.finding("service_lines").counts == {"lines WRAP": 1}


def test_an_unknown_setting_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'near_duplicates'"):
        scenario(near_duplicate="keep")
    with pytest.raises(ConfigError, match=r"clean\.missing"):
        scenario(missing={"users": {"age": "mean"}})


def test_items_keep_their_newest_row_and_say_what_was_filled() -> None:
    frame = pl.DataFrame(
        {
            "item_id": ["a", "b", "a", "c", "c"],
            "title": ["Tea", "Mug", "Green tea", "Pot", "Pot"],
            "price": [1.0, None, 2.0, 6.0, 6.0],
            "brand": ["x", "x", None, "y", "y"],
        }
    )
    settings_ = scenario(missing={"items": {"price": "median", "brand": "most_frequent"}})
    found = clean_table(
        frame, "items", scenario=settings_, source="t", rng=np.random.default_rng(0)
    )
    assert found.kept["title"].to_list() == ["Mug", "Green tea", "Pot"]
    assert found.report.finding("repeated_id").counts == {"equal rows": 1, "other content": 1}
    how = {c.column: c.fill for c in found.report.columns}
    assert how["price"].startswith("median")
    assert found.rows["price"].null_count() == 1, "the column itself stays as it came"
    assert found.rows["price_filled"].null_count() == 0

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeloop.errors import InputError
from lifeloop.events import parse_event
from lifeloop.events.numbers import checked_decimal, parse_number, parse_numbers


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", 12), ("-12.5", -12.5), ("+3", 3), ("1e3", 1000), (".5", 0.5), ("5.", 5),
        ("12,50", 12.5), ("-12,5", -12.5), ("0,125", 0.125), ("1234,567", 1234.567),
        ("1.234,56", 1234.56), ("1,234.56", 1234.56), ("1.234.567", 1_234_567),
        ("1,234,567", 1_234_567), ("1.234.567,8", 1_234_567.8), ("12 345,67", 12345.67),
        ("12\u00a0345", 12345), ("12\u202f345,6", 12345.6), ("1'234.50", 1234.5),
        ("€12,50", 12.5), ("12,50 €", 12.5), ("$1,234.50", 1234.5), ("¥100", 100), ("88元", 88),
        ("-£3.20", -3.2), ("12.50 EUR", 12.5), ("(12,50)", -12.5), ("12,50-", -12.5),
        ("１２．５", 12.5), ("−4", -4),
    ],
)  # fmt: skip
def test_a_number_that_can_be_read_one_way_is_read(text: str, number: float) -> None:
    assert parse_number(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["1,234", "-1,234", "12,345", "1.234,567.8", "€1,234"])
def test_a_number_that_can_be_read_two_ways_is_refused(text: str) -> None:
    assert parse_number(text) in ("ambiguous_number", "bad_number")


def test_the_mark_that_is_given_decides() -> None:
    assert parse_number("1,234", decimal=",") == 1.234
    assert parse_number("1,234", decimal=".") == 1234
    assert parse_number("1.234", decimal=",") == 1234
    assert parse_number("1.234", decimal=".") == 1.234
    with pytest.raises(InputError):
        checked_decimal(";")


@pytest.mark.parametrize("text", ["", "abc", "1_000", "nan", "inf", "1e999", "12,34,5", "1..2", "--3", "12 34", "EUR", "1.2.3"])  # fmt: skip  # noqa: E501
def test_what_is_no_number_is_refused(text: str) -> None:
    assert parse_number(text) == "bad_number"


def test_points_are_doubted_where_the_column_writes_commas() -> None:
    values = pl.Series(["12,50", "1.234", "3.5", "7", None, "1.234,00"])
    numbers, why, interpreted = parse_numbers(values)
    assert numbers.to_list() == [12.5, None, 3.5, 7.0, None, 1234.0]
    assert why is not None
    assert why.to_list() == [None, "ambiguous_number", None, None, None, None]
    assert interpreted
    numbers, why, _ = parse_numbers(values, decimal=",")
    assert numbers.to_list() == [12.5, 1234.0, 3.5, 7.0, None, 1234.0]
    assert why is None
    plain, _, said = parse_numbers(pl.Series(["1.234", "2.5"]))
    assert plain.to_list() == [1.234, 2.5]
    assert not said


@settings(max_examples=200)
@given(st.decimals(min_value=-(10**9), max_value=10**9, places=2))
def test_any_amount_written_in_the_german_way_comes_back(amount: float) -> None:
    english = f"{amount:,.2f}"
    german = english.translate(str.maketrans(",.", ".,"))
    for text in (english, german, f"{german} €"):
        assert parse_number(text) == pytest.approx(float(amount))


def test_a_live_event_reads_numbers_the_same_way() -> None:
    event = parse_event({"user_id": "ada", "type": "purchase", "value": "12,50"})
    assert event.value == 12.5
    with pytest.raises(InputError, match="two ways"):
        parse_event({"user_id": "ada", "type": "purchase", "value": "1,234"})

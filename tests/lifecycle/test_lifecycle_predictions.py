"""Predicted value and P(alive) move stages, with hysteresis."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeloop import lifecycle as lc
from lifeloop.errors import InputError
from lifeloop.lifecycle.predictions import predicted

DEFINITIONS = lc.StageDefinitions(burn_in_days=0)
MONTHS = [date(2024, m, 1) for m in range(1, 8)]


def us(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()) * 1_000_000


def daily_buyer(user: str = "u") -> pl.DataFrame:
    """One order in January, then a visit a day: never silent, never loyal by orders."""
    days = [date(2024, 1, 1) + timedelta(days=d) for d in range(210)]
    return pl.DataFrame(
        {
            "user_id": user,
            "t_us": [us(day) for day in days],
            "type": ["purchase"] + ["view"] * 209,
            "value": [5.0] + [None] * 209,
        }
    )


def p_alive(values: list[float | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {"user_id": "u", "month": MONTHS[: len(values)], "p_alive": values},
        schema_overrides={"p_alive": pl.Float64},
    )


def shown(predictions: pl.DataFrame, day: date) -> dict[str, Any]:
    as_of = datetime(day.year, day.month, day.day, 23, tzinfo=UTC)
    table = lc.stages(daily_buyer(), definitions=DEFINITIONS, as_of=as_of, predictions=predictions)
    return table.row(0, named=True)


def test_p_alive_puts_at_risk_below_a_half_and_lets_go_above_six_tenths() -> None:
    predictions = p_alive([0.9, 0.49, 0.55, 0.6, 0.61, 0.55, 0.5])
    stages = [shown(predictions, date(2024, m, 15))["stage"] for m in range(1, 8)]
    assert stages == ["conversion", *["at_risk"] * 3, *["conversion"] * 3]
    risky = shown(predictions, date(2024, 3, 15))
    assert risky["rule"] == "p_alive: 0.55 below 0.5, until above 0.6"
    assert risky["since"] == date(2024, 2, 1)
    assert shown(predictions, date(2024, 1, 31))["stage"] == "conversion"
    assert shown(predictions, date(2024, 2, 1))["stage"] == "at_risk"


def test_an_unknown_number_changes_nothing() -> None:
    predictions = p_alive([0.4, None, 0.55])
    unknown = shown(predictions, date(2024, 2, 15))
    assert unknown["stage"] == "at_risk"
    assert unknown["rule"] == "p_alive: 0.4 below 0.5, until above 0.6", "the number that holds"
    assert shown(predictions, date(2024, 3, 15))["stage"] == "at_risk"
    assert shown(p_alive([None, 0.55]), date(2024, 2, 15))["stage"] == "conversion"


def test_a_prediction_from_before_the_first_event_holds_from_then_on() -> None:
    early = pl.DataFrame(
        {
            "user_id": ["u", "u"],
            "month": [date(2023, 11, 1), date(2023, 12, 1)],
            "p_alive": [0.4, 0.7],
        }
    )
    assert shown(early, date(2024, 1, 5))["stage"] == "conversion"
    assert shown(early.head(1), date(2024, 1, 5))["stage"] == "at_risk"
    assert shown(early.head(1), date(2024, 1, 5))["since"] == date(2024, 1, 1)


def test_a_predicted_value_in_the_top_tenth_is_loyal_until_below_the_top_fifth() -> None:
    # ten users valued 1 … 10: the 90th percentile is 9, the 80th is 8
    ranks = [5, 9, 8, 7, 8]
    rows = []
    for month, rank in zip(MONTHS, ranks, strict=False):
        others = [v for v in range(1, 11) if v != rank]
        rows.append({"user_id": "u", "month": month, "predicted_value": float(rank)})
        rows += [
            {"user_id": f"x{i}", "month": month, "predicted_value": float(v)}
            for i, v in enumerate(others)
        ]
    predictions = pl.DataFrame(rows)
    placed = [shown(predictions, date(2024, m, 15)) for m in range(1, 6)]
    assert [p["stage"] for p in placed] == [
        "conversion",
        "loyalty",
        "loyalty",
        "conversion",
        "conversion",
    ]
    assert placed[1]["rule"] == "predicted_value: in the top tenth, silent 0 <= 29 days"


def test_without_an_order_a_predicted_value_makes_nobody_loyal() -> None:
    events = daily_buyer().with_columns(type=pl.lit("view"))
    predictions = pl.DataFrame({"user_id": ["u"], "month": MONTHS[:1], "predicted_value": [99.0]})
    placed = lc.stages(events, definitions=DEFINITIONS, predictions=predictions)
    assert placed["stage"].to_list() == ["acquisition"]


def test_predictions_of_strangers_and_of_the_future_add_nobody_and_nothing() -> None:
    predictions = pl.DataFrame(
        {
            "user_id": ["stranger", "u"],
            "month": [MONTHS[0], date(2025, 1, 1)],
            "p_alive": [0.1, 0.1],
        }
    )
    plain = lc.stages(daily_buyer(), definitions=DEFINITIONS)
    assert lc.stages(daily_buyer(), definitions=DEFINITIONS, predictions=predictions).equals(plain)


def test_transitions_follow_the_predictions() -> None:
    moves = lc.transitions(
        daily_buyer(), definitions=DEFINITIONS, predictions=p_alive([0.9, 0.4, 0.7]), members=True
    )
    assert moves.select("date", "to").rows() == [
        (date(2024, 1, 1), "conversion"),
        (date(2024, 2, 1), "at_risk"),
        (date(2024, 3, 1), "conversion"),
    ]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.none(), st.sampled_from([0.3, 0.5, 0.55, 0.6, 0.7])), max_size=7))
def test_hysteresis_equals_the_state_machine(values: list[float | None]) -> None:
    table = predicted(p_alive(values))
    on, want = False, []
    for value in values:
        if value is not None:
            on = value < 0.5 or (on and value <= 0.6)
        want.append(on)
    assert table["p_low"].to_list() == want


def test_bad_predictions_are_refused() -> None:
    with pytest.raises(InputError, match="cannot be used"):
        predicted(pl.DataFrame({"user_id": ["u"], "month": [MONTHS[0]]}))
    with pytest.raises(InputError, match="is a probability"):
        predicted(p_alive([1.5]))
    twice = pl.concat([p_alive([0.5]), p_alive([0.6])])
    with pytest.raises(InputError, match="two rows"):
        predicted(twice)


@pytest.mark.parametrize("name", ["p_alive", "predicted_value"])
def test_a_prediction_that_is_nan_is_refused(name: str) -> None:
    frame = p_alive([0.5]).rename({"p_alive": name})
    with pytest.raises(InputError, match=f"{name} holds NaN"):
        predicted(frame.with_columns(pl.lit(float("nan")).alias(name)))


def test_two_hours_of_one_day_are_two_rows_of_one_day() -> None:
    hours = [datetime(2024, 1, 1, hour) for hour in (0, 9)]  # noqa: DTZ001
    with pytest.raises(InputError, match="two rows"):
        predicted(pl.DataFrame({"user_id": "u", "month": hours, "p_alive": [0.5, 0.6]}))


POPULATIONS = st.integers(1, 12).flatmap(
    lambda n: st.lists(
        st.lists(st.one_of(st.none(), st.integers(0, 12)), min_size=n, max_size=n),
        min_size=1,
        max_size=6,
    )
)
"""Months of what each of n users is worth; null: not known."""


def worth(months: list[list[int | None]], factor: float = 1.0) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "user_id": f"u{k:02}",
                "month": month,
                "predicted_value": None if value is None else value * factor,
            }
            for month, values in zip(MONTHS, months, strict=False)
            for k, value in enumerate(values)
        ],
        schema={"user_id": pl.String, "month": pl.Date, "predicted_value": pl.Float64},
    )


def nearest_rank(values: list[int], tenths: int) -> int:
    """Return the smallest value that at least this many tenths of all do not exceed."""
    return next(
        v for v in sorted(values) if 10 * sum(w <= v for w in values) >= tenths * len(values)
    )


@settings(max_examples=150, deadline=None)
@given(POPULATIONS, st.sampled_from([0.5, 3.0]), st.randoms(use_true_random=False))
def test_high_value_of_a_population_is_entered_at_p90_and_left_below_p80(
    months: list[list[int | None]], factor: float, random: Any
) -> None:
    found = predicted(worth(months)).sort("day", "user_id")
    on = [False] * len(months[0])
    want: list[bool] = []
    for values in months:
        known = [v for v in values if v is not None]
        for k, value in enumerate(values):
            if value is not None:
                enters = value > 0 and value >= nearest_rank(known, 9)
                on[k] = enters or (on[k] and value > 0 and value >= nearest_rank(known, 8))
        if any(known):
            assert any(on), "somebody is always in the top tenth"
        want += on
    assert found["value_high"].to_list() == want
    scaled = worth(months, factor)
    mixed = scaled.sample(fraction=1.0, shuffle=True, seed=random.randint(0, 99))
    assert predicted(mixed).sort("day", "user_id").equals(found), "only ranks decide"

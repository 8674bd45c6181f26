"""Bad input: every function answers with a value and a reason, or refuses in words. No NaN."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from lifeloop import lifecycle as lc
from lifeloop.errors import InputError
from lifeloop.testing.lifecycle_functions import (
    DAY_US,
    FUNCTIONS,
    START,
    START_US,
    TYPES,
    Row,
    log_of,
)

EVERY = sorted(FUNCTIONS)
AS_OF = START + timedelta(days=60)
MONEY = {"orders", "observed_ltv", "observed_ltv:order", "rfm"}
NO_EVENT_OF_SOMEBODY = {"user_id": pl.lit(None, dtype=pl.String)}
TRIANGLES = {"retention", "retention_curve", "observed_ltv"}
FEW_CELLS = {"retention:bracket"}
MAY_BE_UNKNOWN = {"offset", "offset_to", "p_alive"}


def busy(n_users: int = 4, n_days: int = 40) -> list[Row]:
    """Return a log in which everybody does everything, now and then."""
    return [
        (u, d, 60 * u + k, TYPES[(u + d + k) % len(TYPES)], k, 5.0, 4.0, (u + 1) % n_users, False)
        for u in range(n_users)
        for d in range(u, n_days, 3 + u)
        for k in range(3)
    ]


def sound(table: pl.DataFrame) -> pl.DataFrame:
    """Assert that no number is NaN or infinite, and that every null number has a reason."""
    reasons = [name for name in table.columns if name.endswith("reason")]
    for name, kind in table.schema.items():
        if not kind.is_numeric() or name in MAY_BE_UNKNOWN:
            continue
        values = table[name]
        if kind.is_float():
            assert values.drop_nulls().is_finite().all(), name
        if values.null_count() and reasons:
            told = table.filter(pl.col(name).is_null())
            assert told.select(pl.any_horizontal(pl.col(reasons).is_not_null())).to_series().all()
    return table


def answers(name: str, events: pl.DataFrame, **options: Any) -> pl.DataFrame:
    """Return the table; it and the users behind it are sound."""
    given = {"as_of": AS_OF, **options}
    sound(FUNCTIONS[name](events, members=True, **given))
    return sound(FUNCTIONS[name](events, **given))


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", EVERY)
def test_one_event(name: str, kind: str) -> None:
    answers(name, log_of([(0, 3, 5, kind, None, 2.0, 4.0, None, None)]))


@pytest.mark.parametrize("name", EVERY)
def test_events_of_nobody_are_as_no_events(name: str) -> None:
    nobody = log_of(busy()).with_columns(**NO_EVENT_OF_SOMEBODY)
    nothing = answers(name, nobody.clear())
    assert answers(name, nobody).equals(nothing)
    assert nothing.is_empty() or name == "active_day_histogram"


@pytest.mark.parametrize("name", EVERY)
def test_everything_at_one_instant(name: str) -> None:
    assert answers(name, log_of(busy()).with_columns(t_us=pl.lit(START_US))).height > 0


@pytest.mark.parametrize("name", EVERY)
def test_a_currency_that_changes_half_way(name: str) -> None:
    events = log_of(busy()).with_columns(
        currency=pl.when(pl.col("seq") % 2 == 0).then(pl.lit("USD")).otherwise(pl.lit("EUR"))
    )
    if name not in MONEY:
        assert answers(name, events).height > 0
        return
    with pytest.raises(InputError, match="several currencies"):
        FUNCTIONS[name](events, as_of=AS_OF)


@pytest.mark.parametrize("value", [-5.0, 0.0, -0.0, None])
@pytest.mark.parametrize("name", EVERY)
def test_negative_zero_and_unknown_money(name: str, value: float | None) -> None:
    events = log_of(busy()).with_columns(value=pl.lit(value, dtype=pl.Float64))
    table = answers(name, events)
    if name == "orders" and value is not None:
        assert (table["orders"].sum(), table["aov"].null_count()) == (0, table.height)
        assert set(table["reason"]) == {"no orders with net > 0"}
    if name == "rfm" and value is not None:
        assert table.is_empty()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
@pytest.mark.parametrize("name", sorted(MONEY))
def test_money_that_is_no_amount_is_unknown_money(name: str, value: float) -> None:
    events = log_of(busy())
    odd = events.with_columns(value=pl.when(pl.col("seq") % 5 == 0).then(value).otherwise("value"))
    gone = events.with_columns(value=pl.when(pl.col("seq") % 5 != 0).then("value"))
    assert answers(name, odd).equals(answers(name, gone))


@pytest.mark.parametrize("grain", ["day", "week", "month"])
@pytest.mark.parametrize("name", EVERY)
def test_the_years_1969_and_2101(name: str, grain: str) -> None:
    far = [int(datetime(y, 7, 1, tzinfo=UTC).timestamp()) * 1_000_000 for y in (1969, 2101)]
    events = log_of(busy()).with_columns(
        t_us=pl.when(pl.col("seq") % 2 == 0).then(far[0]).otherwise(far[1]) + pl.col("seq") * DAY_US
    )
    given: dict[str, Any] = {"as_of": datetime(2102, 1, 1, tzinfo=UTC), "grain": grain}
    given["zone"] = "US/Pacific"
    if grain != "month" and name.split(":")[0] in TRIANGLES and name not in FEW_CELLS:
        with pytest.raises(InputError, match="cells"):
            FUNCTIONS[name](events, **given)
        return
    assert sound(FUNCTIONS[name](events, **given)).height > 0


@pytest.mark.parametrize("name", EVERY)
def test_an_empty_period(name: str) -> None:
    before = {"start": date(2019, 1, 1), "end": date(2019, 1, 9)}
    after = {"start": date(2031, 1, 1), "end": date(2031, 1, 9)}
    for window in (before, after):
        table = answers(name, log_of(busy()), **window)
        for column in {"new", "users", "converted", "buyers", "sessions", "dau"} & {*table.columns}:
            assert table[column].sum() == 0


@pytest.mark.parametrize("name", EVERY)
def test_a_cohort_of_one(name: str) -> None:
    events = log_of([row for row in busy() if row[0] == 0])
    table = answers(name, events, by="channel")
    if "small" in table.columns:
        assert table["small"].all()
    for rate in {"rate", "zero_share", "csat", "repeat_rate", "value"} & {*table.columns}:
        if f"{rate}_low" in table.columns:
            some = table.filter(pl.col(rate).is_not_null())
            assert (some[f"{rate}_low"] <= some[rate]).all()
            assert (some[rate] <= some[f"{rate}_high"]).all()


@pytest.mark.parametrize("name", EVERY)
def test_options_that_mean_nothing_are_refused_in_words(name: str) -> None:
    function, events = FUNCTIONS[name], log_of(busy())
    with pytest.raises(InputError, match="did you mean 'Europe/Berlin'"):
        function(events, zone="Europe/Berln")
    with pytest.raises(InputError, match="end is before start"):
        function(events, start=date(2024, 3, 2), end=date(2024, 3, 1))
    with pytest.raises(InputError, match="needs a time zone"):
        function(events, as_of=datetime(2024, 3, 1))  # noqa: DTZ001
    with pytest.raises(InputError, match="unknown week_start"):
        function(events, week_start="Mon")
    with pytest.raises(InputError, match="lateness_hours"):
        function(events, lateness_hours=float("nan"))
    with pytest.raises(InputError, match="lateness_hours"):
        function(events, lateness_hours=-1)
    if name != "stages":  # whose definitions say it
        with pytest.raises(InputError, match="burn_in_days"):
            function(events, burn_in_days=-1)
        with pytest.raises(InputError, match="unknown grain"):
            function(events, grain="year")
    with pytest.raises(InputError, match="neither the events nor the users or items"):
        function(events, by="shoe_size")
    with pytest.raises(InputError, match="column 't_us' is missing"):
        function(events.drop("t_us"))
    with pytest.raises(TypeError, match="unknown options \\['zonne'\\]"):
        function(events, zonne="UTC")


@pytest.mark.parametrize("name", EVERY)
def test_an_attribute_may_have_the_name_of_any_column_or_is_refused(name: str) -> None:
    events, function = log_of(busy()), FUNCTIONS[name]
    colours = pl.DataFrame({"user_id": ["u0", "u1"], "colour": ["x", "y"]})
    for members in (False, True):
        asked: dict[str, Any] = {"as_of": AS_OF, "members": members}
        want = function(events, by="colour", users=colours, **asked)
        for column in sorted({*want.columns, "begin", "net", "after", "label", "ix"} - {"colour"}):
            if column == "user_id":
                continue
            users = colours.rename({"colour": column})
            if column in want.columns:
                with pytest.raises(InputError, match=r"a column .* of its own"):
                    function(events, by=column, users=users, **asked)
            else:
                table = function(events, by=column, users=users, **asked)
                assert table.equals(want.rename({"colour": column})), column


@pytest.fixture(scope="module")
def one_user() -> pl.DataFrame:
    """Ten million events of one user within 300 days."""
    n = 10_000_000
    k = pl.int_range(n)
    return pl.select(
        user_id=pl.lit("u").repeat_by(n).explode(),
        t_us=START_US + k * (300 * DAY_US // n),
        type=pl.when(k % 1000 == 0).then(pl.lit("purchase")).when(k % 1000 == 1).then(
            pl.lit("cart")).when(k % 1000 == 2).then(pl.lit("csat")).otherwise(pl.lit("visit")),
        value=pl.when(k % 1000 == 0).then(1.0),
        rating=pl.when(k % 1000 == 2).then(5.0),
        referrer_id=pl.lit(None, dtype=pl.String),
    )  # fmt: skip


@pytest.mark.extras
@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_ten_million_events_of_one_user(name: str, one_user: pl.DataFrame) -> None:
    table = sound(FUNCTIONS[name](one_user, grain="month"))
    assert table.height > 0
    if name == "orders":
        assert table["orders"].sum() == 10_000
    if name == "sessions":
        assert table["sessions"].sum() == 300  # a session ends after 24 h
    if name == "growth_accounting":
        assert (table["new"].sum(), table["returning"].sum()) == (1, table.height - 1)


def test_the_busy_log_is_busy() -> None:
    assert set(log_of(busy())["type"]) == set(TYPES)
    assert lc.orders(log_of(busy()), as_of=AS_OF)["orders"].sum() > 0

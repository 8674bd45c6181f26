from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lifeloop.errors import InputError
from lifeloop.events import event_times, parse_time, parse_times
from lifeloop.events.time import LATEST_US


def us(*parts: int, zone: str = "UTC") -> int:
    """Microseconds of a local time, by the standard library alone."""
    return round(datetime(*parts, tzinfo=ZoneInfo(zone)).timestamp()) * 1_000_000  # type: ignore[arg-type,misc]


SHANGHAI = "Asia/Shanghai"
FORMS: list[tuple[Any, int]] = [
    ("2022-06-24 21:20:11", us(2022, 6, 24, 21, 20, 11, zone=SHANGHAI)),
    ("2022-06-24T21:20:11", us(2022, 6, 24, 21, 20, 11, zone=SHANGHAI)),
    ("2022-06-24T21:20", us(2022, 6, 24, 21, 20, zone=SHANGHAI)),
    ("2022-06-24T21:20:11Z", us(2022, 6, 24, 21, 20, 11)),
    ("2022-06-24 21:20:11.250+02:00", us(2022, 6, 24, 19, 20, 11) + 250_000),
    ("2022-06-24T21:20:11-0530", us(2022, 6, 25, 2, 50, 11)),
    ("2022-06-24T21:20:11.123456789Z", us(2022, 6, 24, 21, 20, 11) + 123_456),
    ("2022-06-24", us(2022, 6, 24, zone=SHANGHAI)),
    ("2022/6/4 9:05", us(2022, 6, 4, 9, 5, zone=SHANGHAI)),
    ("20170101", us(2017, 1, 1, zone=SHANGHAI)),
    (20170101, us(2017, 1, 1, zone=SHANGHAI)),
    ("20170101123059", us(2017, 1, 1, 12, 30, 59, zone=SHANGHAI)),
    ("20170101T123059Z", us(2017, 1, 1, 12, 30, 59)),
    ("2017年11月24日", us(2017, 11, 24, zone=SHANGHAI)),
    ("2017年11月4日 9时05分30秒", us(2017, 11, 4, 9, 5, 30, zone=SHANGHAI)),
    ("２０１７-１１-２４ １０：００：００", us(2017, 11, 24, 10, zone=SHANGHAI)),
    ("24 Nov 2017", us(2017, 11, 24, zone=SHANGHAI)),
    ("Fri, 24 Nov 2017 10:00:00 GMT", us(2017, 11, 24, 10)),
    ("Nov 24, 2017", us(2017, 11, 24, zone=SHANGHAI)),
    ("01-Jan-1995", us(1995, 1, 1, zone=SHANGHAI)),
    (1_511_544_070, 1_511_544_070_000_000),
    ("1511544070", 1_511_544_070_000_000),
    (1_511_544_070.5, 1_511_544_070_500_000),
    ("1511544070.5", 1_511_544_070_500_000),
    (1_511_544_070_123, 1_511_544_070_123_000),
    (1_511_544_070_123_456, 1_511_544_070_123_456),
    (1_511_544_070_123_456_789, 1_511_544_070_123_456),
    (datetime(2017, 11, 24, 10), us(2017, 11, 24, 10, zone=SHANGHAI)),  # noqa: DTZ001
    (datetime(2017, 11, 24, 10, tzinfo=UTC), us(2017, 11, 24, 10)),
    (date(2017, 11, 24), us(2017, 11, 24, zone=SHANGHAI)),
]


@pytest.mark.parametrize(("value", "expected"), FORMS)
def test_every_form_of_a_time_is_read_alone_and_in_a_column(value: Any, expected: int) -> None:
    assert parse_time(value, zone=SHANGHAI) == expected
    times, why = parse_times(pl.Series([value, None]), zone=SHANGHAI)
    assert times.to_list() == [expected, None]
    assert why.null_count() == 2


def test_a_column_may_mix_all_forms() -> None:
    texts = [(v, t) for v, t in FORMS if isinstance(v, str)]
    times, why = parse_times(pl.Series([v for v, _ in texts]), zone=SHANGHAI)
    assert times.to_list() == [t for _, t in texts]
    assert why.null_count() == len(texts)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("2017-02-30", "bad_time"),
        ("2017-02-30 10:00:00", "bad_time"),
        ("2017-13-01T00:00:00Z", "bad_time"),
        ("2017-01-01 24:00:01", "bad_time"),
        ("20170230", "bad_time"),
        (20170230, "bad_time"),
        ("2017年2月30日", "bad_time"),
        ("31 Feb 2017", "bad_time"),
        ("1969-12-31T23:59:59Z", "bad_time"),
        ("2101-01-01T00:00:00Z", "bad_time"),
        (-1, "bad_time"),
        (float("nan"), "bad_time"),
        (float("inf"), "bad_time"),
        ("yesterday", "bad_time"),
        ("12:30:00", "bad_time"),
        ("03/04/2017", "ambiguous_time"),
        ("25/12/2017 10:00", "ambiguous_time"),
        ("3.4.2017", "ambiguous_time"),
        ("03-04-17", "ambiguous_time"),
    ],
)
def test_impossible_and_ambiguous_times_are_refused(value: Any, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_time(value)
    assert vars(caught.value)["reason"] == reason
    times, why = parse_times(pl.Series([value]))
    assert (times.to_list(), why.to_list()) == ([None], [reason])


def test_the_last_moment_of_2100_and_the_first_of_1970_are_read() -> None:
    assert parse_time("1970-01-01T00:00:00Z") == 0
    assert parse_time("2100-12-31T23:59:59.999999Z") == LATEST_US - 1


def test_day_first_dates_are_read_with_a_format() -> None:
    times, why = parse_times(pl.Series(["03/04/2017", "31/04/2017"]), format="%d/%m/%Y")
    assert times.to_list() == [us(2017, 4, 3), None]
    assert why.to_list() == [None, "bad_time"]


def test_a_local_time_that_occurs_twice_is_the_first_and_a_skipped_one_keeps_the_old_offset() -> (
    None
):
    zone = "America/New_York"
    twice, skipped = "2025-11-02 01:30:00", "2025-03-09 02:30:00"
    expected = [us(2025, 11, 2, 5, 30), us(2025, 3, 9, 7, 30)]
    assert [parse_time(twice, zone=zone), parse_time(skipped, zone=zone)] == expected
    assert parse_times(pl.Series([twice, skipped]), zone=zone)[0].to_list() == expected


def test_epochs_less_than_a_minute_apart_keep_their_order() -> None:
    seconds = [1_511_544_000 + s for s in range(0, 60, 7)]
    for kind in (pl.Int64, pl.UInt32, pl.Float64, pl.String):
        times, _ = parse_times(pl.Series(seconds).cast(kind))
        assert times.to_list() == [s * 1_000_000 for s in seconds]


@example(datetime(2100, 4, 1), "Europe/Berlin")  # noqa: DTZ001
@example(datetime(2100, 7, 1), "America/New_York")  # noqa: DTZ001
@given(
    st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2100, 12, 30)),  # noqa: DTZ001
    st.sampled_from(["UTC", "Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia", SHANGHAI]),
)
def test_columns_and_single_values_agree_with_the_standard_library(
    moment: datetime, zone: str
) -> None:
    aware = moment.replace(tzinfo=ZoneInfo(zone))
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    expected = round((aware.astimezone(UTC) - epoch).total_seconds() * 1e6)
    text = moment.isoformat(sep=" ")
    assert parse_time(text, zone=zone) == expected
    assert parse_times(pl.Series([text]), zone=zone)[0].to_list() == [expected]
    assert parse_times(pl.Series([moment]), zone=zone)[0].to_list() == [expected]


@given(st.text(alphabet="0123456789-/:. TZ+eE年月日", max_size=24))
def test_columns_and_single_values_refuse_the_same_texts(text: str) -> None:
    times, why = parse_times(pl.Series([text], dtype=pl.String), zone="Europe/Berlin")
    if not text.strip():
        assert times[0] is None
        assert why[0] is None
        return
    try:
        expected: tuple[int | None, str | None] = parse_time(text, zone="Europe/Berlin"), None
    except InputError as error:
        expected = None, vars(error)["reason"]
    assert (times[0], why[0]) == expected


def test_an_unknown_zone_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="Mars/Olympus"):
        parse_time("2017-01-01", zone="Mars/Olympus")


def test_event_time_follows_the_specification() -> None:
    received, minute = 1_700_000_000_000_000, 60_000_000
    frame = pl.DataFrame(
        {
            "occurred_us": [
                received - 5,
                received + 9,
                received + 6 * minute,
                received - 100,
                None,
                received + 10 * minute,
            ],
            "sent_us": [None, None, None, received - minute, None, received + 10 * minute],
        },
        schema={"occurred_us": pl.Int64, "sent_us": pl.Int64},
    )
    timed = event_times(frame, received_us=received)
    # a slow request; a clock one minute behind is corrected; a clock ten minutes ahead as well
    assert timed["t_us"].to_list() == [received - 5, received, received, received, None, received]
    assert timed["flag"].to_list() == [None, None, "future", None, None, None]


def test_a_slow_request_is_not_a_wrong_clock() -> None:
    received = 1_700_000_000_000_000
    frame = pl.DataFrame({"occurred_us": [received - 90], "sent_us": [received - 59_999_999]})
    assert event_times(frame, received_us=received)["t_us"].to_list() == [received - 90]

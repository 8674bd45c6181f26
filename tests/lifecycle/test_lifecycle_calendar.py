"""Instants to local days, against Python's own zoneinfo and datetime."""

import zoneinfo
from datetime import UTC, date, datetime, timedelta
from typing import Any, get_args

import duckdb
import narwhals as nw
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeloop import lifecycle as lc
from lifeloop.config import Weekday
from lifeloop.errors import InputError
from lifeloop.lifecycle import calendar
from lifeloop.lifecycle.frame import collect

ZERO = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = [
    "UTC",
    "US/Pacific",
    "Europe/Berlin",
    "Africa/Cairo",
    "Asia/Shanghai",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Africa/Monrovia",
    "America/Sao_Paulo",
]


def local(t_us: int, zone: str) -> date:
    return (ZERO + timedelta(microseconds=t_us)).astimezone(zoneinfo.ZoneInfo(zone)).date()


def around_changes(zone: str, first: int, last: int) -> list[int]:
    """Instants at, just before and hours around every change of offset, found by brute force."""
    tz = zoneinfo.ZoneInfo(zone)
    found = []
    hour = timedelta(minutes=30)
    moment = datetime(first, 1, 1, tzinfo=UTC)
    offset = moment.astimezone(tz).utcoffset()
    while moment.year < last:
        moment += hour
        now = moment.astimezone(tz).utcoffset()
        if now != offset:
            at = (moment - ZERO) // timedelta(microseconds=1)
            steps = [-86_400_000_000, -7_200_000_000, -3_600_000_001, -1_800_000_000, -1, 0, 1]
            found += [at + s for s in steps] + [at - s for s in steps]
        offset = now
    return found


@pytest.mark.parametrize(
    ("zone", "first", "last"),
    [
        ("US/Pacific", 2023, 2026),
        ("Europe/Berlin", 2023, 2026),
        ("Africa/Cairo", 2008, 2016),
        ("Africa/Cairo", 2022, 2026),
        ("Asia/Shanghai", 1985, 1993),
        ("Australia/Lord_Howe", 2023, 2026),
    ],
)
@pytest.mark.parametrize("week_start", ["monday", "sunday"])
def test_days_and_weeks_are_right_around_every_change_of_the_clock(
    zone: str, first: int, last: int, week_start: Any
) -> None:
    instants = around_changes(zone, first, last)
    assert instants, "the years chosen have changes"
    events = pl.DataFrame({"user_id": "u", "t_us": instants, "type": "view"})
    as_of = datetime(last + 1, 1, 1, tzinfo=UTC)
    days = lc.growth_accounting(events, zone=zone, as_of=as_of)
    active = days.filter(pl.col("new") + pl.col("returning") + pl.col("resurrecting") > 0)
    assert set(active["period"].to_list()) == {local(t, zone) for t in instants}
    weeks = lc.growth_accounting(
        events, zone=zone, grain="week", week_start=week_start, as_of=as_of
    )
    active = weeks.filter(pl.col("new") + pl.col("returning") + pl.col("resurrecting") > 0)
    back = {"monday": 0, "sunday": 1}[week_start]
    want = set()
    for t in instants:
        day = local(t, zone)
        want.add(day - timedelta(days=(day.weekday() + back) % 7))
    assert set(active["period"].to_list()) == want


@settings(deadline=None)
@given(st.integers(-2_208_988_800_000_000, 4_200_000_000_000_000), st.sampled_from(ZONES))
def test_the_day_of_an_instant_is_that_of_zoneinfo(t_us: int, zone: str) -> None:
    assert calendar.date_of(calendar.day_of(t_us, zone)) == local(t_us, zone)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(-86_400_000_000 * 800, 4_200_000_000_000_000), min_size=1, max_size=30),
    st.sampled_from(ZONES),
)
def test_arrays_and_frames_agree_with_one_instant(instants: list[int], zone: str) -> None:
    want = [calendar.day_of(t, zone) for t in instants]
    assert calendar.days_of(np.array(instants, dtype=np.int64), zone).tolist() == want
    frame = nw.from_native(pl.LazyFrame({"t": instants}))
    expr = calendar.day_expr("t", zone=zone, lo_us=min(instants), hi_us=max(instants))
    assert collect(frame.select(day=expr))["day"].to_list() == want


def test_duckdb_computes_the_same_days_and_months_back_to_1969() -> None:
    rng = np.random.default_rng(3)
    instants = rng.integers(-(10**14), 700_000_000_000_000, 500)
    connection = duckdb.connect()
    connection.register("instants", pl.DataFrame({"t": instants}).to_arrow())
    for zone in ("US/Pacific", "Asia/Shanghai"):
        relation = nw.from_native(connection.table("instants"))
        expr = calendar.day_expr(
            "t", zone=zone, lo_us=int(instants.min()), hi_us=int(instants.max())
        )
        days = relation.with_columns(day=expr)
        for grain in ("day", "week", "month"):
            got = collect(calendar.with_period(days, grain=grain).select("t", "period"))
            want = {
                int(t): calendar.period_of(calendar.number_of(local(int(t), zone)), grain=grain)
                for t in instants
            }
            assert dict(got.rows()) == want


@settings(deadline=None)
@given(st.dates(date(1900, 1, 1), date(2199, 12, 31)), st.sampled_from(get_args(Weekday)))
def test_a_period_begins_where_the_calendar_says(day: date, week_start: Any) -> None:
    number = calendar.number_of(day)
    week = calendar.period_of(number, grain="week", week_start=week_start)
    begins = calendar.date_of(calendar.first_day(week, grain="week", week_start=week_start))
    assert begins.strftime("%A").lower() == week_start
    assert timedelta(0) <= day - begins < timedelta(days=7)
    month = calendar.period_of(number, grain="month")
    assert calendar.date_of(calendar.first_day(month, grain="month")) == day.replace(day=1)


@pytest.mark.parametrize("zone", ZONES)
def test_a_day_begins_at_its_first_instant(zone: str) -> None:
    for day in (date(2024, 3, 10), date(2018, 11, 4), date(2011, 12, 31), date(2024, 7, 1)):
        number = calendar.number_of(day)
        start = calendar.start_of_day_us(number, zone)
        assert local(start, zone) == day
        assert local(start - 1, zone) < day
        assert calendar.end_of_day_us(number, zone) > start


def test_the_instant_of_a_change_already_has_the_new_offset() -> None:
    # São Paulo went from midnight of the 18th back to 23:00 of the 17th
    change = int(datetime(2018, 2, 18, 2, tzinfo=UTC).timestamp()) * 1_000_000
    assert local(change, "America/Sao_Paulo") == date(2018, 2, 17)
    assert calendar.date_of(calendar.day_of(change, "America/Sao_Paulo")) == date(2018, 2, 17)
    both = calendar.days_of(np.array([change - 86_400_000_000, change]), "America/Sao_Paulo")
    assert [calendar.date_of(int(d)) for d in both] == [date(2018, 2, 17), date(2018, 2, 17)]


def test_a_day_that_a_zone_skipped_is_empty() -> None:
    # Samoa had no 30 December 2011
    skipped = calendar.number_of(date(2011, 12, 30))
    start = calendar.start_of_day_us(skipped, "Pacific/Apia")
    assert local(start, "Pacific/Apia") == date(2011, 12, 31)
    assert calendar.end_of_day_us(skipped, "Pacific/Apia") == start


def test_an_unknown_zone_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="did you mean 'Asia/Shanghai'"):
        calendar.check_zone("Asia/Shangai")

"""The situation of events and requests: hour and weekday where the person is, device, place."""

import json
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from lifeloop.encoders import nearest_keys, situation_of, situations, zone_of

FIELDS = ("hour", "weekday", "device", "place", "channel")
SUNDAY_US = int(datetime(2025, 3, 9, 23, 30, tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("zone", "hour", "weekday"),
    [
        ("UTC", "23", "sunday"),
        ("Asia/Shanghai", "7", "monday"),
        ("America/New_York", "19", "sunday"),  # summer time began that morning
        ("Asia/Kolkata", "5", "monday"),
    ],
)
def test_hour_and_weekday_are_those_of_the_zone(zone: str, hour: str, weekday: str) -> None:
    found = situation_of({}, FIELDS, t_us=SUNDAY_US, zone=zone)
    assert found.values == {"hour": hour, "weekday": weekday}
    assert found.keys == {"hour": (), "weekday": ()}


def test_what_a_context_says_of_itself_counts_before_the_clock() -> None:
    given = {"hour": 8, "weekday": "Wed", "timezone": "Asia/Tokyo", "Device-Type": " Phone "}
    found = situation_of(given, FIELDS, t_us=SUNDAY_US, zone="UTC")
    assert found.values == {"hour": "8", "weekday": "wednesday", "device": "phone"}
    assert found.keys["device"] == ("Device-Type",)
    by_zone = situation_of({"timezone": "Asia/Tokyo"}, ("hour",), t_us=SUNDAY_US, zone="UTC")
    assert by_zone.values == {"hour": "8"}
    assert by_zone.keys == {"hour": ("timezone",)}


@pytest.mark.parametrize(
    "given",
    [
        {"device": None},
        {"device": ""},
        {"device": {"kind": "phone"}},
        {"device": ["phone"]},
        {"device": True},
        {"weekday": "someday"},
        {"weekday": 0},
        {"weekday": 8},
        {"hour": 24},
        {"hour": -1},
        {"hour": "noon"},
        {"hour": float("nan")},
        {"device": float("nan")},
        {"device": float("inf")},
        {"device": 10**5000},
        {"zone": "Mars/Olympus"},
        {"zone": 7},
    ],
)
def test_what_cannot_be_read_is_no_value(given: dict[str, Any]) -> None:
    plain = situation_of({}, FIELDS, t_us=SUNDAY_US, zone="UTC")
    assert situation_of(given, FIELDS, t_us=SUNDAY_US, zone="UTC").values == plain.values


def test_a_field_of_ones_own_is_a_key_of_the_context() -> None:
    found = situation_of({"Store Type": "Kiosk"}, ("store_type",), t_us=0, zone="UTC")
    assert found.values == {"store_type": "kiosk"}


def test_a_frame_of_events_says_what_each_request_would() -> None:
    contexts: list[dict[str, Any] | None] = [
        {"device": "Phone", "store_id": 31},
        {"hour": 5, "country": "FR", "store_id": None},
        None,
        {"zone": "Asia/Tokyo", "weekday": "tue"},
        {"device": 7.0, "hour": "25"},
    ]
    frame = pl.DataFrame(
        {
            "user_id": ["a", "a", "far", "far", "b"],
            "t_us": [SUNDAY_US] * 5,
            "channel": [None, "Mail", None, None, "ad"],
            "context": [None if c is None else json.dumps(c) for c in contexts],
        }
    )
    users = pl.DataFrame(
        {"user_id": ["far", "b"], "attributes": ['{"time_zone": "Asia/Shanghai"}', '{"zone": "x"}']}
    )
    made = situations(frame, FIELDS, zone="UTC", users=users)
    zones = ["UTC", "UTC", "Asia/Shanghai", "Asia/Shanghai", "UTC"]
    for n, row in enumerate(made.to_dicts()):
        given = dict(contexts[n] or {})
        if (channel := frame["channel"][n]) is not None:
            given["channel"] = channel
        one = situation_of(given, FIELDS, t_us=SUNDAY_US, zone=zones[n]).values
        assert {k.removeprefix("situation."): v for k, v in row.items() if v is not None} == one


def test_an_event_without_a_time_has_no_hour() -> None:
    frame = pl.DataFrame(
        {"user_id": ["a"], "t_us": [None], "channel": [None], "context": [None]},
        schema={
            "user_id": pl.String, "t_us": pl.Int64, "channel": pl.String, "context": pl.String,
        },
    )  # fmt: skip
    made = situations(frame, FIELDS, zone="UTC")
    assert made.null_count().row(0) == (1,) * 5
    assert situations(frame.clear(), FIELDS, zone="UTC").height == 0


def test_the_zone_of_a_person_is_an_attribute() -> None:
    assert zone_of({"age": 3, "Time-Zone": "Asia/Tokyo"}) == "Asia/Tokyo"
    assert zone_of({"zone": "nowhere", "tz": 5}) is None


def test_a_misspelt_key_is_told_the_nearest() -> None:
    assert nearest_keys(["devise", "wekday", "zzz", "device"], ["device", "weekday"]) == {
        "devise": "device",
        "wekday": "weekday",
    }


def test_a_huge_value_is_cut_and_a_wild_key_is_no_key() -> None:
    found = situation_of({"device": "x" * 1_000_000}, ("device",), t_us=0, zone="UTC")
    assert len(found.values["device"]) == 100
    wild = {"device'": "a", "device\\": "b", "de\nvice": "c", "device']": "d", "device": "phone"}
    frame = pl.DataFrame(
        {
            "user_id": ["a", "b"],
            "t_us": [0, 0],
            "channel": [None, None],
            "context": [json.dumps(wild), json.dumps({"device": "y" * 200_000})],
        },
        schema_overrides={"channel": pl.String},
    )
    made = situations(frame, ("device",), zone="UTC")["situation.device"].to_list()
    assert made == ["phone", "y" * 100]

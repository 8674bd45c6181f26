"""The scenario: everything that is wrong is said at once, with the nearest valid name."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifeloop.config import Models, Recommend, Scenario, scenario_names
from lifeloop.errors import ConfigError


@pytest.mark.parametrize("name", scenario_names())
def test_every_scenario_that_ships_loads_and_round_trips(name: str) -> None:
    scenario = Scenario.load(name)
    again = Scenario.load(scenario.model_dump(mode="json"))
    assert again == scenario
    assert again.hash == scenario.hash


def test_all_problems_are_told_at_once_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError) as refused:
        Scenario.load(
            {
                "extends": "media",
                "stages": {"join": ["sign_up"], "loyal_orders": 0},
                "evnts": {},
                "locale": {"zone": "Europe/Berln", "currency": "EURO"},
                "events": {"play": {"wieght": 3}},
            }
        )
    text = str(refused.value)
    for told in ("'joins'", "'events'", "'Europe/Berlin'", "'weight'", "loyal_orders", "currency"):
        assert told in text
    assert len(refused.value.problems) == 6


@given(st.text(min_size=1).filter(lambda s: s not in Recommend.model_fields))
def test_no_unknown_key_is_ever_ignored(key: str) -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        Scenario.load({"extends": "ecommerce", "recommend": {key: 1}})


def test_a_stage_rule_must_name_an_event_type_that_exists() -> None:
    with pytest.raises(ConfigError, match=r"stages.joins names 'sign_upp'.*'sign_up'"):
        Scenario.load({"extends": "ecommerce", "stages": {"joins": ["sign_upp"]}})


def test_an_overlay_changes_only_what_it_names() -> None:
    base = Scenario.load("ecommerce")
    changed = Scenario.load(
        {"extends": "ecommerce", "events": {"purchase": {"weight": 9.0}, "wish": {"weight": 2}}}
    )
    assert changed.events["purchase"].order is True
    assert changed.events["purchase"].weight == 9.0
    assert changed.events["wish"].weight == 2.0
    assert changed.events["view"] == base.events["view"]
    assert changed.hash != base.hash


def test_broken_toml_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "lifeloop.toml"
    path.write_text("name = 'x'\n[locale\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="line 2"):
        Scenario.load(path)


def test_an_unknown_scenario_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'ecommerce'"):
        Scenario.load("ecomerce")


@pytest.mark.parametrize("value", [float("nan"), -1.0, "many"])
def test_a_setting_that_is_no_usable_number_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"models\.ease_lambda"):
        Scenario.load({"extends": "media", "models": {"ease_lambda": value}})
    assert Models().ease_lambda == 100.0

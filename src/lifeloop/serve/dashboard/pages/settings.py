"""The scenario: every setting with its meaning, and a place to check another one."""

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from lifeloop.config import Scenario, scenario_names
from lifeloop.errors import ConfigError
from lifeloop.home import SETTINGS_FILE
from lifeloop.serve.dashboard.view import Pages, View

pages = Pages()

SECRET = ("url",)
"""Settings that may hold a password; only whether they are set is shown."""


@pages.get("/dashboard/settings")
def settings(view: View) -> Response:
    """Show the scenario."""
    return _page(view, given=None, problems=None, differs=None)


@pages.post("/dashboard/settings")
def check(view: View) -> Response:
    """Check a scenario as text; nothing is stored."""
    text = view.form.get("text", "")
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return _page(view, given=text, problems=[f"TOML: {error}"], differs=None)
    try:
        scenario = Scenario.load(raw)
    except ConfigError as error:
        return _page(view, given=text, problems=list(error.problems), differs=None)
    now = dict(_flat(view.service.loop.scenario.model_dump(mode="json")))
    then = dict(_flat(scenario.model_dump(mode="json")))
    differs = [
        (name, now.get(name), then.get(name))
        for name in sorted({*now, *then})
        if now.get(name) != then.get(name) and name not in SECRET
    ]
    return _page(view, given=text, problems=[], differs=differs)


def _page(
    view: View,
    *,
    given: str | None,
    problems: list[str] | None,
    differs: list[tuple[str, Any, Any]] | None,
) -> Response:
    scenario = view.service.loop.scenario
    base = _base(scenario)
    return view.show(
        "settings.html",
        status=422 if problems else 200,
        scenario=scenario,
        sections=[
            (name, list(_rows(getattr(scenario, name), base.get(name) or {})))
            for name, info in Scenario.model_fields.items()
            if isinstance(getattr(scenario, name), BaseModel)
        ],
        events=scenario.events,
        base_events=base.get("events") or {},
        text=given if given is not None else _file(view),
        given=given is not None,
        problems=problems,
        differs=differs,
        names=scenario_names(),
    )


def _base(scenario: Scenario) -> Mapping[str, Any]:
    """Return what the settings would be, were nothing said: those of the scenario extended."""
    if scenario.extends in scenario_names():
        told: dict[str, Any] = Scenario.load(str(scenario.extends)).model_dump(mode="json")
        return told
    return {}


def _rows(section: Any, base: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    values = section.model_dump(mode="json")
    for name, info in type(section).model_fields.items():
        usual = base.get(name, info.get_default(call_default_factory=True))
        usual = list(usual) if isinstance(usual, tuple) else usual
        yield {
            "name": name,
            "value": _text(values[name]),
            "own": _text(values[name]) != _text(usual),
            "help": info.description or "",
        }


def _flat(told: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in told.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{at}{name}.")
        else:
            yield f"{at}{name}", _text(value)


def _text(value: Any) -> str:
    if value is None or value == "" or value in ([], {}):
        return "–"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{k} = {v}" for k, v in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)


def _file(view: View) -> str:
    path = view.service.loop.home / SETTINGS_FILE
    if not path.is_file():
        return ""
    lines = path.read_text("utf-8", "replace").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith(SECRET))

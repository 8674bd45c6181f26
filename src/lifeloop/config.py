"""The scenario: what the events of one business mean, declared in TOML and checked at load.

Unknown keys are refused with the nearest valid name; every problem is reported at once.
"""

import difflib
import hashlib
import json
import tomllib
import types
import typing
import zoneinfo
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lifeloop.cleaning_settings import Clean, Intake
from lifeloop.errors import ConfigError
from lifeloop.media_settings import MediaEncoding
from lifeloop.text_settings import TextEncoding, checked_name

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
ProductStage = Literal["acquisition", "activation", "retention", "conversion", "loyalty"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Locale(_Strict):
    """Where the tenant lives."""

    currency: str = Field("USD", min_length=3, max_length=3, description="ISO 4217 code")
    zone: str = Field("UTC", description="IANA time zone of days and weeks")
    week_start: Weekday = Field("monday", description="first day of the week")
    language: Literal["en", "zh"] = Field("en", description="language of reasons and messages")

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        if zone not in zoneinfo.available_timezones():
            near = difflib.get_close_matches(zone, zoneinfo.available_timezones(), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{zone!r} is not an IANA time zone{hint}")
        return zone


class Timing(_Strict):
    """How time is read."""

    as_of: Literal["auto", "now", "data_end"] = Field(
        "auto",
        description="the default moment of analysis: now, the end of the last local day with "
        "events, or auto (data_end once nothing has arrived for stale_after_days)",
    )
    stale_after_days: float = Field(2.0, gt=0, description="see as_of = auto")
    burn_in_days: int = Field(28, ge=0, description="users first seen this early are 'existing'")
    lateness_hours: float = Field(72.0, ge=0, description="a period is complete this long after")
    session_gap_minutes: float = Field(30.0, gt=0, description="inactivity that opens a session")
    period_days: int = Field(14, ge=1, description="the one period H of value and outcomes")


class EventType(_Strict):
    """What one type of event means."""

    weight: float = Field(1.0, ge=0, description="evidence of liking, for the models")
    activity: bool = Field(True, description="counts as the user being active")
    order: bool = Field(False, description="an order line: value is money, order_id names it")
    refund: bool = Field(False, description="takes money back from the order it names")
    rating_from: float | None = Field(
        None, description="ratings below this are history but not evidence of liking"
    )
    verb: str = Field("", description="past tense for reasons: 'you bought'")


class Stages(_Strict):
    """What moves a user from stage to stage (spec/lifecycle.md section 2)."""

    joins: tuple[str, ...] = Field((), description="event types that are joining (sign-up)")
    activates: tuple[str, ...] = Field((), description="the key actions")
    activate_times: int = Field(1, ge=1, description="how many key actions reach retention")
    activate_within_days: int = Field(14, ge=1, description="window W of the activation rate")
    ends: tuple[str, ...] = Field(
        (), description="event types that end a contract: churned from that day until active again"
    )
    loyal_orders: int = Field(3, ge=1, description="orders that make a user loyal")
    active_within_days: int = Field(29, ge=1, description="a loyal user's longest silence")
    at_risk_gap_days: int = Field(21, ge=1, description="silence at risk, under 5 gaps known")
    churned_gap_days: int = Field(30, ge=1, description="silence that is churn")
    resurrected_days: int = Field(7, ge=1, description="how long 'resurrected' is shown")


class Recommend(_Strict):
    """What may be recommended, and how it is chosen."""

    repeat_window_days: float | None = Field(
        None, ge=0, description="days before a consumed item may return; null: never"
    )
    repeat_window_by_kind: dict[str, float] = Field(
        default_factory=dict, description="the same per item kind or category"
    )
    consumes: tuple[str, ...] = Field((), description="event types that use an item up")
    history_limit: int = Field(500, ge=1, description="newest events folded into a request")
    candidates: int = Field(200, ge=1, description="candidates per retriever")
    temperature: float = Field(0.0, ge=0, description="softmax temperature; 0 is greedy")
    diversity: float = Field(0.0, ge=0, description="MMR penalty λ on similarity in the slate")
    log_candidates: int = Field(200, ge=1, description="candidates kept in the decision log")


class Models(_Strict):
    """What is trained."""

    ease_items: int = Field(5000, ge=1, description="EASE covers this many most-used items")
    ease_lambda: float = Field(100.0, gt=0, description="ridge of EASE")
    knn_neighbours: int = Field(100, ge=1, description="neighbours kept per item")
    popularity_half_life_days: float = Field(28.0, gt=0, description="recency of popularity")
    text_encoder: str = Field(
        "auto",
        description="auto (what is installed and can read the catalogue), tfidf, e5, minilm, hash, "
        "none, a model folder, st:NAME, hf:NAME, https://…/v1, or a file of word vectors",
    )
    text: TextEncoding = TextEncoding()
    media: MediaEncoding = MediaEncoding()
    context: tuple[str, ...] = Field(
        ("hour", "weekday", "device", "place", "channel"),
        description="what of a situation may change a slate: these, or any key of the context of "
        "events and requests; each counts where it helps on the validation slice",
    )
    ranker: Literal["linear", "trees", "tree", "logistic"] = Field(
        "linear",
        description="what orders the candidates; trees: LightGBM (training takes minutes); "
        "tree: one tree that can be read; logistic: a weighted sum of features; each of them only "
        "where it beats the linear blend out of fold",
    )
    tuning_trials: int = Field(
        0,
        ge=0,
        description="settings of each part of the blend that Optuna tries on the validation slice "
        "(extra [train]); what is found is kept in the bundle and by a refresh; 0: none",
    )
    tuning_seconds: float | None = Field(
        None, gt=0, description="no trial of a part is begun after so long; null: all are made"
    )
    ratings: Literal["als", "bayesian"] = Field(
        "als",
        description="how ratings are predicted: als (seconds), or bayesian (a mean over sampled "
        "factorisations; nearer to the truth, minutes for a million ratings)",
    )
    networks: tuple[Literal["sasrec", "ncf", "two_tower", "rating_network"], ...] = Field(
        (),
        description="networks added to the blend (extra [train]): sasrec, ncf, two_tower, "
        "rating_network; each is trained once per validation slice and once for all, which takes "
        "minutes to hours, and counts where it helps",
    )
    network_seconds: float | None = Field(
        None,
        gt=0,
        description="one training of sasrec ends with the round in which so long has passed (there "
        "is one per validation slice and one for all); null: when validation gains no more",
    )
    ranker_codes: int = Field(
        0,
        ge=0,
        le=8,
        description="levels of semantic codes of item vectors that the trees are told, beside what "
        "the retrievers know of the very item (docs/media.md); 0: none",
    )
    seed: int = Field(0, ge=0, description="seed of everything random")

    @field_validator("networks")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names):
            raise ValueError("names a network twice")
        return names

    @field_validator("text_encoder")
    @classmethod
    def _an_encoder(cls, name: str) -> str:
        return checked_name(name)


class Value(_Strict):
    """What money to come is worth (docs/value.md)."""

    horizon_days: int = Field(364, ge=1, description="days to come that a value counts")
    discount: float = Field(0.10, ge=0, description="yearly rate at which later money counts less")
    margin: float = Field(1.0, gt=0, description="share of net revenue that is margin")


class Storage(_Strict):
    """Where history is kept."""

    lake: str = Field(
        "lake", description="folder (in the project) or fsspec URL of the Parquet lake"
    )
    keep_events_days: int | None = Field(
        None,
        ge=1,
        description="older events are removed by `lifeloop retain`; null: kept",
    )
    keep_decisions_days: int | None = Field(
        None, ge=1, description="the same for the log of decisions (slates and propensities)"
    )
    keep_quarantine_days: int | None = Field(
        None, ge=1, description="the same for refused rows, by the day they came"
    )
    keep_audit_days: int | None = Field(
        None, ge=1, description="the same for the audits: refused links, repaired rows"
    )


class Scenario(_Strict):
    """One business, as data. See ``Scenario.load``."""

    name: str
    extends: str | None = None
    url: str | None = Field(None, description="database URL; default lifeloop.db beside the file")
    locale: Locale = Locale()
    time: Timing = Timing()
    events: dict[str, EventType] = Field(default_factory=dict)
    stages: Stages = Stages()
    recommend: Recommend = Recommend()
    models: Models = Models()
    intake: Intake = Intake()
    clean: Clean = Clean()
    storage: Storage = Storage()
    value: Value = Value()

    @model_validator(mode="after")
    def _names_known_events(self) -> "Scenario":
        problems = []
        named = {
            "stages.joins": self.stages.joins,
            "stages.activates": self.stages.activates,
            "stages.ends": self.stages.ends,
            "recommend.consumes": self.recommend.consumes,
        }
        for key, types_ in named.items():
            for name in types_:
                if name not in self.events:
                    problems.append(
                        f"{key} names {name!r}, which is not in [events]{_near(name, self.events)}"
                    )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def order_types(self) -> tuple[str, ...]:
        """Event types that are order lines."""
        return tuple(name for name, spec in self.events.items() if spec.order)

    @property
    def refund_types(self) -> tuple[str, ...]:
        """Event types that are refunds."""
        return tuple(name for name, spec in self.events.items() if spec.refund)

    @property
    def passive_types(self) -> tuple[str, ...]:
        """Event types that do not count as activity."""
        return tuple(name for name, spec in self.events.items() if not spec.activity)

    @property
    def hash(self) -> str:
        """Short content hash, stored with every bundle."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.blake2b(canonical.encode(), digest_size=8).hexdigest()

    @classmethod
    def load(cls, source: "str | Path | Mapping[str, Any] | Scenario") -> "Scenario":
        """Return the scenario named (``"ecommerce"``), in a TOML file, or given as a mapping.

        A file or mapping may say ``extends = "ecommerce"`` and change only what differs.

        Raises
        ------
        ConfigError
            With every problem found and the nearest valid name for each unknown key.
        """
        if isinstance(source, Scenario):
            return source
        if isinstance(source, Mapping):
            return cls._checked(dict(source), "scenario")
        if isinstance(source, str) and source in scenario_names():
            text = (
                resources.files("lifeloop.scenarios").joinpath(f"{source}.toml").read_text("utf-8")
            )
            return cls._checked(_toml(text, source), source)
        path = Path(source)
        if not path.is_file():
            names = ", ".join(scenario_names())
            raise ConfigError(
                "scenario not found",
                [
                    f"{str(source)!r} is neither a file nor one of {names}"
                    + _near(str(source), scenario_names())
                ],
            )
        return cls._checked(_toml(path.read_text("utf-8"), str(path)), str(path))

    @classmethod
    def _checked(cls, raw: dict[str, Any], where: str) -> "Scenario":
        base = raw.get("extends")
        if base is not None:
            raw = _overlaid(cls.load(str(base)).model_dump(mode="json"), raw)
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise ConfigError(f"{where} was refused", _problems(error)) from None


def scenario_names() -> list[str]:
    """Return the names of the scenarios that ship with lifeloop."""
    folder = resources.files("lifeloop.scenarios")
    return sorted(
        p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml")
    )


def _toml(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} is not valid TOML", [str(error)]) from None


def _overlaid(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = (
            _overlaid(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return merged


def _problems(error: ValidationError) -> list[str]:
    problems = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"]) or "scenario"
        if fault["type"] == "extra_forbidden":
            near = _near(str(fault["loc"][-1]), _fields_at(fault["loc"][:-1]))
            problems.append(f"unknown key {where!r}{near}")
        else:
            got = "" if isinstance(fault["input"], dict) else f" (got {fault['input']!r})"
            problems.append(f"{where}: {fault['msg'].removeprefix('Value error, ')}{got}")
    return problems


def _fields_at(path: tuple[int | str, ...]) -> list[str]:
    model: Any = Scenario
    for part in path:
        if isinstance(model, type) and issubclass(model, BaseModel):
            info = model.model_fields.get(str(part))
            model = info.annotation if info else None
        elif typing.get_origin(model) is dict:
            model = typing.get_args(model)[1]
        if isinstance(model, types.UnionType):
            model = next(a for a in typing.get_args(model) if a is not type(None))
    if isinstance(model, type) and issubclass(model, BaseModel):
        return list(model.model_fields)
    return []


def _near(name: str, names: Any) -> str:
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""

"""One record from a JSON-like mapping: every problem of it told at once."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

from lifeloop.errors import InputError
from lifeloop.events.fields import Kind, consent_purpose, field_of
from lifeloop.events.ids import id_problem
from lifeloop.events.numbers import parse_number
from lifeloop.events.problems import REASONS, refusal
from lifeloop.events.records import Event, Item, User
from lifeloop.events.time import LATEST_US, parse_time

_EVENT_TEXTS = (
    "currency",
    "order_id",
    "line_id",
    "text",
    "session_id",
    "request_id",
    "channel",
    "referrer_id",
    "event_id",
)
_ITEM_TEXTS = (
    "title",
    "description",
    "brand",
    "url",
    "image",
    "audio",
    "parent_id",
    "kind",
    "language",
    "provider_id",
)
TRUE = ("true", "yes", "y", "t", "1")
FALSE = ("false", "no", "n", "f", "0")
WIDEST_POSITION = 2**31 - 1


def parse_event(raw: Event | Mapping[str, Any], *, zone: str = "UTC") -> Event:
    """Return one event, checked; keys may be the synonyms that files use.

    Parameters
    ----------
    raw : Event or mapping
        ``user_id`` or ``anonymous_id``, ``type``, ``occurred_at`` (any form of ``parse_time``)
        or ``occurred_us``, and the other fields of ``Event``. Keys that are not ours are kept in
        ``context``.
    zone : str
        IANA zone of times that carry none.

    Raises
    ------
    InputError
        ``problems`` lists all of them, ``reason`` is the first one's word.

    Examples
    --------
    >>> event = parse_event({"userId": 7, "event": "view", "item_id": "tea", "device": "phone"})
    >>> event.user_id, event.type, event.context
    ('7', 'view', {'device': 'phone'})
    """
    row = _Row(_of_event(raw) if isinstance(raw, Event) else raw, "event")
    user_id = row.identifier("user_id", person=True)
    anonymous_id = row.identifier("anonymous_id", person=True)
    if user_id is None and anonymous_id is None and not row.broken("user_id", "anonymous_id"):
        row.refuse("missing_user_id", "user_id", None)
    kind = row.text("type")
    if kind is None or not kind.strip():
        row.refuse("missing_type", "type", kind)
    quantity = row.number("quantity")
    value = row.number("value")
    unit_price = row.number("unit_price")
    if unit_price is not None:
        row.extras.setdefault("unit_price", unit_price)
        if value is None and quantity is not None:
            value = round(unit_price * quantity, 6)
    event = Event(
        type=(kind or "").strip(),
        user_id=user_id,
        anonymous_id=anonymous_id,
        occurred_us=row.time("occurred_at", zone),
        sent_us=row.time("sent_at", zone),
        item_id=row.identifier("item_id", person=False),
        value=value,
        quantity=quantity,
        rating=row.number("rating"),
        position=row.position("position"),
        is_bot=row.flag("is_bot"),
        context=row.object("context"),
        **{name: row.text(name) for name in _EVENT_TEXTS},
    )
    row.raise_problems()
    return replace(event, source=raw.source) if isinstance(raw, Event) else event


def parse_item(raw: Item | Mapping[str, Any], *, zone: str = "UTC") -> Item:
    """Return one item, checked; keys that are not ours are kept in ``attributes``.

    Raises ``InputError`` like ``parse_event``.
    """
    row = _Row(_of_item(raw) if isinstance(raw, Item) else raw, "item")
    item_id = row.identifier("item_id", person=False)
    if item_id is None and not row.broken("item_id"):
        row.refuse("missing_item_id", "item_id", None)
    texts: dict[str, Any] = {name: row.text(name) for name in _ITEM_TEXTS}
    numbers: dict[str, Any] = {
        name: row.number(name) for name in ("price", "cost", "list_price", "stock")
    }
    item = Item(
        item_id=item_id or "",
        categories=split_categories(row.fields.get("categories")),
        available_from_us=row.time("available_from", zone),
        available_until_us=row.time("available_until", zone),
        attributes=row.object("attributes"),
        **texts,
        **numbers,
    )
    row.raise_problems()
    return item


def parse_user(raw: User | Mapping[str, Any], *, zone: str = "UTC") -> User:
    """Return one user, checked; keys that are not ours are kept in ``attributes``.

    Raises ``InputError`` like ``parse_event``.
    """
    row = _Row(_of_user(raw) if isinstance(raw, User) else raw, "user")
    user_id = row.identifier("user_id", person=True)
    if user_id is None and not row.broken("user_id"):
        row.refuse("missing_user_id", "user_id", None)
    consent = row.consent()
    user = User(
        user_id=user_id or "",
        created_us=row.time("created_at", zone),
        channel=row.text("channel"),
        consent=consent,
        attributes=row.object("attributes"),
    )
    row.raise_problems()
    return user


def split_categories(value: Any) -> tuple[str, ...]:
    """Return categories from a list, a JSON list or a text separated by ``|``, ``>`` or ``;``.

    Examples
    --------
    >>> split_categories("Animation|Children's"), split_categories('["tea", "green"]')
    (('Animation', "Children's"), ('tea', 'green'))
    """
    if value is None:
        return ()
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("[") and text.endswith("]"):
            try:
                return split_categories(json.loads(text))
            except json.JSONDecodeError:
                pass
        mark = next((m for m in "|>;" if m in text), None)
        value = text.split(mark) if mark else [text]
    if not isinstance(value, list | tuple):
        value = [value]
    parts = (str(part).strip() for part in value if part is not None)
    return tuple(dict.fromkeys(part for part in parts if part))


def as_text(value: Any) -> str | None:
    """Return a JSON value as the text it stands for: 7 -> "7", True -> "true", [1] -> "[1]"."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return str(value)


class _Row:
    """One mapping taken apart into our fields and the rest, gathering problems on the way."""

    def __init__(self, raw: Mapping[str, Any], kind: Kind) -> None:
        if not isinstance(raw, Mapping):
            raise refusal(
                InputError(f"one {kind} must be a mapping", got=raw, allowed="a JSON object"),
                "bad_json",
            )
        self.kind = kind
        self.fields: dict[str, Any] = {}
        self.extras: dict[str, Any] = {}
        self._problems: list[tuple[str, str]] = []
        self._broken: set[str] = set()
        self._exact: set[str] = set()
        self._take(raw)

    def _take(self, raw: Mapping[str, Any]) -> None:
        ranks: dict[str, tuple[int, str]] = {}
        for key, value in raw.items():
            found = field_of(str(key), self.kind)
            if found is None or value is None:
                if value is not None:
                    self.extras[str(key)] = value
                continue
            ours, rank = found
            if ours in ranks and ranks[ours][0] <= rank:
                self.extras[str(key)] = value
                continue
            if ours in ranks:
                self.extras[ranks[ours][1]] = self.fields[ours]
            ranks[ours] = rank, str(key)
            self.fields[ours] = value
            if str(key).endswith("_us"):  # microseconds by name, whatever their size
                self._exact.add(ours)

    def refuse(self, reason: str, name: str, value: Any) -> None:
        """Note one problem."""
        self._broken.add(name)
        got = "" if value is None else f" (got {_shown(value)})"
        self._problems.append((reason, f"{name}: {REASONS[reason]}{got}"))

    def broken(self, *names: str) -> bool:
        """Return whether one of the fields already has a problem."""
        return any(name in self._broken for name in names)

    def raise_problems(self) -> None:
        """Raise everything noted."""
        if not self._problems:
            return
        listed = "; ".join(text for _, text in self._problems)
        error = InputError(f"the {self.kind} was refused: {listed}")
        raise refusal(error, self._problems[0][0], [text for _, text in self._problems])

    def text(self, name: str) -> str | None:
        value = as_text(self.fields.get(name))
        if value is not None and (why := _text_problem(value)):
            self.refuse(why, name, value)
        return value or None

    def identifier(self, name: str, *, person: bool) -> str | None:
        value = self.text(name)
        if value is None or not value.strip():
            return None
        if why := id_problem(value, person=person):
            self.refuse(why, name, value)
        return value

    def number(self, name: str) -> float | None:
        value = self.fields.get(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        if isinstance(value, str):
            read = parse_number(value)
            if isinstance(read, str):
                self.refuse(read, name, value)
                return None
            return read
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            self.refuse("bad_number", name, value)
            return None
        return number

    def position(self, name: str) -> int | None:
        number = self.number(name)
        if number is None:
            return None
        if not number.is_integer() or abs(number) > WIDEST_POSITION:
            self.refuse("bad_number", name, self.fields[name])
            return None
        return int(number)

    def flag(self, name: str) -> bool | None:
        value = self.fields.get(name)
        if value is None or isinstance(value, bool):
            return value
        word = (as_text(value) or "").strip().lower()
        if word in TRUE:
            return True
        if word not in (*FALSE, ""):
            self.refuse("bad_flag", name, value)
        return False if word in FALSE else None

    def time(self, name: str, zone: str) -> int | None:
        value = self.fields.get(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        if name in self._exact and isinstance(value, int):
            if 0 <= value < LATEST_US:
                return value
            self.refuse("bad_time", name, value)
            return None
        try:
            return parse_time(value, zone=zone)
        except InputError as error:
            why = vars(error).get("reason")
            if why is None:  # the zone itself is unknown
                raise
            self.refuse(why, name, value)
            return None

    def object(self, name: str) -> dict[str, Any]:
        """Return the JSON object of a field together with the keys that are not ours."""
        value = self.fields.get(name)
        if isinstance(value, str) and value.strip():
            try:
                value = json.loads(value)
            except json.JSONDecodeError:
                self.refuse("bad_json", name, value)
                return {}
        if not value:
            value = {}
        if not isinstance(value, Mapping):
            self.refuse("bad_json", name, value)
            return {}
        whole = {**self.extras, **value}
        if why := next(filter(None, map(_text_problem, _texts(whole))), None):
            self.refuse(why, name, whole)
        if not _finite(whole):
            self.refuse("bad_number", name, whole)
        return whole

    def consent(self) -> dict[str, Any]:
        """Return consent flags, from an object or from keys such as ``consent_ads``."""
        flags: dict[str, Any] = {}
        for key in [k for k in self.extras if consent_purpose(k)]:
            self.fields[key] = self.extras.pop(key)
            flags[cast(str, consent_purpose(key))] = self.flag(key)
        value = self.fields.get("consent")
        if isinstance(value, bool) or (
            isinstance(value, str) and value.strip()[:1] not in ("{", "")
        ):
            given = self.flag("consent")
            return {**flags, **({} if given is None else {"personalisation": given})}
        kept, self.extras = self.extras, {}
        flags = {**flags, **self.object("consent")}
        self.extras = kept
        return flags


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _text_problem(text: str) -> str | None:
    if "\0" in text:
        return "nul_character"
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can write and no text holds
        return "bad_encoding"
    return None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, held in value.items():
            yield from _texts(key)
            yield from _texts(held)
    elif isinstance(value, list | tuple):
        for held in value:
            yield from _texts(held)


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    return not isinstance(value, list | tuple) or all(map(_finite, value))


def _of_event(event: Event) -> dict[str, Any]:
    raw = {name: getattr(event, name) for name in Event.__slots__}
    raw.pop("source")
    return raw


def _of_item(item: Item) -> dict[str, Any]:
    return {name: getattr(item, name) for name in Item.__slots__}


def _of_user(user: User) -> dict[str, Any]:
    return {name: getattr(user, name) for name in User.__slots__}

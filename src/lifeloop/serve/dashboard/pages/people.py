"""One person: their life so far, where they stand and why, what they would be shown, what if."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import numpy as np
import polars as pl
from starlette.responses import RedirectResponse, Response

from lifeloop.contracts import UNTIMED, History
from lifeloop.errors import UnknownId
from lifeloop.lifecycle import StageDefinitions
from lifeloop.lifecycle.calendar import date_of, days_of
from lifeloop.serve.dashboard import preview as previews
from lifeloop.serve.dashboard.advice import advice
from lifeloop.serve.dashboard.sparks import bars, parts
from lifeloop.serve.dashboard.view import Pages, View
from lifeloop.tables import Source, moves_of

pages = Pages()

FOUND = 50
K = 10
DAYS_SHOWN = 25
EVENTS_OFFERED = 15
MOST_BARS = 104


@pages.get("/dashboard/users")
def users(view: View) -> Response:
    """Find a person by their id, or a part of it."""
    wanted = view.asked("q").strip()
    store = view.service.loop.store
    if wanted and view.asked("exact") == "1" and len(store.histories([wanted])[0]):
        return RedirectResponse(f"/dashboard/users/{quote(wanted, safe='')}", status_code=303)
    known = view.desk.made(("people",), _people)
    found = known
    if wanted:
        same = known == wanted
        near = known.str.contains(wanted, literal=True) & ~same
        found = pl.concat([known.filter(same), known.filter(near)])
    rows = view.desk.stages()
    listed = found.head(FOUND)
    placed = rows.filter(pl.col("user_id").is_in(listed.implode())) if not rows.is_empty() else rows
    by_id = {row["user_id"]: row for row in placed.iter_rows(named=True)}
    return view.show(
        "users.html",
        q=wanted,
        people=[{"user_id": i, **by_id.get(i, {})} for i in listed.to_list()],
        total=len(found),
        examples=_examples(rows),
    )


@pages.get("/dashboard/users/{user_id:id}")
def user(view: View) -> Response:
    """Show one person."""
    loop, user_id = view.service.loop, view.part("user_id")
    history = loop.store.histories([user_id])[0]
    (known,) = loop.store.users([user_id])
    if known is None and not len(history):
        raise UnknownId(view.t["user"]["unknown"], got=user_id, hint=view.t["user"]["unknown_next"])
    now = previews.preview(loop, history, k=K, language=view.lang)
    changed, told = _what_if(view, history)
    after = None if changed is None else previews.preview(loop, changed, k=K, language=view.lang)
    shown = after or now
    offered = _offered(history)
    titles = _titles(view, [history.item_id[n] for n in offered])
    days = _days(view, history)
    return view.show(
        "user.html",
        user_id=user_id,
        known=known,
        attributes={} if known is None else dict(known.attributes),
        n_events=len(history),
        now=now,
        shown=shown,
        after=after,
        told=told,
        before={item.item_id: item.rank for item in now.items},
        gone=[] if after is None else _gone(now, after),
        bars={item.item_id: _bar(item) for item in shown.items},
        part_class={name: f"k{n % 10}" for n, name in enumerate(shown.parts)},
        advice=advice(view, now),
        moves=_moves(view, history, now),
        days=days[:DAYS_SHOWN],
        more_days=max(len(days) - DAYS_SHOWN, 0),
        weeks=_weeks(view, history),
        offered=[_event(history, n, titles, view.zone) for n in offered],
        types=list(loop.scenario.events),
        form=view.request.query_params,
        aliases=loop.store.aliases(user_id),
    )


def _people(source: Source) -> pl.Series:
    return pl.concat([source.events["user_id"], source.users["user_id"]]).unique().sort()


def _examples(rows: pl.DataFrame) -> list[Mapping[str, Any]]:
    """Return one person of middle activity for every stage."""
    if rows.is_empty():
        return []
    found: list[Mapping[str, Any]] = []
    for (_,), part in rows.sort("orders", "user_id").group_by("stage", maintain_order=True):
        found.append(part.row(part.height // 2, named=True))
    return found


def _what_if(view: View, history: History) -> tuple[History | None, list[str]]:
    """Return the history as the address changes it, and what was changed, in words."""
    query, texts = view.request.query_params, view.t["user"]
    drop = {int(n) for n in query.getlist("drop") if n.isdecimal() and int(n) < len(history)}
    told = [
        texts["dropped"].format(type=history.type[n], item=history.item_id[n] or "")
        for n in sorted(drop)
    ]
    changed = previews.without(history, drop) if drop else history
    item, kind = (query.get("item") or "").strip(), (query.get("type") or "").strip()
    if kind and (item or query.get("add") == "1"):
        changed = previews.with_event(
            changed,
            type=kind,
            item_id=item or None,
            t_us=previews.at_end_us(view.service.loop),
            value=_number(query.get("value")),
        )
        told.append(texts["added"].format(type=kind, item=item))
    return (changed if told else None), told


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value is None or np.isfinite(value) else None


def _moves(view: View, history: History, now: previews.Preview) -> list[dict[str, Any]]:
    loop = view.service.loop
    at_us = previews.at_end_us(loop) + 1
    newest = int(history.t_us.max()) if len(history) else UNTIMED
    moves = moves_of(
        history,
        definitions=StageDefinitions.of(loop.scenario),
        zone=view.zone,
        as_of_us=max(at_us, newest + 1),
        predictions=loop.foretold.of(history.user_id),
    )
    return moves[::-1]


def _days(view: View, history: History) -> list[dict[str, Any]]:
    """Return the days on which something happened, newest first, with what and for how much."""
    timed = history.t_us != UNTIMED
    days = np.full(len(history), np.iinfo(np.int64).min)
    if timed.any():
        days[timed] = days_of(history.t_us[timed], view.zone)
    order = np.argsort(-days, kind="stable")
    found: dict[int, list[int]] = {}
    for n in order.tolist():
        found.setdefault(int(days[n]), []).append(n)
        if len(found) > DAYS_SHOWN + 400:
            break
    shown = list(found.items())
    wanted = [history.item_id[n] for _, places in shown[:DAYS_SHOWN] for n in places[:12]]
    titles = _titles(view, wanted)
    made = []
    for day, places in shown:
        kinds: dict[str, int] = {}
        for n in places:
            kinds[history.type[n]] = kinds.get(history.type[n], 0) + 1
        amounts = [float(history.value[n]) for n in places if not np.isnan(history.value[n])]
        items = list(dict.fromkeys(i for n in places if (i := history.item_id[n]) is not None))
        made.append(
            {
                "date": None if day == np.iinfo(np.int64).min else date_of(day).isoformat(),
                "kinds": kinds,
                "value": sum(amounts) if amounts else None,
                "items": [(i, titles.get(i) or i) for i in items[:6]],
                "more": max(len(items) - 6, 0),
                "bot": any(bool(history.is_bot[n]) for n in places),
            }
        )
    return made


def _weeks(view: View, history: History) -> list[dict[str, Any]]:
    """Return events per week from the first to the last, at most ``MOST_BARS`` weeks."""
    timed = history.t_us[history.t_us != UNTIMED]
    if not len(timed):
        return []
    days = days_of(timed, view.zone)
    first, last = int(days.min()), int(days.max())
    width = max(7, -(-(last - first + 1) // MOST_BARS))
    counts = np.bincount((days - first) // width, minlength=(last - first) // width + 1)
    rows = [
        {
            "n": int(n),
            "from": (date_of(first) + timedelta(days=k * width)).isoformat(),
        }
        for k, n in enumerate(counts.tolist())
    ]
    return bars(rows, height=56)


def _offered(history: History) -> list[int]:
    places = [n for n in range(len(history)) if history.item_id[n] is not None]
    return places[-EVENTS_OFFERED:][::-1]


def _event(history: History, n: int, titles: Mapping[str, str], zone: str) -> dict[str, Any]:
    t_us = int(history.t_us[n])
    day = None if t_us == UNTIMED else date_of(int(days_of(history.t_us[n : n + 1], zone)[0]))
    item = history.item_id[n]
    title = titles.get(item or "") or item
    return {"place": n, "type": history.type[n], "item": item, "title": title, "date": day}


def _titles(view: View, item_ids: Sequence[str | None]) -> dict[str, str]:
    wanted = list(dict.fromkeys(i for i in item_ids if i is not None))
    found = view.service.loop.store.items(wanted) if wanted else []
    return {item.item_id: item.title for item in found if item is not None and item.title}


def _bar(item: previews.Shown) -> list[Any]:
    positive = [(name, amount) for name, amount in item.terms if amount > 0]
    return parts(positive)


def _gone(now: previews.Preview, after: previews.Preview) -> list[previews.Shown]:
    kept = {item.item_id for item in after.items}
    return [item for item in now.items if item.item_id not in kept]

"""The data: what came in, what was refused and why, and repairing it."""

import json
from collections import Counter
from typing import Any

from starlette.responses import Response

from lifeloop.cleaning import REPORTS
from lifeloop.errors import InputError, UnknownId
from lifeloop.import_log import imports
from lifeloop.serve.dashboard.view import Pages, View

pages = Pages()

HOME = "/dashboard/quality"
ROWS, FIELDS = 50, 40
_KINDS = ("events", "items", "users")


@pages.get("/dashboard/quality")
def quality(view: View) -> Response:
    """Show what is stored, what was imported, and what waits in quarantine."""
    loop = view.service.loop
    counts, types = loop.store.counts(), loop.store.event_types()
    reason = view.asked("reason") or None
    rows = loop.store.quarantined(reason=reason, limit=ROWS)
    every = Counter(row.reason for row in loop.store.quarantined(limit=10_000))
    return view.show(
        "quality.html",
        counts=counts,
        types=sorted(types.items(), key=lambda pair: -pair[1]),
        known=loop.scenario.events,
        imports=imports(loop.store)[:20],
        cleaning=[report for kind in _KINDS if (report := _cleaning(view, kind))],
        rows=[{"row": row, "raw": _shown(row.raw)} for row in rows],
        reasons=every.most_common(),
        reason=reason,
        done=view.asked("done"),
        n=view.asked("n"),
    )


@pages.get("/dashboard/quality/{quarantine_id}")
def one(view: View) -> Response:
    """Show one refused row as a form."""
    row = _row(view)
    return view.show("repair.html", row=row, fields=_shown(row.raw), error=None)


@pages.post("/dashboard/quality/{quarantine_id}")
def repair(view: View) -> Response:
    """Store the row as it was edited; what is still refused stays, and says why."""
    row = _row(view)
    edited = {
        name.removeprefix("f."): value for name, value in view.form.items() if name.startswith("f.")
    }
    name = view.form.get("new_name", "").strip()
    if name:
        edited[name] = view.form.get("new_value", "")
    change = _typed(edited, row.raw)
    report = view.service.loop.retry_quarantine(
        edit=lambda other: change if other.quarantine_id == row.quarantine_id else None,
        who=view.session.account,
    )
    if report.rejected:
        why = ", ".join(reason.reason for reason in report.reasons)
        raw = {k: v for k, v in {**row.raw, **change}.items() if v != ""}
        return view.show("repair.html", status=422, row=row, fields=_shown(raw), error=why)
    return view.back(HOME, done="repaired", n=str(report.accepted + report.duplicate))


@pages.post("/dashboard/quarantine/retry")
def retry(view: View) -> Response:
    """Try every refused row again under the present settings."""
    report = view.service.loop.retry_quarantine(who=view.session.account)
    return view.back(HOME, done="retried", n=str(report.accepted + report.duplicate))


def _row(view: View) -> Any:
    text = view.part("quarantine_id")
    wanted = int(text) if text.isdecimal() and len(text) < 18 else -1
    for row in view.service.loop.store.quarantined():
        if row.quarantine_id == wanted:
            return row
    raise UnknownId(
        "there is no such row in quarantine", got=text, hint="it may be repaired already"
    )


def _shown(raw: Any) -> list[tuple[str, str]]:
    """Return fields as text; what is no text as JSON."""
    return [
        (str(k), v if isinstance(v, str) else json.dumps(v, ensure_ascii=False))
        for k, v in list(raw.items())[:FIELDS]
    ]


def _typed(edited: dict[str, str], before: Any) -> dict[str, Any]:
    """Return edited fields as what they were before: text stays text, the rest is JSON."""
    told: dict[str, Any] = {}
    for name, text in edited.items():
        old = before.get(name, "")
        if isinstance(old, str) or not text:
            told[name] = text
            continue
        try:
            told[name] = json.loads(text)
        except ValueError:
            if isinstance(old, dict | list):
                raise InputError(f"{name} is no JSON", got=text) from None
            told[name] = text
    return told


def _cleaning(view: View, kind: str) -> dict[str, Any] | None:
    path = view.service.loop.home / REPORTS / f"cleaning_{kind}.json"
    if not path.is_file():
        return None
    try:
        told: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except ValueError:
        return None
    return told

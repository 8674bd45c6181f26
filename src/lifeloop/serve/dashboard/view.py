"""One page asked for: who reads, in which language, and how its answer is made.

``Pages.get``, ``Pages.file`` and ``Pages.post`` register a function ``View -> Response``. It runs
on a thread of the desk; a page that takes longer than ``WAIT_S`` answers with a word that the log
is being read, and loads itself again. A file is itself or a problem, never a page: nobody is to
find one in what they saved.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Annotated, Any
from urllib.parse import urlencode

import anyio.to_thread
from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from lifeloop.charts.words import Words, words
from lifeloop.errors import ConfigError, InputError, LifeloopError, StoreError, UnknownId
from lifeloop.lifecycle.calendar import Grain, date_of, day_of
from lifeloop.serve import logs, signin
from lifeloop.serve.dashboard import formats
from lifeloop.serve.dashboard.desk import Desk
from lifeloop.serve.dashboard.filters import Filters
from lifeloop.serve.dashboard.render import page
from lifeloop.serve.dashboard.shell import NAV
from lifeloop.serve.dashboard.texts import language_of, texts
from lifeloop.serve.problems import Problem
from lifeloop.serve.route import service_of
from lifeloop.serve.service import Service

WAIT_S = 4.0
FILE_WAIT_S = 25.0
"""A file does not ask again by itself, so it is waited for longer."""

Build = Callable[["View"], Response]
Form = Annotated[dict[str, str], Depends(signin.form)]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What a page is given."""

    request: Request
    service: Service
    desk: Desk
    lang: str
    form: Mapping[str, str]

    @property
    def session(self) -> signin.Session:
        """Who is signed in."""
        return signin.signed_in(self.request)

    @property
    def t(self) -> dict[str, Any]:
        """Every text of the pages in the reader's language."""
        return texts(self.lang)

    @property
    def said(self) -> Words:
        """The words of tables and pictures in the reader's language."""
        return words(self.lang)

    @property
    def zone(self) -> str:
        """IANA zone of days."""
        return self.service.loop.scenario.locale.zone

    @property
    def currency(self) -> str:
        """Code of the scenario's currency."""
        return self.service.loop.scenario.locale.currency

    def filters(self, *, grain: Grain = "week") -> Filters:
        """Return the filters of the address. Raises ``InputError``."""
        return Filters.of(self.request.query_params, grain=grain)

    def asked(self, name: str, default: str = "") -> str:
        """Return one parameter of the address."""
        return str(self.request.query_params.get(name) or default)

    def number(self, name: str, default: int, *, most: int) -> int:
        """Return a whole number of the address, from 0 to ``most``; else the default."""
        text = self.asked(name)
        return min(int(text), most) if text.isdecimal() and len(text) < 10 else default

    def part(self, name: str) -> str:
        """Return one part of the path."""
        return str(self.request.path_params[name])

    def show(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """Return a page inside the frame that all pages share."""
        common = {
            "nav": NAV,
            "currency": self.currency,
            "zone": self.zone,
            "theme": theme_of(self.request),
            "project": self.service.loop.scenario.name,
            "here": self.here,
            "said": self.said,
            "reading": self._reading(),
        }
        return page(self.request, template, status=status, **(common | values))

    def back(self, path: str, **said: str) -> Response:
        """Return to a page after an action, which is told there once."""
        query = urlencode(said)
        return RedirectResponse(f"{path}?{query}" if query else path, status_code=303)

    @property
    def here(self) -> str:
        """The address of this page, filters included, without the language."""
        query = [(k, v) for k, v in self.request.query_params.multi_items() if k != "lang"]
        path = self.request.url.path
        return f"{path}?{urlencode(query)}&" if query else f"{path}?"

    def _reading(self) -> dict[str, Any] | None:
        held = self.desk.held
        if held is None:
            return None
        source = held.source
        last = source.moment.as_of_us - 1
        return {
            "events": source.events.height,
            "as_of": formats.moment(last, self.zone),
            "age_s": int(self.desk.age_s()),
            "last_day": last_day(source.moment.as_of_us, self.zone),
        }


def last_day(as_of_us: int, zone: str) -> date:
    """Return the last local day of an analysis."""
    return date_of(day_of(as_of_us - 1, zone))


def theme_of(request: Request) -> str:
    """Return the reader's choice: auto, light or dark."""
    chosen = request.cookies.get("lifeloop_theme")
    return chosen if chosen in ("light", "dark") else "auto"


class Pages:
    """A router whose functions are pages."""

    def __init__(self) -> None:
        self.router = APIRouter(include_in_schema=False)

    def get(self, path: str) -> Callable[[Build], Build]:
        """Register a page."""

        def register(build: Build) -> Build:
            async def answer(request: Request) -> Response:
                view = _view(request, {})
                made = await _worked(view, build, partial(_built, build, view), wait_s=WAIT_S)
                return made if made is not None else view.show("waiting.html", status=200)

            self.router.add_api_route(path, answer, methods=["GET"])
            return build

        return register

    def file(self, path: str) -> Callable[[Build], Build]:
        """Register what is fetched or saved; what is refused is problem+json."""

        def register(build: Build) -> Build:
            async def answer(request: Request) -> Response:
                view = _view(request, {})
                made = await _worked(view, build, partial(build, view), wait_s=FILE_WAIT_S)
                if made is None:
                    raise Problem(
                        503,
                        "the log is still being read",
                        hint="ask again as soon as Retry-After says",
                        headers={"retry-after": str(view.service.settings.retry_after_s)},
                    )
                return made

            self.router.add_api_route(path, answer, methods=["GET"])
            return build

        return register

    def post(self, path: str) -> Callable[[Build], Build]:
        """Register an action; the token of its form has been checked."""

        def register(build: Build) -> Build:
            async def answer(request: Request, fields: Form) -> Response:
                view = _view(request, fields)
                return await anyio.to_thread.run_sync(
                    partial(_built, build, view), limiter=view.desk.limiter
                )

            self.router.add_api_route(path, answer, methods=["POST"])
            return build

        return register


def _view(request: Request, form: Mapping[str, str]) -> View:
    service = service_of(request)
    lang = language_of(request, default=service.loop.scenario.locale.language)
    return View(request, service, request.app.state.desk, lang, form)


async def _worked(
    view: View, build: Build, make: Callable[[], Response], *, wait_s: float
) -> Response | None:
    request = view.request
    asked = request.url.path, request.url.query, view.lang, view.session.csrf
    key = (build.__module__, build.__name__, *asked, theme_of(request))
    return await view.desk.work(key, make, wait_s=wait_s)


def _built(build: Build, view: View) -> Response:
    """Make the page; what was refused is told on a page of its own, with the next step."""
    try:
        return build(view)
    except Problem as problem:
        status, title, hint = problem.status, problem.title, problem.hint
        if status < 400:
            raise
    except LifeloopError as error:
        status = next((s for kind, s in _STATUS if isinstance(error, kind)), 409)
        title, hint = str(error), getattr(error, "hint", None)
    except Exception as error:  # a page is answered by a page
        request_id = view.request.state.request_id
        logs.failure(error, request_id=request_id)
        words = view.t["refused"]
        status, title, hint = 500, words["failed"], words["failed_next"].format(id=request_id)
    return view.show("refused.html", status=status, title=title, hint=hint)


_STATUS: tuple[tuple[type[LifeloopError], int], ...] = (
    (UnknownId, 404),
    (StoreError, 503),
    (InputError, 422),
    (ConfigError, 422),
)

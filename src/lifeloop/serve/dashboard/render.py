"""From a template to a response, in the reader's language."""

from functools import cache
from typing import Any
from urllib.parse import quote

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context, select_autoescape
from jinja2.runtime import Context
from starlette.responses import HTMLResponse

from lifeloop.serve.dashboard import formats
from lifeloop.serve.dashboard.files import address
from lifeloop.serve.dashboard.texts import COOKIE, LANGUAGES, language_of, texts
from lifeloop.serve.route import service_of

_YEAR_S = 365 * 24 * 3600


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a rendered template.

    The template sees ``values``, ``t`` (the catalogue: ``t.login.title``), ``lang``,
    ``languages``, ``session`` (None before signing in) and ``path``. A language that the address
    asks for is remembered.
    """
    lang = language_of(request, default=service_of(request).loop.scenario.locale.language)
    shown = {
        "t": texts(lang),
        "lang": lang,
        "languages": LANGUAGES,
        "session": getattr(request.state, "session", None),
        "path": request.url.path,
        "currency": "",
        "theme": request.cookies.get("lifeloop_theme", "auto"),
        **values,
    }
    html = _environment().get_template(template).render(shown)
    answer = HTMLResponse(html, status_code=status, headers={"content-language": lang})
    if request.query_params.get("lang") == lang:
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, lang, max_age=_YEAR_S, samesite="lax", secure=secure)
    return answer


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("lifeloop.serve.dashboard"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["shown"] = _shown
    made.filters["short"] = _short
    made.filters["change"] = formats.change
    made.filters["percent"] = formats.percent
    made.filters["when"] = _when
    made.filters["id"] = _id
    made.globals["static"] = address
    return made


@pass_context
def _shown(context: Context, value: Any, kind: str = "number") -> str:
    return formats.shown(value, kind, lang=context["lang"], currency=context["currency"])


@pass_context
def _short(context: Context, value: Any, unit: str = "integer") -> str:
    return formats.short(value, unit, lang=context["lang"], currency=context["currency"])


def _id(value: object) -> str:
    """Return an id as one part of a path."""
    return quote(str(value), safe="")


@pass_context
def _when(context: Context, us: int | None) -> str:
    return formats.moment(us, context["zone"])

"""From a template to a response, in the reader's language."""

from functools import cache
from typing import Any

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse

from lifeloop.serve.dashboard.texts import LANGUAGES, language_of, texts
from lifeloop.serve.route import service_of


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a rendered template.

    The template sees ``values``, ``t`` (the catalogue: ``t.login.title``), ``lang``,
    ``languages``, ``session`` (None before signing in) and ``path``.
    """
    lang = language_of(request, default=service_of(request).loop.scenario.locale.language)
    shown = {
        "t": texts(lang),
        "lang": lang,
        "languages": LANGUAGES,
        "session": getattr(request.state, "session", None),
        "path": request.url.path,
        **values,
    }
    html = _environment().get_template(template).render(shown)
    return HTMLResponse(html, status_code=status, headers={"content-language": lang})


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("lifeloop.serve.dashboard"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

"""Every text of the pages, per language, from ``en.toml`` and ``zh.toml``."""

import tomllib
from functools import lru_cache
from importlib import resources
from typing import Any

from fastapi import Request

LANGUAGES = ("en", "zh")
COOKIE = "lifeloop_language"


def language_of(request: Request, *, default: str) -> str:
    """Return the reader's language: ``?lang=``, the cookie, what the browser asks, the default."""
    asked = [request.query_params.get("lang"), request.cookies.get(COOKIE)]
    header = request.headers.get("accept-language", "")
    asked += [part.split(";")[0].strip().lower()[:2] for part in header.split(",")]
    return next((lang for lang in asked if lang in LANGUAGES), default)


@lru_cache(maxsize=len(LANGUAGES))
def texts(lang: str) -> dict[str, Any]:
    """Return the catalogue of one language: tables of texts."""
    text = resources.files("lifeloop.serve.dashboard").joinpath(f"{lang}.toml").read_text("utf-8")
    return tomllib.loads(text)

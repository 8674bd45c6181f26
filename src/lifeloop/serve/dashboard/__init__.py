"""The pages for people: server-rendered, signed in, in English and Chinese.

``PAGES`` are the routers that ``create_app`` includes. A page asks for ``signed_in`` (who),
``Open`` (the service), ``form`` (a POST with the token of its session), and renders with
``page(request, "name.html", …)``, which knows the texts of the reader's language.
"""

from lifeloop.serve.dashboard.login import router as login
from lifeloop.serve.dashboard.render import page
from lifeloop.serve.dashboard.texts import LANGUAGES, language_of, texts

__all__ = ["LANGUAGES", "PAGES", "language_of", "login", "page", "texts"]

PAGES = (login,)

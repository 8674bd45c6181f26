"""The pages for people: server-rendered, signed in, in English and Chinese.

``PAGES`` are the routers that ``create_app`` includes. A page is a function ``View -> Response``
registered with ``Pages`` (``view.py``); it reads tables from the ``Desk`` of its process
(``desk.py``) and renders with ``View.show``, which knows the texts of the reader's language.
"""

from lifeloop.serve.dashboard.desk import Desk
from lifeloop.serve.dashboard.files import router as files
from lifeloop.serve.dashboard.login import router as login
from lifeloop.serve.dashboard.pages import ROUTERS
from lifeloop.serve.dashboard.render import page
from lifeloop.serve.dashboard.texts import LANGUAGES, language_of, texts

__all__ = [
    "LANGUAGES",
    "PAGES",
    "ROUTERS",
    "Desk",
    "files",
    "language_of",
    "login",
    "page",
    "texts",
]

PAGES = (login, files, *ROUTERS)

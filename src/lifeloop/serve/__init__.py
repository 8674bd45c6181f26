"""The service: REST over one open ``Lifeloop``, with keys, limits, metrics and a spool.

``create_app(loop)`` returns the ASGI application; ``lifeloop serve`` runs it in several
processes. See docs/serve.md.
"""

from lifeloop.serve.app import create_app
from lifeloop.serve.service import Service
from lifeloop.serve.settings import ServeSettings

__all__ = ["ServeSettings", "Service", "create_app"]

"""The service from Python: typed calls, one client that waits and one that is awaited.

>>> from lifeloop.client import Client, calls
>>> with Client("http://127.0.0.1:8321", key="ll_…") as client:      # doctest: +SKIP
...     client.ask(calls.send([{"user_id": "ada", "type": "view", "item_id": "tea"}]))
...     slate = client.ask(calls.recommend("ada", k=5))
"""

from lifeloop.client import calls
from lifeloop.client.answers import Job, Recommended, Removed, Row, Sent, Slate, Written, WrittenRow
from lifeloop.client.calls import Call
from lifeloop.client.clients import AsyncClient, Client
from lifeloop.client.retrying import Patience

__all__ = [
    "AsyncClient",
    "Call",
    "Client",
    "Job",
    "Patience",
    "Recommended",
    "Removed",
    "Row",
    "Sent",
    "Slate",
    "Written",
    "WrittenRow",
    "calls",
]

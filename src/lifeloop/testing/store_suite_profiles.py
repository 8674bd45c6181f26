"""The contract of a store about one person at a request: record and history in one read.

Subclass ``ProfileContract`` as ``StoreContract``, with a fixture ``store_url``.
"""

from collections.abc import Iterator
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import pytest

from lifeloop.contracts import History
from lifeloop.errors import InputError
from lifeloop.events.records import USER_SCHEMA, Event, User, frame_of
from lifeloop.store import open_store
from lifeloop.store.sql_store import SqlStore
from lifeloop.testing.store_suite import LINE, NOW, ODD_IDS, VIEW, event_rows


def plain(history: History) -> list[Any]:
    """Return a history as plain lists, NaN as None."""
    told: list[Any] = []
    for value in astuple(history):
        if isinstance(value, np.ndarray):
            numbers = [None if x != x else x for x in value.tolist()]
            told.append((str(value.dtype), numbers))
        else:
            told.append(value)
    return told


class ProfileContract:
    """What every store promises of ``profile``. Needs a fixture ``store_url``."""

    @pytest.fixture
    def store(self, store_url: str) -> Iterator[SqlStore]:
        """An empty, open store."""
        store = open_store(store_url)
        yield store
        store.close()

    def agrees(self, store: SqlStore, user_id: str) -> tuple[User | None, History]:
        """Return a profile, which says what ``users`` and ``histories`` say."""
        told = store.profile(user_id)
        user, history = told.user, told.history
        assert told.head == store.head()
        assert [user] == store.users([user_id])
        assert plain(history) == plain(store.histories([user_id])[0])
        return user, history

    def test_it_says_what_the_two_reads_say(self, store: SqlStore) -> None:
        ada = User(user_id="ada", channel="ad", consent={"a": True}, attributes={"born": 1815})
        store.put_users(frame_of([ada, User(user_id="only")], USER_SCHEMA), received_us=NOW)
        events = [
            replace(VIEW, user_id="ada", occurred_us=NOW + n, event_id=f"e{n}", text="用户;1")
            for n in (3, 1, 2)
        ]
        events += [
            replace(VIEW, user_id="ada", occurred_us=None, event_id="untimed", rating=4.5),
            replace(VIEW, user_id="ada", occurred_us=NOW + 2, event_id="same", is_bot=True),
            replace(VIEW, user_id="nobody", event_id="other"),
        ]
        store.append(event_rows(*events), received_us=NOW)
        user, history = self.agrees(store, "ada")
        assert (user, len(history), history.known) == (ada, 5, True)
        assert self.agrees(store, "only")[1].known
        assert self.agrees(store, "nobody")[0] is None
        assert not self.agrees(store, "unheard of")[1].known

    def test_the_newest_version_and_the_line_that_stands(self, store: SqlStore) -> None:
        for channel in ("ad", "shop"):
            rows = frame_of([User(user_id="u", channel=channel)], USER_SCHEMA)
            store.put_users(rows, received_us=NOW)
            store.append(event_rows(LINE), received_us=NOW)
        store.append(event_rows(replace(LINE, value=2.0)), received_us=NOW)
        user, history = self.agrees(store, "u")
        assert user is not None
        assert user.channel == "shop"
        assert history.value.tolist()[-1] == 2.0

    def test_what_they_did_as_a_visitor_is_theirs(self, store: SqlStore) -> None:
        visits = [
            Event(type="view", anonymous_id=name, occurred_us=NOW + n, event_id=f"{name}{n}")
            for n, name in enumerate(["v", "w", "v", "w"])
        ]
        store.append(event_rows(*visits, replace(VIEW, occurred_us=NOW + 1)), received_us=NOW)
        assert len(self.agrees(store, "u")[1]) == 1
        store.identify("v", "u", received_us=NOW)
        store.put_users(frame_of([User(user_id="u")], USER_SCHEMA), received_us=NOW)
        assert len(self.agrees(store, "u")[1]) == 3
        store.identify("w", "u", received_us=NOW)
        user, history = self.agrees(store, "u")
        assert user == User(user_id="u")
        assert history.t_us.tolist() == sorted(history.t_us.tolist())
        store.identify("x", "new", received_us=NOW)  # nothing else is known of them
        assert self.agrees(store, "new")[1].known

    def test_ids_are_taken_as_they_are(self, store: SqlStore) -> None:
        for n, name in enumerate(ODD_IDS):
            row = replace(VIEW, user_id=name, item_id=f"i{n}", event_id=f"e{n}")
            store.append(event_rows(row), received_us=NOW)
        for n, name in enumerate(ODD_IDS):
            assert self.agrees(store, name)[1].item_id == (f"i{n}",)

    def test_a_visitor_has_no_profile(self, store: SqlStore) -> None:
        with pytest.raises(InputError, match="visitor"):
            store.profile("anon:v")

"""Killed clients of PostgreSQL in everything that writes: see test_lake_crash.py."""

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from lifeloop.testing.kills import killed_rounds
from lifeloop.testing.postgres import own_schema, postgres_server

pytestmark = pytest.mark.extras

ROUNDS = int(os.environ.get("LIFELOOP_CHAOS_ROUNDS", "5"))


def test_a_kill_at_any_moment_loses_nothing_that_was_told(tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server())

        def new_url() -> str:
            return stack.enter_context(own_schema(server))

        killed_rounds(ROUNDS, tmp_path, new_url=new_url, longest_s=1.5, seed=20261129)

"""Killed while it appends, imports, extends, compacts, backs up or erases: what was told is there.

``LIFELOOP_CHAOS_ROUNDS=100`` makes it a hundred kills.
"""

import os
from itertools import count
from pathlib import Path

from lifeloop.testing.kills import killed_rounds

ROUNDS = int(os.environ.get("LIFELOOP_CHAOS_ROUNDS", "8"))


def test_a_kill_at_any_moment_loses_nothing_that_was_told(tmp_path: Path) -> None:
    n = count()

    def new_url() -> str:
        return f"sqlite:///{tmp_path / f'{next(n)}.db'}"

    killed_rounds(ROUNDS, tmp_path, new_url=new_url, longest_s=0.6, seed=20261127)

"""What went from the store: the number by which other processes see that something did."""

import sqlalchemy as sa

from lifeloop.store.tables import removals


def newest() -> sa.ScalarSelect[int]:
    """Return the number of the newest removal, 0 when there was none."""
    return sa.select(sa.func.coalesce(sa.func.max(removals.c.id), 0)).scalar_subquery()

"""Which bundles were published, and which one is active: a pointer that is swapped."""

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from lifeloop.errors import BundleError
from lifeloop.store.backend import Backend
from lifeloop.store.tables import activations, bundles


def publish(backend: Backend, bundle: str, manifest: Mapping[str, Any], *, at_us: int) -> None:
    """Record a bundle and make it the active one, both or neither.

    Raises
    ------
    BundleError
        If the id was published before with another manifest: bundles never change.
    """
    text = json.dumps(dict(manifest), ensure_ascii=False, sort_keys=True)
    with backend.write() as con:
        held = con.execute(sa.select(bundles.c.manifest).where(bundles.c.bundle == bundle))
        known = held.scalar()
        if known is None:
            con.execute(sa.insert(bundles).values(bundle=bundle, at_us=at_us, manifest=text))
        elif known != text:
            raise BundleError(
                "a bundle of this id was published with another manifest",
                got=bundle,
                hint="give every trained bundle a new id",
            )
        _point(con, bundle, at_us)


def activate(backend: Backend, bundle: str, *, at_us: int) -> None:
    """Make a published bundle the active one.

    Raises
    ------
    BundleError
        If it was never published.
    """
    with backend.write() as con:
        known = con.execute(sa.select(bundles.c.bundle)).scalars().all()
        if bundle not in known:
            raise BundleError(
                "no bundle of this id was published",
                got=bundle,
                allowed=", ".join(sorted(known)) or "none yet",
                hint="train one, or name one of those",
            )
        _point(con, bundle, at_us)


def newest_activation() -> sa.ScalarSelect[str]:
    """Return the active bundle's id as part of a larger read."""
    newest = sa.select(activations.c.bundle).order_by(activations.c.id.desc()).limit(1)
    return newest.scalar_subquery()


def active(con: sa.Connection) -> str | None:
    """Return the active bundle, None before the first was published."""
    found = con.execute(
        sa.select(activations.c.bundle).order_by(activations.c.id.desc()).limit(1)
    ).scalar()
    return None if found is None else str(found)


def published(con: sa.Connection) -> list[dict[str, Any]]:
    """Return every published bundle, newest first."""
    now = active(con)
    query = sa.select(bundles).order_by(bundles.c.at_us.desc(), bundles.c.bundle.desc())
    return [
        {
            "bundle": row.bundle,
            "at_us": row.at_us,
            "active": row.bundle == now,
            "manifest": json.loads(row.manifest),
        }
        for row in con.execute(query)
    ]


def history(con: sa.Connection) -> list[tuple[str, int]]:
    """Return every activation as (bundle, at_us), oldest first."""
    query = sa.select(activations.c.bundle, activations.c.at_us).order_by(activations.c.id)
    return [(row.bundle, row.at_us) for row in con.execute(query)]


def _point(con: sa.Connection, bundle: str, at_us: int) -> None:
    if active(con) != bundle:
        con.execute(sa.insert(activations).values(bundle=bundle, at_us=at_us))

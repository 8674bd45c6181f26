"""Interactions given item x user: found by asking the catalogue."""

from collections.abc import Collection, Iterable


def looks_transposed(
    user_ids: Iterable[str],
    item_ids: Iterable[str],
    *,
    known_users: Collection[str] = (),
    known_items: Collection[str] = (),
) -> bool:
    """Return whether the user column holds items and the item column does not.

    With a, b the shares of distinct ids that the catalogue knows as items in the user column and
    in the item column: transposed when a ≥ 0.5 and a ≥ 2 b; where users are known too, the item
    column must also hold more of them than the user column. Ids that are numbers in both
    columns (user 7, item 7) look alike both ways, and are not refused.

    Parameters
    ----------
    user_ids, item_ids : iterable of str
        Ids as given in the two columns; a sample of them is enough.
    known_users, known_items : collection of str
        Ids that the store holds.

    Examples
    --------
    >>> looks_transposed(["tea", "mug"], ["ada", "bo"], known_items={"tea", "mug"})
    True
    >>> looks_transposed(["ada", "bo"], ["tea", "mug"], known_items={"tea", "mug"})
    False
    """
    users, items = set(user_ids), set(item_ids)
    if not users or not items or not known_items:
        return False
    items_in_users = _share(users, known_items)
    items_in_items = _share(items, known_items)
    if items_in_users < 0.5 or items_in_users < 2 * items_in_items:
        return False
    return not known_users or _share(items, known_users) >= _share(users, known_users)


def _share(ids: set[str], known: Collection[str]) -> float:
    held = known if isinstance(known, set | frozenset) else set(known)
    return len(ids & held) / len(ids)

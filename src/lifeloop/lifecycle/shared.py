"""What several tables of one page would each work out again, worked out once within a block."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    key: Hashable
    of: tuple[object, ...]
    value: Any


_HELD: ContextVar[list[_Held] | None] = ContextVar("shared", default=None)


@contextmanager
def shared() -> Iterator[None]:
    """Keep what ``once`` is asked for until this block ends; a block inside another adds to it.

    It changes no answer, only how often it is worked out. What is kept can be large: do not leave
    a block open.
    """
    if _HELD.get() is not None:
        yield
        return
    token = _HELD.set([])
    try:
        yield
    finally:
        _HELD.reset(token)


def once(key: Hashable, of: tuple[object, ...], make: Callable[[], T]) -> T:
    """Return what ``make`` makes, which only ``key`` and ``of`` may decide; kept by ``shared``.

    Parameters
    ----------
    key : hashable
        Compared as a value.
    of : tuple of objects
        Compared by identity: frames, which nobody changes.
    make : callable
        Works it out. What it raises is not kept.
    """
    kept = _HELD.get()
    if kept is None:
        return make()
    for held in kept:
        if held.key == key and all(a is b for a, b in zip(held.of, of, strict=True)):
            found: T = held.value
            return found
    value = make()
    kept.append(_Held(key, of, value))
    return value

"""Materialised daily state: what each user did on each day, and the path that follows from it.

``build`` computes it from all events, ``change`` what new events, late events, merges and
erasures change, for the users affected only, and ``applied`` puts that in. The functions of the
lifecycle that need days or stages take a ``Daily`` in place of the events, with equal answers.
"""

from lifeloop.lifecycle.daily.change import Delta, applied, change
from lifeloop.lifecycle.daily.state import Daily, build

__all__ = ["Daily", "Delta", "applied", "build", "change"]

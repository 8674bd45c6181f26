"""What each event adds to the score of a network: the score with it less the score without it."""

from collections.abc import Callable

import numpy as np

from lifeloop.contracts import Double, Long

EXPLAINED = 16
"""Newest events of a history that get an amount each; older ones are part of the bias."""


def occluded(say: Callable[[Long], Double], events: Long, *, width: int) -> Double:
    """Return amounts [m, width]: of the newest 16 events, and the rest of the score last.

    A network is no sum over events, so these amounts are what leaving one out changes; together
    with the bias, which takes what is left, they add up to the score.

    Parameters
    ----------
    say : callable
        Places among the events that are kept [h'] -> scores [m] of the items asked about.
    events : int64 array [h]
        Which column each event's amount belongs to, oldest first.
    width : int
        Events of the history plus one.
    """
    every = np.arange(len(events))
    whole = say(every)
    amounts = np.zeros((len(whole), width))
    if len(events) > 1:
        for place in range(max(0, len(events) - EXPLAINED), len(events)):
            amounts[:, events[place]] = whole - say(np.delete(every, place))
    amounts[:, -1] = whole - amounts.sum(axis=1)
    return amounts

"""Users, items and events: typed records, parsing, readers, identifiers and time."""

from lifeloop.events.canonical import content_hash
from lifeloop.events.ids import assign_event_ids
from lifeloop.events.pairs import PairPlan, detect_pair, read_pair
from lifeloop.events.parse import parse_event, parse_item, parse_user
from lifeloop.events.readers import Batch, ReadOptions, read, read_all
from lifeloop.events.records import Event, Item, QuarantinedRow, User, frame_of
from lifeloop.events.seen import SeenRows
from lifeloop.events.time import event_times, parse_time, parse_times
from lifeloop.events.transposed import looks_transposed

__all__ = [
    "Batch",
    "Event",
    "Item",
    "PairPlan",
    "QuarantinedRow",
    "ReadOptions",
    "SeenRows",
    "User",
    "assign_event_ids",
    "content_hash",
    "detect_pair",
    "event_times",
    "frame_of",
    "looks_transposed",
    "parse_event",
    "parse_item",
    "parse_time",
    "parse_times",
    "parse_user",
    "read",
    "read_all",
    "read_pair",
]

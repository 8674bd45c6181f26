"""Any lifecycle table by name, from a store and its scenario.

``compute(loop.source, "retention", grain="week")`` returns a ``Table``;
``TABLES`` lists every name with its options, so that commands, routes and pages enumerate them.
"""

from lifeloop.tables.compute import compute, describe, table_of
from lifeloop.tables.overview import Overview, overview
from lifeloop.tables.person import events_of, moves_of, why_of
from lifeloop.tables.registry import TABLES
from lifeloop.tables.source import Source, read_source, source_of
from lifeloop.tables.spec import Option, Spec

__all__ = [
    "TABLES",
    "Option",
    "Overview",
    "Source",
    "Spec",
    "compute",
    "describe",
    "events_of",
    "moves_of",
    "overview",
    "read_source",
    "source_of",
    "table_of",
    "why_of",
]

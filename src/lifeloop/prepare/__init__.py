"""Cleaning: what is wrong with rows, what was done about it, and a report that adds up."""

from lifeloop.prepare.bots import behaves_as_bot, is_crawler
from lifeloop.prepare.clean import LINE_SCHEMA, Cleaned, clean_events, clean_table
from lifeloop.prepare.missing import fill
from lifeloop.prepare.outliers import Bounds, bounds
from lifeloop.prepare.report import CleaningReport, ColumnReport, Finding, LedgerLine
from lifeloop.prepare.scale import Scaling, fit_scale
from lifeloop.prepare.service import service_codes
from lifeloop.prepare.text import repaired_text

__all__ = [
    "LINE_SCHEMA",
    "Bounds",
    "Cleaned",
    "CleaningReport",
    "ColumnReport",
    "Finding",
    "LedgerLine",
    "Scaling",
    "behaves_as_bot",
    "bounds",
    "clean_events",
    "clean_table",
    "fill",
    "fit_scale",
    "is_crawler",
    "repaired_text",
    "service_codes",
]
